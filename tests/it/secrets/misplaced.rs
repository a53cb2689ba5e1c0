//! Secrets where the configuration expects something else, and texts that break at, before and after one: each is a fault, none is quoted.

use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::keys::Registry;

use super::Outputs;
use crate::harness::process::{run, scopegate};
use crate::harness::write_secret;

const SECRET: &str = "planted0secret1a2b3c4d5e6f7a8b9c0d";
/// One that YAML takes for a number.
const NUMBER: &str = "735192846509182734";

/// What stands in the place of a secret, in YAML that says something else.
const VALUES: [&str; 30] = [
    "[SECRET]",
    "[[SECRET]]",
    "{SECRET: x}",
    "{x: SECRET}",
    "{SECRET}",
    "{token:SECRET}",
    "{secret=SECRET}",
    "[{secret: [SECRET]}]",
    "[{secret: {x: SECRET}}]",
    "[{SECRET}]",
    "[{secret:SECRET}]",
    "[{secret: NUMBER}]",
    "{token: NUMBER, type: static}",
    "[{type: static, options: SECRET}]",
    "[{type: static, options: {token:SECRET, subject: x}}]",
    "[{type: static, options: {token: NUMBER, subject: x}}]",
    "[{type: SECRET, options: {}}]",
    "NUMBER",
    "'SECRET with a space'",
    "'SECRET ÿ*!'",
    "'pa${SECRET-x}ss'",
    "'pa${SECRET ss'",
    "'pa{{env.SECRET-x}}ss'",
    "https://me:SECRET@id.example.com/",
    "http://id.example.com/?key=SECRET",
    "https://id.example.com:SECRET/?key=SECRET",
    "\"SECRET\\q\"",
    "SECRET: x",
    "&SECRET",
    "SECRET\n    token:SECRET",
];

/// What YAML cannot read.
const BROKEN: [&str; 14] = [
    "*SECRET",
    "!SECRET x",
    "@SECRET",
    "`SECRET",
    "%SECRET",
    "\"SECRET",
    "'SECRET",
    "{SECRET",
    "[SECRET",
    "|SECRET",
    ">SECRET",
    "\"SECRET\" SECRET",
    "\"SECRET\"SECRET: x",
    "<<: SECRET\n  SECRET",
];

/// Keys of the configuration, each with a place for a value.
const PLACES: [&str; 12] = [
    "it: {kind: jwt, algorithms: HS256, secret: HERE}",
    "it: {kind: jwt, algorithms: HS256, secret_base64: HERE}",
    "it: {kind: webhook, token: HERE}",
    "it: {kind: introspection, url: 'http://localhost/', client_id: a, client_secret: HERE}",
    "it: {kind: backstage, keys: HERE}",
    "it: {kind: backstage, keys: [{secret: HERE}]}",
    "it: {kind: backstage, external_access: HERE}",
    "it: {kind: backstage, external_access: [{type: static, options: {subject: x, token: HERE}}]}",
    "it: {kind: backstage, external_access: [{type: legacy, options: {subject: x, secret: HERE}}]}",
    "it: HERE",
    "it: {kind: static, file: tokens.json}\negress: [{listen: '127.0.0.1:0', url: 'http://a', backstage: HERE}]",
    "it: {kind: static, file: tokens.json}\negress: [{listen: '127.0.0.1:0', url: 'http://a', backstage: {key: HERE}}]",
];

/// Those of addresses, which may be quoted where no secret can be in them.
const ADDRESSES: [&str; 6] = [
    "it: {kind: jwt, algorithms: RS256, jwks_url: HERE}",
    "it: {kind: jwt, algorithms: RS256, issuer_url: HERE}",
    "it: {kind: firebase, project_id: p, keys_url: HERE}",
    "it: {kind: introspection, client_id: a, client_secret: b, url: HERE}",
    "it: {kind: backstage, plugin: a, plugins: {b: HERE}}",
    "it: {kind: static, file: tokens.json}\negress: [{listen: '127.0.0.1:0', bearer_file: a, url: HERE}]",
];
const URLS: [&str; 5] = [
    "https://me:SECRET@id.example.com/",
    "http://SECRET@id.example.com",
    "http://id.example.com/?key=SECRET",
    "https://id.example.com:SECRET/?key=SECRET",
    "https://id.example.com/?SECRET#fragment",
];

/// Blocks that end in the middle of a thought.
const BLOCKS: [&str; 6] = [
    "  it:\n    kind: webhook\n    token:SECRET\n",
    "  it:\n    kind: webhook\n    token SECRET\n",
    "  it:\n    kind: jwt\n    secret:\n      SECRET\n      x: SECRET\n",
    "  it:\n    kind: webhook token: SECRET\n",
    "  it:\n    kind: backstage\n    keys:\n      - secret:SECRET\n      - secret: NUMBER\n",
    "  it:\n    kind: jwt\n    secret = SECRET\n    algorithms: HS256\n",
];

/// Files of keys, all of which are refused.
const FILES: [&str; 10] = [
    r#"{"kty":"oct","k":"SECRET"}"#,
    r#"{"kty":"oct","k":"SECRET!"}"#,
    r#"{"kty":"oct","k":["SECRET"]}"#,
    r#"{"keys":[{"kty":"SECRET","k":"SECRET"}]}"#,
    r#"{"keys":[{"kty":"oct","alg":"SECRET","k":"SECRET"}]}"#,
    r#"{"keys":"SECRET"}"#,
    r#"{"keys":["SECRET"]}"#,
    r#"{"keys":[{"kty":"oct","k":"SECRET""#,
    "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n",
    "SECRET",
];

fn planted(text: &str) -> String {
    text.replace("SECRET", SECRET).replace("NUMBER", NUMBER)
}

fn configurations() -> Vec<String> {
    let fill = |(place, value): (&&str, &&str)| format!("  {}\n", place.replace("HERE", value));
    let each = |places: &'static [&str], values: &'static [&str]| places.iter().flat_map(|place| values.iter().map(move |value| (place, value)));
    let filled = each(&PLACES, &VALUES).chain(each(&PLACES, &BROKEN)).chain(each(&ADDRESSES, &URLS)).map(fill);
    let blocks = BLOCKS.iter().map(|block| (*block).to_owned());
    let routes = "routes: {GET /x: app:use}\nreload: {watch: false}\n";
    filled.chain(blocks).map(|text| planted(&format!("credentials:\n{text}{routes}"))).collect()
}

#[test]
fn no_fault_of_a_configuration_quotes_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scopegate.yaml");
    write_secret(&folder.path().join("tokens.json"), r#"[{"id": "a", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#);
    let mut outputs = Outputs::default();
    outputs.never(SECRET);
    outputs.never(NUMBER);
    outputs.never.push("key=planted".into());
    let mut refused = 0;
    for config in configurations() {
        std::fs::write(&path, &config).unwrap();
        let (faults, warnings) = match load(&Input::File(path.clone()), &|_| None, &TagKey::new([7; 32]), &Registry::offline()) {
            Ok(loaded) => (format!("{loaded:?}"), loaded.warnings.join("\n")),
            Err(faults) => {
                refused += 1;
                (faults.to_string(), format!("{faults:?}"))
            }
        };
        assert!(faults.lines().all(|line| line.len() < 4096), "{faults}");
        outputs.add(config, format!("{faults}\n{warnings}"));
    }
    for (index, text) in FILES.iter().enumerate() {
        let kind = if text.starts_with('{') || index % 2 == 1 { "jwks_file" } else { "public_key_file" };
        let config = format!("credentials: {{it: {{kind: jwt, algorithms: [HS512, RS256], {kind}: keys}}}}\nroutes: {{GET /x: app:use}}\n");
        std::fs::write(&path, config).unwrap();
        write_secret(&folder.path().join("keys"), planted(text));
        let faults = load(&Input::File(path.clone()), &|_| None, &TagKey::new([7; 32]), &Registry::offline()).unwrap_err();
        outputs.add(*text, format!("{faults} {faults:?}"));
    }
    assert!(refused > 500, "{refused}");
    outputs.have_no_secret();
}

#[test]
fn no_command_quotes_a_secret_of_a_broken_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scopegate.yaml");
    let mut outputs = Outputs::default();
    outputs.never(SECRET);
    outputs.never(NUMBER);
    for config in configurations().into_iter().step_by(41) {
        std::fs::write(&path, &config).unwrap();
        for args in [&["check"][..], &["check", "--json"], &["explain", "GET", "/x"]] {
            let (_, out, err) = run(scopegate().args(args).env("SCOPEGATE_CONFIG", &path).env("SCOPEGATE_LOG", "trace"));
            outputs.add(config.as_str(), out + &err);
        }
    }
    outputs.have_no_secret();
}
