//! Secrets go in by every way there is, and no output has any of them.

mod forms;
mod lines;
mod misplaced;
mod served;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scopegate::config::{Input, load};
use scopegate::credential::digest::{TagKey, sha256};
use scopegate::credential::{Place, bearer};
use scopegate::keys::Registry;
use scopegate::live::{Live, Snapshot};
use scopegate::request::{RawRequest, RequestView, Values};
use tempfile::TempDir;

use crate::harness::desk::{self, Desk};
use crate::harness::grpc::{self, Asked};
use crate::harness::process::{Serving, run, scopegate};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;
use crate::harness::{ask, complete, until, write_secret};

const CLEAR: &str = "secret-in-clear-0a1b2c3d";
const HASHED: &str = "secret-hashed-1b2c3d4e5f";
const PREVIOUS: &str = "secret-before-2c3d4e5f6a";
const DEVELOPMENT: &str = "secret-beside-dev-3d4e5f";
const HEADER: &str = "secret-in-header-4e5f6a7b";
const WRONG: &str = "secret-of-nobody-5f6a7b8c";
const QUERY: &str = "secret-in-query-6a7b8c9d";
const BROKEN: &str = "secret-in-broken-7b8c9d0e";
const ALL: [&str; 8] = [CLEAR, HASHED, PREVIOUS, DEVELOPMENT, HEADER, WRONG, QUERY, BROKEN];

const CONFIG: &str = "
credentials:
  keys: {kind: static, file: keys.json, from: [\"header:x-api-key\"]}
  tokens: {kind: static, file: tokens.json}
routes:
  GET /app: app:use
  GET /open: public
  POST /rpc: {tools: {run: app:use}}
";

fn hex(text: &str) -> String {
    sha256(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tokens() -> String {
    format!(
        r#"[{{"id": "clear", "token": "{CLEAR}", "scopes": ["app:use"]}},
        {{"id": "hashed", "token_sha256": "{}", "scopes": ["none:here"], "previous": [{{"token_sha256": "{}", "expires_at": "2999-01-01T00:00:00Z"}}]}},
        {{"id": "development", "token": "{DEVELOPMENT}", "scopes": ["app:use"], "expires_at": "2001-01-01T00:00:00Z"}}]"#,
        hex(HASHED),
        hex(PREVIOUS)
    )
}

/// Token files that break at, before and after the secret.
fn broken() -> Vec<String> {
    [
        r#"[{"id": "a", "token": "SECRET" "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET, "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": SECRET, "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET \x", "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": ["SECRET"], "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET ", "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET", "token": "SECRET", "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET", "scopes": ["app use"]}]"#,
        r#"[{"id": "a", "token_sha256": "SECRET", "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET", "expires_at": "soon", "scopes": ["app:use"]}]"#,
        r#"[{"id": "a", "token": "SECRET", "scopes": ["a:b"]}, {"id": "b", "token": "SECRET", "scopes": ["a:b"]}]"#,
        r#"{"tokens": {"SECRET": 1}}"#,
        r#"["SECRET"]"#,
        r#""SECRET""#,
        "SECRET",
    ]
    .iter()
    .map(|text| text.replace("SECRET", BROKEN))
    .collect()
}

struct Planted(TempDir);

impl Planted {
    fn new(upstream: &Upstream) -> Self {
        let planted = Self(tempfile::tempdir().unwrap());
        std::fs::write(planted.config(), complete(CONFIG, upstream.address)).unwrap();
        write_secret(&planted.tokens(), tokens());
        write_secret(&planted.0.path().join("keys.json"), format!(r#"[{{"id": "key", "token": "{HEADER}", "scopes": ["app:use"]}}]"#));
        planted
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("scopegate.yaml")
    }

    fn tokens(&self) -> PathBuf {
        self.0.path().join("tokens.json")
    }
}

/// Outputs and where they came from, and what none of them may have.
#[derive(Default)]
struct Outputs {
    list: Vec<(String, String)>,
    never: Vec<String>,
}

impl Outputs {
    fn add(&mut self, from: impl Into<String>, text: impl Into<String>) {
        self.list.push((from.into(), text.into()));
    }

    /// The first half of a secret is as bad as the whole, in whatever form.
    fn never(&mut self, secret: &str) {
        let bytes = &secret.as_bytes()[..14];
        let decimal = format!("{:?}", &bytes[..6]);
        let hex: String = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        self.never.extend([secret[..14].to_owned(), STANDARD.encode(bytes)[..18].to_owned(), decimal[1..decimal.len() - 1].to_owned(), hex]);
        // As a client of an issuer shows it.
        self.never.push(STANDARD.encode(format!("gate:{secret}"))[..24].to_owned());
    }

    /// What a token claims is no secret; its signature is, and so is one that claims nothing.
    fn never_token(&mut self, token: &str) {
        let signature = token.rsplit('.').next().filter(|signature| !signature.is_empty()).unwrap_or(token);
        self.never.push(signature[..14].to_owned());
        self.never.push(token.to_owned());
    }

    /// Tells of every output that has one, so that all can be mended at once.
    fn have_no_secret(&self) {
        assert!(!self.never.is_empty());
        let mut leaks = Vec::new();
        for (from, text) in &self.list {
            assert!(!text.is_empty(), "{from} says nothing, so that nothing is shown by it");
            let found = self.never.iter().find_map(|secret| Some((secret, text.lines().find(|line| line.contains(secret.as_str()))?)));
            leaks.extend(found.map(|(secret, line)| format!("{secret} in {from}: {line}")));
        }
        assert!(leaks.is_empty(), "{} outputs have a secret:\n{}", leaks.len(), leaks.join("\n"));
    }
}

/// Outputs in which nothing of a desk's may stand.
fn outputs_of(desk: &Desk) -> Outputs {
    let mut outputs = Outputs::default();
    desk::ALL.iter().for_each(|secret| outputs.never(secret));
    desk.shown.iter().for_each(|shown| outputs.never_token(&shown.text));
    outputs
}

/// Outputs in which no token of a file may stand.
fn outputs() -> Outputs {
    let mut outputs = Outputs::default();
    ALL.iter().for_each(|secret| outputs.never(secret));
    outputs
}

/// Header lines that show a secret in all the ways that a client may think of.
fn shown() -> Vec<String> {
    let mut lines: Vec<String> = ALL.iter().map(|secret| format!("authorization: Bearer {secret}")).collect();
    lines.extend(ALL.iter().map(|secret| format!("x-api-key: {secret}")));
    lines.push(format!("authorization: Bearer {CLEAR} {WRONG}"));
    lines.push(format!("authorization: Bearer {CLEAR}, Bearer {WRONG}"));
    lines.push(format!("authorization: Bearer {CLEAR}\r\nauthorization: Bearer {HASHED}"));
    lines.push(format!("authorization: Basic {WRONG}"));
    lines.push(format!("cookie: session={WRONG}"));
    lines.push(format!("x-tenant-id: {WRONG}"));
    lines.push(format!("authorization: Bearer {CLEAR}\r\nauthorization : {WRONG}"));
    lines.push(format!("authorization: Bearer {WRONG}\0"));
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_of_a_running_gate_has_a_secret() {
    let upstream = Upstream::start().await;
    let planted = Planted::new(&upstream);
    let mut serving = Serving::start(&planted.config(), &[("SCOPEGATE_LOG", "trace"), ("BACKSTOP_DEV_MODE", "true")]).await;
    let (proxy, forward_auth, admin) = (serving.address("proxy"), serving.address("forward_auth"), serving.address("admin"));
    let mut checks = grpc::connect(serving.address("ext_authz")).await;
    let mut outputs = outputs();
    let described = "x-forwarded-method: GET\r\nx-forwarded-host: a\r\n";
    for line in shown() {
        for target in
            ["/app", "/open", "/nowhere", &format!("/app?access_token={QUERY}&token={QUERY}"), &format!("//{QUERY}"), &format!("/{QUERY}?#{QUERY}")]
        {
            let reply = ask(proxy, format!("GET {target} HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n")).await;
            if reply.status != 200 {
                outputs.add(format!("proxy {target} {line}"), format!("{:?} {}", reply.headers, reply.text()));
            }
            let reply =
                ask(forward_auth, format!("GET /traefik HTTP/1.1\r\nhost: a\r\n{described}x-forwarded-uri: {target}\r\n{line}\r\n\r\n")).await;
            outputs.add(format!("traefik {target} {line}"), format!("{:?} {}", reply.headers, reply.text()));
            let headers = line.split("\r\n").filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.into()));
            let asked = Asked { headers: headers.collect(), raw: target == "/app", ..Asked::get(target, None) };
            outputs.add(format!("ext_authz {target} {line}"), answer(&asked.ask(&mut checks).await));
        }
    }
    for body in [format!("{{\"method\":\"tools/call\",\"params\":{{\"name\":\"{WRONG}\"}}}}"), WRONG.to_owned()] {
        let request = format!("POST /rpc HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLEAR}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        outputs.add("proxy /rpc", ask(proxy, request).await.text());
    }
    let mut broken_off = Wire::connect(proxy).await;
    broken_off.send(format!("GET /app HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLEAR}")).await;
    drop(broken_off);
    for text in broken() {
        write_secret(&planted.tokens(), text);
        let reply = ask(admin, "POST /reload HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(reply.status, 422, "{}", reply.text());
        outputs.add("/reload", reply.text());
        outputs.add("/readyz", ask(admin, "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await.text());
    }
    for body in [
        format!(r#"{{"method":"GET","path":"/app?token={QUERY}","headers":{{"authorization":"Bearer {CLEAR}"}}}}"#),
        format!(r#"{{"method":"GET","path":"/app","headers":{{"Authorization":"Bearer {WRONG}"}}}}"#),
        format!(r#"{{"method":"GET","path":"/app","headers":{{"x-api-key":"{HEADER}"}}}}"#),
        format!(r#"{{"method":"GET","path":"/app","headers":{{"authorization":["{CLEAR}"]}}}}"#),
        format!(r#"{{"method":"GET","path":"/app","token":"{CLEAR}"}}"#),
        format!(r#"{{"method":"GET","path":"/app","credential_id":"{CLEAR}"}}"#),
    ] {
        let reply = ask(admin, format!("POST /explain HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        outputs.add(format!("/explain {body}"), reply.text());
    }
    outputs.add("/metrics", ask(admin, "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.text());
    outputs.add(format!("/{QUERY}"), ask(admin, format!("GET /{QUERY} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLEAR}\r\n\r\n")).await.text());
    until("audit lines", async || (serving.audit().lines().count() > 100).then_some(())).await;
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
    let log = serving.logged("\"message\":\"stopped\"").await;
    assert!(log.contains("reload refused"), "{log}");
    outputs.add("the log", log);
    outputs.add("the audit lines", serving.audit());
    assert!(outputs.list.len() > 300);
    outputs.have_no_secret();
}

/// All that Envoy is told; its own request comes back in nothing of it.
fn answer(response: &scopegate::proto::CheckResponse) -> String {
    // Bytes are printed as escaped text.
    format!("{response:?}")
}

#[test]
fn no_output_of_a_command_has_a_secret() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(Upstream::start());
    let planted = Planted::new(&upstream);
    let mut outputs = outputs();
    let mut command = |args: &[&str]| {
        let (_, out, err) = run(scopegate().args(args).env("SCOPEGATE_CONFIG", planted.config()).env("SCOPEGATE_LOG", "trace"));
        outputs.add(args.join(" ").replace("secret-", ""), out + &err);
    };
    for header in ALL {
        let header = format!("Authorization: Bearer {header}");
        command(&["explain", "GET", "/app", "--header", &header]);
        command(&["explain", "GET", "/app", "--header", &header, "--json"]);
    }
    command(&["explain", "GET", "/app", "--header", &format!("X-Api-Key: {HEADER}")]);
    command(&["explain", "GET", "/app", "--header", &format!("X-Api-Key {HEADER}")]);
    command(&["check"]);
    command(&["check", "--json"]);
    for text in broken() {
        write_secret(&planted.tokens(), text);
        command(&["check"]);
        command(&["check", "--json"]);
        command(&["explain", "GET", "/app", "--as", "clear"]);
        command(&["token", "new", "--id", "x", "--scopes", "a b", "--file", &planted.tokens().display().to_string()]);
        command(&["token", "rotate", "--id", "x", "--file", &planted.tokens().display().to_string()]);
        command(&["serve"]);
    }
    outputs.have_no_secret();
}

#[test]
fn no_debug_form_has_a_secret() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let planted = Planted::new(&runtime.block_on(Upstream::start()));
    let key = TagKey::new([0x5a; 32]);
    let loaded =
        load(&Input::File(planted.config()), &|name| (name == "BACKSTOP_DEV_MODE").then(|| "true".to_owned()), &key, &Registry::offline()).unwrap();
    let mut outputs = outputs();
    outputs.add("TagKey", format!("{key:?} {:?} {:?}", key.of_token(CLEAR), key.of_sha256(&sha256(CLEAR))));
    outputs.add("Loaded", format!("{loaded:?} {loaded:#?}"));
    for secret in ALL {
        let value = format!("Bearer {secret}");
        outputs.add("Presented", format!("{:?}", bearer(Values::One(value.as_bytes()))));
        let headers: &[(&str, &[u8])] = &[("x-api-key", secret.as_bytes())];
        let raw = RawRequest { method: b"GET", target: b"/app", host: None, headers: &headers, link: Default::default() };
        let view = RequestView::read(&raw).unwrap();
        outputs.add("Presented in a header", format!("{:?}", Place::Header("x-api-key".into()).read(&view, false)));
        outputs.add(
            "Proof",
            format!("{:?}", loaded.sources.authenticate(&view, scopegate::principal::Asked { now: 0, wanted: Default::default(), settled: &[] })),
        );
    }
    let live = Live::default();
    live.swap(loaded);
    let guard = live.current();
    let snapshot: &Snapshot = guard.as_deref().unwrap();
    outputs.add("Snapshot", format!("{snapshot:?} {live:?}"));
    for text in broken() {
        write_secret(&planted.tokens(), text);
        let faults = load(&Input::File(planted.config()), &|_| None, &key, &Registry::offline()).unwrap_err();
        outputs.add("Faults", format!("{faults:?} {faults}"));
    }
    let printed = outputs.list.iter().map(|(_, text)| text.as_str()).collect::<String>();
    assert!(!printed.contains("90, 90, 90"), "the key is printed");
    for digest in [CLEAR, HASHED, PREVIOUS].map(sha256) {
        let list = format!("{digest:?}");
        assert!(!printed.contains(&list[1..20]), "a digest is printed");
    }
    outputs.have_no_secret();
}
