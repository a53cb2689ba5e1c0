//! Backstage's shared-secret tokens, row by row, with the example of three deployments.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::everywhere::{Doors, Request, Said};
use crate::harness::process::{Serving, refused, run, scopegate};
use crate::harness::sign::{hs256, now};
use crate::harness::upstream::Upstream;
use crate::harness::wire::value;
use crate::harness::{Gate, ask, example, tcp, write_secret};

const SERVICES: [&str; 3] = ["catalog", "scaffolder", "search"];
/// Whose calls each of them takes, in their order.
const MATRIX: [(&str, [bool; 3]); 3] = [("catalog", [true, true, true]), ("scaffolder", [false, true, false]), ("search", [false, false, true])];
/// The secrets of Backstage's own manual, in the same order: of 15, 18 and 15 bytes, the first one with a character too many.
const MANUAL: [&str; 3] = ["my-secret-key-catalog", "my-secret-key-scaffolder", "my-secret-key-search"];

/// What `randomBytes(24).toString("base64")` could have made for a service.
fn secret(service: &str) -> String {
    STANDARD.encode(&service.repeat(24)[..24])
}

fn secrets() -> [String; 3] {
    SERVICES.map(secret)
}

/// The names that the example's files give to the secrets.
fn variables(secrets: &[impl AsRef<str>; 3]) -> [(&'static str, &str); 3] {
    let [catalog, scaffolder, search] = secrets;
    [("CATALOG_SECRET", catalog.as_ref()), ("SCAFFOLDER_SECRET", scaffolder.as_ref()), ("SEARCH_SECRET", search.as_ref())]
}

fn config(service: &str, secrets: &[impl AsRef<str>; 3]) -> String {
    example::filled(&example::text("backstage", &format!("{service}.yaml")), &variables(secrets))
}

async fn gate(service: &str) -> Gate {
    example::gate("backstage", &config(service, &secrets())).await
}

fn claims() -> Value {
    json!({"sub": "backstage-server", "exp": now() + 3600})
}

/// A token of a service, as Backstage makes them.
fn token(key: &[u8]) -> String {
    hs256(key, &json!({"alg": "HS256"}), &claims())
}

fn key(service: &str) -> Vec<u8> {
    STANDARD.decode(secret(service)).unwrap()
}

fn call(service: &str) -> Request {
    Request::get(format!("/api/{service}/entities"))
}

async fn catalog_says(doors: &mut Doors<'_>, token: &str) -> Said {
    doors.ask(&call("catalog").bearer(token)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_token_is_a_compact_jws_of_hs256_and_nothing_else() {
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    let (key, good) = (key("search"), token(&key("search")));
    assert_eq!(catalog_says(&mut doors, &good).await.status, 200);
    for header in [
        json!({"typ": "JWT"}),
        json!({"alg": "none"}),
        json!({"alg": ""}),
        json!({"alg": "hs256"}),
        json!({"alg": "HS384"}),
        json!({"alg": "HS512"}),
        json!({"alg": "RS256"}),
        json!({"alg": ["HS256"]}),
        json!({"alg": "HS256", "crit": ["exp"]}),
        json!({"alg": "HS256", "b64": false}),
    ] {
        let said = catalog_says(&mut doors, &hs256(&key, &header, &claims())).await;
        assert!(said.is_denied(401, "invalid_credential"), "{header}: {said:?}");
    }
    let parts: Vec<&str> = good.split('.').collect();
    for shape in [parts[..2].join("."), format!("{}.", parts[..2].join(".")), format!("{good}."), format!("{good}.a.b"), format!("{good}=")] {
        assert!(catalog_says(&mut doors, &shape).await.is_denied(401, "invalid_credential"), "{shape}");
    }
    // RFC 7515 §7.2: the algorithm where nothing protects it.
    let flat = json!({"protected": parts[0], "header": {"alg": "HS256"}, "payload": parts[1], "signature": parts[2]}).to_string();
    assert_eq!(catalog_says(&mut doors, &flat).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn s02_the_key_is_the_decoded_secret_and_not_its_letters() {
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    for service in SERVICES {
        assert_eq!(catalog_says(&mut doors, &token(&key(service))).await.status, 200, "{service}");
        let letters = secret(service);
        for wrong in [letters.as_bytes(), letters.trim_end_matches('=').as_bytes(), &key(service)[..23], b""] {
            assert!(catalog_says(&mut doors, &token(wrong)).await.is_denied(401, "invalid_credential"), "{service}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_the_subject_is_backstage_server() {
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    let exp = now() + 3600;
    for claims in [
        json!({"exp": exp}),
        json!({"exp": exp, "sub": ""}),
        json!({"exp": exp, "sub": "Backstage-Server"}),
        json!({"exp": exp, "sub": "backstage-server "}),
        json!({"exp": exp, "sub": "backstage-servers"}),
        json!({"exp": exp, "sub": ["backstage-server"]}),
        json!({"exp": exp, "sub": null}),
    ] {
        let said = catalog_says(&mut doors, &hs256(&key("search"), &json!({"alg": "HS256"}), &claims)).await;
        assert!(said.is_denied(401, "invalid_credential"), "{claims}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_a_token_ends_within_the_hour() {
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    for (exp, status) in [
        (json!(now() + 3600), 200),
        (json!(now() + 30), 200),
        (json!(now() - 1), 401),
        (json!(0), 401),
        (json!(-1), 401),
        (json!(null), 401),
        (json!((now() + 3600).to_string()), 401),
        (json!(now() + 2 * 3600), 401),
        // Milliseconds, which Backstage's own tests take for seconds.
        (json!((now() + 3600) * 1000), 401),
    ] {
        let claims = json!({"sub": "backstage-server", "exp": exp});
        let said = catalog_says(&mut doors, &hs256(&key("search"), &json!({"alg": "HS256"}), &claims)).await;
        assert_eq!(said.status, status, "{claims}");
    }
    let without = hs256(&key("search"), &json!({"alg": "HS256"}), &json!({"sub": "backstage-server"}));
    assert_eq!(catalog_says(&mut doors, &without).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn s05_every_key_of_the_list_verifies_and_says_whose_it_is() {
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    for service in SERVICES {
        let said = catalog_says(&mut doors, &token(&key(service))).await;
        assert_eq!((said.status, said.told("x-scopegate-id").as_deref()), (200, Some(service)));
        assert_eq!(said.told("x-scopegate-credential").as_deref(), Some("backstage"));
    }
    let audit = gate.audit().await;
    for service in SERVICES {
        assert!(audit.contains(&format!(r#""principal":"{service}""#)) && !audit.contains(&token(&key(service))), "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s06_every_cell_of_the_matrix_at_every_door() {
    // With the manual's secrets, weak as they are.
    let manual = MANUAL.map(|secret| scopegate::principal::backstage::decode_secret(secret).unwrap().0.to_vec());
    let mut cells = 0;
    for (secrets, keys) in [(MANUAL.map(str::to_owned), manual), (secrets(), SERVICES.map(key))] {
        for (to, row) in MATRIX {
            let gate = example::gate("backstage", &config(to, &secrets)).await;
            let mut doors = Doors::open(&gate).await;
            for ((from, key), allowed) in SERVICES.iter().zip(&keys).zip(row) {
                let said = doors.ask(&call(to).bearer(&token(key))).await;
                if allowed {
                    assert_eq!((said.status, said.told("x-scopegate-id").as_deref()), (200, Some(*from)), "{from} to {to}");
                } else {
                    assert!(said.is_denied(401, "invalid_credential"), "{from} to {to}: {said:?}");
                }
                cells += 1;
            }
            assert!(doors.ask(&call(to)).await.is_denied(401, "no_credential"));
            assert_eq!(doors.ask(&Request::get("/.backstage/health/v1/readiness")).await.status, 200);
            let elsewhere = doors.ask(&call("elsewhere").bearer(&token(&keys[SERVICES.iter().position(|name| *name == to).unwrap()]))).await;
            assert!(elsewhere.is_denied(403, "no_rule"), "{to}: {elsewhere:?}");
        }
    }
    assert_eq!(cells, 18);
}

/// A configuration of the catalog's with these lines in place of its keys, for a real process.
fn desk(keys: &str, upstream: &Upstream) -> tempfile::TempDir {
    let text = example::text("backstage", "catalog.yaml");
    let lines = text.lines().filter(|line| !line.contains("secret:")).map(|line| if line.trim() == "keys:" { keys } else { line });
    example::desk("backstage", &lines.map(|line| format!("{line}\n")).collect::<String>(), upstream.address)
}

async fn status(serving: &Serving, line: &str) -> u16 {
    ask(serving.address("proxy"), format!("GET /api/catalog/entities HTTP/1.1\r\nhost: a\r\n{line}\r\n")).await.status
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn s07_a_secret_is_a_literal_or_a_variable_in_every_spelling() {
    let upstream = Upstream::start().await;
    let literal = format!("    keys: [{{secret: {}}}]", secret("catalog"));
    for (keys, env) in [
        (&*literal, None),
        ("    keys: [{secret: \"${BACKEND_SECRET}\"}]", Some(secret("catalog"))),
        ("    keys: [{secret: \"{{env.BACKEND_SECRET}}\"}]", Some(secret("catalog"))),
        ("    keys: [{secret: \"&#123;&#123;env.BACKEND_SECRET&#125;&#125;\"}]", Some(secret("catalog"))),
    ] {
        let desk = desk(keys, &upstream);
        let env: Vec<(&str, &str)> = env.iter().map(|value| ("BACKEND_SECRET", value.as_str())).collect();
        let serving = Serving::start(&desk.path().join("scopegate.yaml"), &env).await;
        assert_eq!(status(&serving, &bearer(&token(&key("catalog")))).await, 200, "{keys}");
        assert_eq!(status(&serving, &bearer(&token(&key("search")))).await, 401, "{keys}");
    }
    let desk = desk("    keys: [{secret: \"${BACKEND_SECRET}\"}]", &upstream);
    let config = desk.path().join("scopegate.yaml");
    assert!(refused(&config, &[]).contains("variable `BACKEND_SECRET` is not set in the environment"));
    assert!(refused(&config, &[("BACKEND_SECRET", "")]).contains("variable `BACKEND_SECRET` is empty in the environment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s08_without_keys_nothing_starts() {
    let upstream = Upstream::start().await;
    for keys in ["", "    keys: []"] {
        let desk = desk(keys, &upstream);
        let config = desk.path().join("scopegate.yaml");
        for env in [&[][..], &[("SCOPEGATE_DEV_MODE", "TRUE")], &[("SCOPEGATE_DEV_MODE", "1")], &[("NODE_ENV", "development")]] {
            let said = refused(&config, env);
            assert!(said.contains("credential `backstage` has no `keys`; set at least one") && said.contains("for production"), "{env:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s09_in_development_a_missing_key_is_made_for_the_time_being_and_said_loudly() {
    let upstream = Upstream::start().await;
    let desk = desk("", &upstream);
    let serving = Serving::start(&desk.path().join("scopegate.yaml"), &[("SCOPEGATE_DEV_MODE", "true")]).await;
    serving.logged("credential `backstage` has no keys and got a TEMPORARY one, for development only").await;
    serving.logged("DEVELOPMENT MODE").await;
    // Nobody else has it, and it is no open door.
    for line in [String::new(), bearer(""), bearer(&token(&key("catalog"))), bearer(&token(b""))] {
        assert_eq!(status(&serving, &line).await, 401, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_without_checks_only_in_development_and_an_empty_token_is_none_elsewhere() {
    let upstream = Upstream::start().await;
    let noop = desk("    noop: true", &upstream);
    let config = noop.path().join("scopegate.yaml");
    for env in [&[][..], &[("SCOPEGATE_DEV_MODE", "True")]] {
        let said = refused(&config, env);
        assert!(said.contains("has `noop: true`, which lets everybody in; it counts in development mode only"), "{said}");
    }
    let serving = Serving::start(&config, &[("SCOPEGATE_DEV_MODE", "true")]).await;
    assert!(serving.log().contains("EVERY request passes for Backstage's"), "{}", serving.log());
    // What a newly created app sends: an empty token, or none.
    for line in [String::new(), bearer(""), "authorization: Bearer\r\n".into(), bearer("anything")] {
        assert_eq!(status(&serving, &line).await, 200, "{line}");
    }
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    for value in ["Bearer ", "Bearer", "Bearer   "] {
        let said = doors.ask(&call("catalog").header("authorization", value)).await;
        assert!(said.is_denied(401, "invalid_credential"), "{value:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_a_backend_that_does_not_sign_gets_a_token_for_each_call_and_one_token_for_many() {
    let (catalog, search) = (gate("catalog").await, gate("search").await);
    for (to, url, status) in [("catalog", catalog.proxy(), 200), ("search", search.proxy(), 401)] {
        let config = config("scaffolder", &secrets()).replace("https://catalog.example.com", &format!("http://{url}"));
        let scaffolder = example::gate("backstage", &config).await;
        let egress = tcp(&scaffolder.running.addresses.egress.first().cloned());
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let reply = ask(egress, format!("GET /api/{to}/entities HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            assert_eq!(reply.status, status, "{to}");
            for told in catalog.upstream.take() {
                assert_eq!(value(&told.headers, "x-scopegate-id").as_deref(), Some("scaffolder"));
                tokens.extend(value(&told.headers, "authorization"));
            }
        }
        if status == 200 {
            assert!(tokens.len() == 3 && tokens[0].starts_with("Bearer eyJhbGciOiJIUzI1NiJ9."), "{tokens:?}");
            assert!(tokens.iter().all(|token| *token == tokens[0]), "a token is used again: {tokens:?}");
        }
        let own = ask(egress, format!("GET /api/{to}/x HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(&token(&key("scaffolder"))))).await;
        assert_eq!(own.status, 400, "whoever signs by itself goes there by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_a_good_token_says_nothing_and_every_bad_one_the_same() {
    let gate = gate("catalog").await;
    let good = ask(gate.proxy(), format!("GET /api/catalog/x HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(&token(&key("search"))))).await;
    assert_eq!((good.status, good.text().as_str(), good.header("x-scopegate-reason")), (200, "ok", None));
    let expired = hs256(&key("search"), &json!({"alg": "HS256"}), &json!({"sub": "backstage-server", "exp": now() - 60}));
    let stranger = token(&key("nobody"));
    for bad in [&*expired, &*stranger, "not-a-jwt-of-any-kind", "a.b.c"] {
        let reply = ask(gate.proxy(), format!("GET /api/catalog/x?secret=1 HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(bad))).await;
        // Backstage's own answer quotes the URL and has no challenge.
        assert_eq!((reply.status, reply.text().as_str()), (401, r#"{"error":"unauthorized","message":"Missing or invalid token"}"#), "{bad}");
        assert_eq!(reply.header("www-authenticate").as_deref(), Some(r#"Bearer realm="scopegate", error="invalid_token""#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_keys_of_the_manuals_own_generator_work_and_are_not_called_weak() {
    let upstream = Upstream::start().await;
    let secret = STANDARD.encode([0xFB; 24]);
    assert_eq!((secret.len(), secret.contains('/') || secret.contains('+')), (32, true));
    let desk = desk(&format!("    keys: [{{secret: {secret}}}]"), &upstream);
    let serving = Serving::start(&desk.path().join("scopegate.yaml"), &[]).await;
    assert_eq!(status(&serving, &bearer(&token(&[0xFB; 24]))).await, 200);
    assert!(!serving.log().contains("can be guessed"), "{}", serving.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_tokens_of_any_maker_work_with_the_least_of_a_header() {
    let gate = gate("catalog").await;
    let mut doors = Doors::open(&gate).await;
    let key = key("scaffolder");
    // `{"alg":"HS256"}` and nothing else, letter by letter.
    let bare = token(&key);
    assert!(bare.starts_with("eyJhbGciOiJIUzI1NiJ9."));
    // The command's, which is told the secret as it stands in Backstage's configuration.
    write_secret(&gate.folder.path().join("secret"), secret("scaffolder") + "\n");
    let (status, minted, error) = run(scopegate().args(["token", "mint", "--secret-base64-file", "secret"]).current_dir(gate.folder.path()));
    assert_eq!(status, 0, "{error}");
    assert!(minted.starts_with("eyJhbGciOiJIUzI1NiJ9."), "{minted}");
    let usual = hs256(&key, &json!({"typ": "JWT", "alg": "HS256"}), &claims());
    let ordered = hs256(&key, &json!({"alg": "HS256"}), &json!({"exp": now() + 3600, "iat": now(), "sub": "backstage-server"}));
    for token in [&bare, minted.trim(), &usual, &ordered] {
        assert_eq!(catalog_says(&mut doors, token).await.status, 200, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_the_same_once_decoded_are_refused_and_weak_ones_are_warned_of() {
    let upstream = Upstream::start().await;
    let same = desk("    keys: [{secret: my-secret-key-1}, {secret: my-secret-key-2}, {secret: my-secret-key-3}]", &upstream);
    let said = refused(&same.path().join("scopegate.yaml"), &[]);
    assert!(said.contains("has keys 1 and 2 that are the same bytes once base64 is decoded"), "{said}");
    assert!(said.contains("keys 1 and 3") && !said.contains("my-secret-key"), "{said}");

    let weak = desk("    keys: [{secret: my-secret-key-catalog}, {secret: my-secret-key-search}]", &upstream);
    let serving = Serving::start(&weak.path().join("scopegate.yaml"), &[]).await;
    let log = serving.log();
    for said in
        ["key 1 of 15 bytes, which can be guessed", "key 2 of 15 bytes, which can be guessed", "key 1 whose last character counts for nothing"]
    {
        assert!(log.contains(said), "{said}: {log}");
    }
    for none in ["a b", "\"\"", "===", "\u{e9}t\u{e9}"] {
        let desk = desk(&format!("    keys: [{{secret: {none}}}]"), &upstream);
        let said = refused(&desk.path().join("scopegate.yaml"), &[]);
        assert!(said.contains("credential `backstage` has"), "{none}: {said}");
    }
}
