//! Sources of credentials with a fault: each stops the start with what would be right, none quotes a secret.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use super::{Case, GOOD, PLANTED, ROUTES, faults_of, one};

/// A source named `it`, and nothing else that could be wrong.
fn said_of(source: &str) -> Vec<String> {
    faults_of(&format!("credentials:\n  it: {source}\nroutes: {{GET /x: app:use}}\n"))
}

fn each_says(cases: &[(&str, &str)]) {
    for (source, said) in cases {
        let faults = said_of(source);
        assert!(faults.iter().any(|fault| fault.starts_with("credential `it` ") && fault.contains(said)), "{source}: {faults:?} do not say {said:?}");
    }
}

fn warnings_of(source: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let case = Case::new(&format!("credentials:\n  it: {source}\nroutes: {{GET /x: app:use}}\n"), GOOD);
    case.load_with(variables).unwrap_or_else(|faults| panic!("{source}: {faults:?}")).warnings
}

#[test]
fn a_jwt_source_names_its_algorithms_and_one_kind_of_key() {
    each_says(&[
        ("{kind: jwt, secret: planted-token-0123456789-0123456789}", "has no `algorithms`; name those that its issuer uses, out of HS256,"),
        ("{kind: jwt, secret: planted-token-0123456789-0123456789, algorithms: []}", "has no `algorithms`"),
        ("{kind: jwt, secret: planted-token-0123456789-0123456789, algorithms: [none]}", "has algorithm `none`; known are HS256,"),
        ("{kind: jwt, secret: planted-token-0123456789-0123456789, algorithms: [hs256]}", "has algorithm `hs256`; known are"),
        ("{kind: jwt, algorithms: [RS256]}", "has no keys; set one of `secret`, `secret_file`,"),
        (
            "{kind: jwt, algorithms: [RS256], jwks_url: 'https://id.example.com/keys', issuer_url: 'https://id.example.com'}",
            "has keys from more than one place; set one of",
        ),
        ("{kind: jwt, algorithms: [RS256], secret: planted-token-0123456789-0123456789}", "has `secret` with no key that its `algorithms` can use"),
        ("{kind: jwt, algorithms: [HS256], jwks_file: nowhere.json}", "has a `jwks_file` that cannot be read: No such file"),
        ("{kind: jwt, algorithms: [RS256], jwks_file: tokens.json}", "has `jwks_file` that cannot be used:"),
        ("{kind: jwt, algorithms: [RS256], public_key_file: tokens.json}", "has `public_key_file` that cannot be used:"),
        ("{kind: jwt, algorithms: [HS256], secret_base64: 'p?lanted'}", "has `secret_base64` that is not base64"),
        ("{kind: jwt, algorithms: [RS256], jwks_url: 'https://id.example.com/keys', leeway: 6m}", "has a `leeway` of over five minutes"),
        (
            "{kind: jwt, algorithms: [RS256], jwks_url: 'https://id.example.com/keys', file: tokens.json}",
            "is of kind `jwt`, which has no `file`; it has `secret`",
        ),
        ("{kind: jwt, algorithms: [RS256], jwks_url: 'https://id.example.com/keys', claims: {id: ''}}", "has an empty path under `claims.id`"),
    ]);
}

#[test]
fn a_file_of_a_secret_that_cannot_be_read_is_one_fault() {
    for source in [
        "{kind: jwt, algorithms: [HS256], secret_file: gone}",
        "{kind: webhook, token_file: gone, scopes: [app:use]}",
        "{kind: introspection, url: 'https://id.example.com/introspect', client_id: me, client_secret_file: gone}",
        "{kind: backstage, keys: [{secret_file: gone}]}",
        "{kind: backstage, external_access: [{type: static, options: {token_file: gone, subject: ci}}]}",
        "{kind: backstage, external_access: [{type: legacy, options: {secret_file: gone, subject: ci}}]}",
    ] {
        one(&said_of(source), "cannot be read: No such file");
    }
}

#[test]
fn a_secret_is_at_least_as_long_as_its_hash() {
    for (algorithm, length) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let source = |length: usize| format!("{{kind: jwt, algorithms: [{algorithm}], secret: {}}}", "s".repeat(length));
        one(&said_of(&source(length - 1)), &format!("has a secret that is too short for {algorithm}; it is at least {length} bytes"));
        assert!(warnings_of(&source(length), &[]).is_empty());
    }
    let both = "{kind: jwt, algorithms: [HS256, HS512], secret: sssssssssssssssssssssssssssssssssssssssss}";
    one(&said_of(both), "too short for HS512");
}

#[test]
fn a_key_url_is_https_or_this_machine() {
    for url in [
        "http://id.example.com/keys",
        "http://10.0.0.7/keys",
        "ftp://id.example.com/",
        "id.example.com/keys",
        "https://",
        "http://127.0.0.1.example.com/",
    ] {
        for key in ["jwks_url", "issuer_url"] {
            let faults = said_of(&format!("{{kind: jwt, algorithms: [RS256], {key}: '{url}'}}"));
            assert!(faults.iter().any(|fault| fault.contains(&format!("has `{key}` `{url}`, which "))), "{faults:?}");
        }
        one(&said_of(&format!("{{kind: firebase, project_id: p, keys_url: '{url}'}}")), "has `keys_url`");
        let faults = said_of(&format!("{{kind: introspection, client_id: a, client_secret: b, url: '{url}'}}"));
        assert!(faults.iter().any(|fault| fault.contains("has `url`")), "{faults:?}");
    }
    let with_password = said_of(&format!("{{kind: jwt, algorithms: [RS256], jwks_url: 'https://me:{PLANTED}@id.example.com/keys'}}"));
    one(&with_password, "has `jwks_url`, which ");
    for url in ["http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]:80/keys", "https://id.example.com/keys"] {
        assert!(warnings_of(&format!("{{kind: jwt, algorithms: [RS256], jwks_url: '{url}'}}"), &[]).is_empty(), "{url}");
    }
}

#[test]
fn a_webhook_token_is_neither_empty_nor_short() {
    for token in ["''", "'Bearer '", "Bearer", "bearer"] {
        one(&said_of(&format!("{{kind: webhook, token: {token}}}")), "has no token; set `token` or `token_file`");
    }
    one(&said_of("{kind: webhook}"), "has no token");
    one(&said_of("{kind: webhook, token: Bearer short}"), "has a token of under 16 characters");
    one(&said_of("{kind: webhook, token: 'Bearer two words-0123456789'}"), "has white space in its token");
    let empty = said_of("{kind: webhook, token: '${EMPTY}'}");
    assert!(empty[0].starts_with("variable `EMPTY` is empty in the environment"), "{empty:?}");
    let both = said_of("{kind: webhook, token: planted-token-0123456789, token_file: tokens.json}");
    assert!(both[0].contains("has both `token` and `token_file`; keep one"), "{both:?}");
    for token in ["planted-token-0123456789", "Bearer planted-token-0123456789", "'${SECRET}'"] {
        assert!(warnings_of(&format!("{{kind: webhook, token: {token}, scopes: [app:use]}}"), &[]).is_empty(), "{token}");
    }
}

#[test]
fn backstage_keys_are_there_and_differ_once_decoded() {
    one(&said_of("{kind: backstage}"), "has no `keys`; set at least one");
    one(&said_of("{kind: backstage, keys: []}"), "has no `keys`");
    one(&said_of("{kind: backstage, keys: [{secret: ''}]}"), "has no `secret` in key 1");
    one(&said_of("{kind: backstage, keys: [{secret: 'p(anted'}]}"), "has a key 1 that is not base64");
    let same = said_of("{kind: backstage, keys: [{secret: my-secret-key-1}, {secret: my-secret-key-2}, {secret: my-secret-key-3}]}");
    assert!(same[0].contains("has keys 1 and 2 that are the same bytes once base64 is decoded"), "{same:?}");
    assert!(same.iter().all(|fault| !fault.contains("my-secret-key")), "{same:?}");
    let good = "Z29vZC1zZWNyZXQtb2YtMjQtYnl0ZXMh";
    assert!(warnings_of(&format!("{{kind: backstage, keys: [{{secret: {good}}}]}}"), &[]).is_empty());
    let weak = warnings_of("{kind: backstage, keys: [{secret: my-secret-key-catalog}]}", &[]);
    assert!(weak.iter().any(|warning| warning.contains("whose last character counts for nothing")), "{weak:?}");
    assert!(weak.iter().any(|warning| warning.contains("of 15 bytes, which can be guessed")), "{weak:?}");
    let development = warnings_of("{kind: backstage}", &[("SCOPEGATE_DEV_MODE", "true")]);
    assert!(development.iter().any(|warning| warning.contains("TEMPORARY")), "{development:?}");
}

#[test]
fn what_lets_everybody_in_counts_in_development_mode_only() {
    one(&said_of("{kind: backstage, noop: true}"), "has `noop: true`, which lets everybody in; it counts in development mode only");
    let open = warnings_of("{kind: backstage, noop: true}", &[("SCOPEGATE_DEV_MODE", "true")]);
    assert!(open.iter().any(|warning| warning.contains("EVERY request passes")), "{open:?}");
    let emulator = [("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099")];
    let ignored = warnings_of("{kind: firebase, project_id: p}", &emulator);
    assert!(ignored.iter().any(|warning| warning.contains("ignores FIREBASE_AUTH_EMULATOR_HOST")), "{ignored:?}");
    let taken = warnings_of("{kind: firebase, project_id: p}", &[emulator[0], ("SCOPEGATE_DEV_MODE", "true")]);
    assert!(taken.iter().any(|warning| warning.contains("UNSIGNED")), "{taken:?}");
}

#[test]
fn external_access_is_restricted_as_backstage_says_it() {
    let access = |text: &str| said_of(&format!("{{kind: backstage, plugin: catalog, external_access: [{text}]}}"));
    for (text, said) in [
        ("{type: static, options: {token: short, subject: ci}}", "has a token of under 16 characters"),
        ("{type: static, options: {token: planted-token-0123456789}}", "has an external access without a `subject`"),
        ("{type: static, options: {token: planted-token-0123456789, subject: 'c i'}}", "has an external access without a `subject`"),
        ("{type: legacy, options: {subject: ci}}", "has a legacy access without a `secret`"),
        ("{type: jwks, options: {url: 'https://id.example.com/keys'}}", "has a jwks access without a usable `algorithm`"),
        ("{type: jwks, options: {url: 'https://id.example.com/keys', algorithm: HS256}}", "has a jwks access without a usable `algorithm`"),
        ("{type: jwks, options: {algorithm: RS256}}", "has a jwks access without a `url`"),
        (
            "{type: static, options: {token: planted-token-0123456789, subject: ci}, accessRestrictions: [{plugin: catalog}, {plugin: catalog}]}",
            "has an access restriction without a `plugin`, or the second one for it",
        ),
        (
            "{type: static, options: {token: planted-token-0123456789, subject: ci}, accessRestrictions: [{plugin: catalog, permissionAttribute: {action: own}}]}",
            "with another `action` than `create`",
        ),
    ] {
        let faults = access(text);
        assert!(faults.iter().any(|fault| fault.contains(said)), "{text}: {faults:?} do not say {said:?}");
    }
    let unknown = access("{type: magic, options: {subject: ci}}");
    assert!(unknown[0].starts_with("`credentials.it.external_access.type` is `magic`; it is `static` or `legacy` or `jwks`"), "{unknown:?}");
    one(&said_of("{kind: backstage, plugins: {search: 'http://127.0.0.1:7007/api/search'}}"), "has `plugins` and no `plugin`");
    one(
        &said_of("{kind: backstage, plugin: catalog, plugins: {Search: 'http://127.0.0.1:7007/api/search'}}"),
        "has plugin `Search`; an id is lower case letters",
    );
}

#[test]
fn the_other_kinds_say_what_they_lack() {
    each_says(&[
        ("{kind: firebase}", "has no `project_id`"),
        ("{kind: mtls}", "has no `identities`"),
        ("{kind: mtls, identities: []}", "has no `identities`"),
        ("{kind: mtls, identities: [{id: a, scopes: [app:use]}]}", "has an identity that is not told by one of"),
        ("{kind: mtls, identities: [{id: a, dns: a, subject: CN=a}]}", "has an identity that is not told by one of"),
        ("{kind: mtls, identities: [{dns: a.example.com}]}", "has an identity without an `id`"),
        ("{kind: mtls, identities: [{id: a, spiffe: a}]}", "has an identity whose `spiffe` is no URI"),
        ("{kind: mtls, identities: [{id: a, dns: a, scopes: ['a b']}]}", "has scope `a b`, which has a character"),
        ("{kind: mtls, from: bearer, identities: [{id: a, dns: a}]}", "is of kind `mtls`, which is read from the connection"),
        ("{kind: introspection, url: 'https://id.example.com/introspect'}", "has no `client_id` or no `client_secret`"),
        ("{kind: introspection, client_id: a, client_secret: planted-token-0123456789}", "has no `url`"),
        (
            "{kind: introspection, url: 'https://id.example.com/i', client_id: a, client_secret: planted-token-0123456789, cache: 10m}",
            "has a `cache` of over five minutes",
        ),
        ("{kind: api_key, header: x-key, from: bearer}", "has both `header` and `from`"),
        ("{kind: api_key, header: cookie}", "has `header` `cookie`, which cannot carry a key"),
        ("{kind: api_key, environment: Live}", "has an odd `environment`; it is up to 16 lower-case letters and digits"),
        ("{kind: api_key, format: uuid, environment: live}", "has an `environment`, and keys of `format: uuid` have no place for it"),
        ("{kind: api_key, profile: {}}", "is of kind `api_key`, which has no `profile`; it has `format`, `header`, `environment`"),
        (
            "{kind: jwt, algorithms: [RS256], jwks_url: 'https://id.example.com/keys', profile: {claim: ''}}",
            "has an empty `profile.claim`; it is the claim with the e-mail address",
        ),
        ("{kind: static, file: tokens.json, algorithms: [RS256]}", "is of kind `static`, which has no `algorithms`; it has `file`, `max_size`"),
    ]);
}

#[test]
fn an_egress_listener_is_of_this_machine_and_adds_one_credential() {
    let said = |entry: &str| faults_of(&format!("{ROUTES}egress: [{entry}]\n"));
    one(&said("{url: 'https://a.example.com', bearer_file: t}"), "an entry of `egress` has no `listen`");
    one(&said("{listen: '127.0.0.1:0', bearer_file: t}"), "an entry of `egress` has no `url`");
    one(
        &said("{listen: '0.0.0.0:8090', url: 'https://a.example.com', bearer_file: t}"),
        "`egress.listen` is `0.0.0.0:8090`; whoever reaches it speaks as this service",
    );
    one(&said("{listen: '127.0.0.1:0', url: a.example.com, bearer_file: t}"), "`egress.url` is no URL");
    one(&said("{listen: '127.0.0.1:0', url: 'https://a.example.com'}"), "an entry of `egress` adds one credential");
    one(&said("{listen: '127.0.0.1:0', url: 'https://a.example.com', bearer_file: t, backstage: {key: a}}"), "adds one credential");
    one(&said("{listen: '127.0.0.1:0', url: 'https://a.example.com', backstage: {}}"), "`egress.backstage` has one of `key` and `key_file`");
    one(&said("{listen: '127.0.0.1:0', url: 'https://a.example.com', backstage: {key_file: gone}}"), "`egress.backstage.key_file` cannot be read");
    one(&said("{listen: '127.0.0.1:0', url: 'https://a.example.com', backstage: {key: 'a b'}}"), "has a key that is not base64");
}

#[test]
fn origins_are_named_as_browsers_send_them() {
    let said = |cors: &str| faults_of(&format!("{ROUTES}cors: {cors}\n"));
    one(&said("{}"), "`cors` has no `origins`");
    one(&said("{origins: []}"), "`cors` has no `origins`");
    one(&said("{origins: '*', credentials: true}"), "`cors.origins` has `*`, which stands alone and without `credentials`");
    one(&said("{origins: ['*', 'https://a.example.com']}"), "`cors.origins` has `*`, which stands alone");
    for origin in ["null", "https://a.example.com/", "https://A.example.com", "https://*.example.com", "https://a.example.com:443"] {
        one(&said(&format!("{{origins: ['{origin}']}}")), &format!("`cors.origins` has `{origin}`; an origin is `https://host[:port]`"));
    }
    one(&said("{origins: ['https://a.example.com'], max_age: 1d}"), "`cors.max_age` is `1d`; browsers keep no answer for over `2h`");
    let route = "credentials: {tokens: {kind: static, file: tokens.json}}\nroutes: {GET /x: {scopes: [app:use], preflight: pass}}\n";
    one(&faults_of(route), "route `GET /x`: `preflight` says nothing without `cors`");
}

#[test]
fn a_secret_that_others_may_read_is_a_warning_and_under_strict_modes_a_fault() {
    let source = "credentials:\n  it: {kind: webhook, token_file: secret, scopes: [app:use]}\nroutes: {GET /x: app:use}\n";
    let written = |text: &str| {
        let case = Case::new(text, GOOD);
        std::fs::write(case.path("secret"), PLANTED).unwrap();
        set_permissions(case.path("secret"), Permissions::from_mode(0o644)).unwrap();
        case
    };
    let warnings = written(source).load().unwrap().warnings;
    assert_eq!(warnings, ["credential `it` has a `token_file` that other users may read; `chmod 600` it"]);
    let strict = written(&format!("{source}strict_file_modes: true\n"));
    one(&strict.faults(), "credential `it` has a `token_file` that other users may read; `chmod 600` it (scopegate.yaml:2:");
    set_permissions(strict.path("secret"), Permissions::from_mode(0o600)).unwrap();
    assert!(strict.load().unwrap().warnings.is_empty());
}
