//! `forward.assertion`: what every door signs of a caller, and what nobody else can have said.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use scopegate::app;
use scopegate::config::load::Input;
use scopegate::jose::{Algorithm, Jws, KeySet, Origin};
use serde_json::{Value, json};

use crate::harness::everywhere::{Doors, Request};
use crate::harness::sign::now;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Reply;
use crate::harness::{Gate, ask, complete, write_secret};

const HEADER: &str = "x-scopegate-assertion";
const ROUTES: &str = "roles: {owner: [app:keep]}\nroutes: {/open: public, /app: app:use}\n";
const APP: &str = "token-of-the-app-1";

fn tokens() -> String {
    let soon = jiff::Timestamp::from_second(now() + 20).unwrap();
    json!([
        {"id": "app", "token": APP, "scopes": ["app:use", "app:see"], "tenant": "t-1", "roles": ["owner"]},
        {"id": "Zoë \"z\"", "token": "token-of-another-1", "scopes": ["app:*"]},
        {"id": "brief", "token": "token-of-the-brief-1", "scopes": ["app:use"], "expires_at": soon.to_string()},
    ])
    .to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn p256() -> String {
    pem("PRIVATE KEY", EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap().as_ref())
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

async fn gate(key: &str, more: &str) -> Gate {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start().await);
    write_secret(&folder.path().join("tokens.json"), tokens());
    write_secret(&folder.path().join("key.pem"), key);
    std::fs::write(folder.path().join("scopegate.yaml"), complete(&config(more), upstream.address)).unwrap();
    Gate::at(folder, upstream).await
}

fn config(more: &str) -> String {
    format!("{ROUTES}forward: {{assertion: {{key_file: key.pem{more}}}}}\n")
}

async fn published(gate: &Gate) -> Reply {
    ask(gate.admin(), "GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await
}

async fn keys(gate: &Gate) -> Vec<Value> {
    serde_json::from_slice::<Value>(&published(gate).await.body).unwrap()["keys"].as_array().unwrap().clone()
}

/// The header and the claims of a token, which one of the published keys proves.
async fn read(gate: &Gate, token: &str) -> (Value, Value) {
    let (set, unusable) = KeySet::from_jwks(&published(gate).await.body, Origin::Remote).unwrap();
    assert_eq!(unusable, [""; 0]);
    let jws = Jws::parse(token).unwrap();
    set.verify(&jws, &Algorithm::ALL).unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    (serde_json::from_slice(&header).unwrap(), serde_json::from_slice(jws.payload()).unwrap())
}

async fn told(gate: &Gate, token: &str) -> String {
    let said = Doors::open(gate).await.ask(&Request::get("/app").bearer(token)).await;
    said.told(HEADER).unwrap_or_else(|| panic!("no assertion: {said:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_signs_who_calls_and_takes_away_what_a_client_says_of_that() {
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    for (algorithm, key) in [
        ("ES256", p256()),
        ("EdDSA", pem("PRIVATE KEY", ed25519.as_ref())),
        ("RS256", pem("PRIVATE KEY", AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa()).unwrap().as_ref())),
    ] {
        let gate = gate(&key, "").await;
        let mut doors = Doors::open(&gate).await;
        let forged = |request: Request| request.header("X-Scopegate-Assertion", "forged.by.hand").header("x_scopegate_assertion", "forged.by.hand");
        let before = now();
        let said = doors.ask(&forged(Request::get("/app").bearer(APP))).await;
        let token = said.told(HEADER).unwrap();
        assert!(said.status == 200 && !said.forwards("forged"), "{said:?}");
        let (header, claims) = read(&gate, &token).await;
        let [published] = &keys(&gate).await[..] else { panic!("one key") };
        assert_eq!(header, json!({"typ": "JWT", "alg": algorithm, "kid": published["kid"]}));
        assert_eq!((&published["alg"], &published["use"]), (&json!(algorithm), &json!("sig")));
        let issued = claims["iat"].as_i64().unwrap();
        assert!((before..=now()).contains(&issued));
        let said = json!({
            "iss": "scopegate", "sub": "app", "scope": "app:use app:see app:keep", "tenant": "t-1", "roles": ["owner"], "credential": "tokens",
            "iat": issued, "exp": issued + 60,
        });
        assert_eq!(claims, said);
        // Nobody calls: nothing is said, and nothing that a client says.
        let said = doors.ask(&forged(Request::get("/open"))).await;
        assert!(said.status == 200 && said.told(HEADER).is_none() && !said.forwards("forged"), "{said:?}");
        assert_eq!(doors.ask(&forged(Request::get("/app"))).await.status, 401);
        // Whoever refuses the client shows it to nobody.
        assert!(!gate.audit().await.contains(&token));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_shown_again_for_half_its_time_and_never_outlives_its_credential() {
    let gate = gate(&p256(), ", ttl: 1h, issuer: gate.test, audience: orders").await;
    let first = told(&gate, APP).await;
    assert_eq!(told(&gate, APP).await, first);
    let other = read(&gate, &told(&gate, "token-of-another-1").await).await.1;
    assert_eq!(
        (&other["sub"], &other["roles"], &other["aud"], &other["iss"]),
        (&json!("Zoë \"z\""), &json!([]), &json!("orders"), &json!("gate.test"))
    );
    assert!(other.get("tenant").is_none());
    assert_eq!(other["exp"].as_i64().unwrap() - other["iat"].as_i64().unwrap(), 3600);
    let brief = read(&gate, &told(&gate, "token-of-the-brief-1").await).await.1;
    assert!(brief["exp"].as_i64().unwrap() <= now() + 20, "{brief}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_brings_a_new_key_and_publishes_the_former_for_as_long_as_it_counts() {
    let gate = gate(&p256(), "").await;
    let first = told(&gate, APP).await;
    write_secret(&gate.folder.path().join("key.pem"), "no key");
    assert_eq!(gate.reload().await.status, 422);
    assert_eq!(told(&gate, APP).await, first, "the old set stays");
    write_secret(&gate.folder.path().join("key.pem"), p256());
    // The same caller with less: nothing that was remembered counts.
    write_secret(&gate.folder.path().join("tokens.json"), tokens().replace(r#","app:see""#, ""));
    assert_eq!(gate.reload().await.status, 200);
    let second = told(&gate, APP).await;
    let ([old, former], [new, claims]) = (<[Value; 2]>::from(read(&gate, &first).await), <[Value; 2]>::from(read(&gate, &second).await));
    assert_ne!(old["kid"], new["kid"]);
    assert_eq!((&former["scope"], &claims["scope"]), (&json!("app:use app:see app:keep"), &json!("app:use app:keep")));
    let kids = |keys: Vec<Value>| keys.iter().map(|key| key["kid"].clone()).collect::<Vec<_>>();
    assert_eq!(kids(keys(&gate).await), [new["kid"].clone(), old["kid"].clone()]);
    // A reload that changes nothing of it publishes no key twice.
    assert_eq!(gate.reload().await.status, 200);
    assert_eq!(kids(keys(&gate).await), [new["kid"].clone(), old["kid"].clone()]);
    gate.rewrite(ROUTES);
    assert_eq!(gate.reload().await.status, 200);
    let said = Doors::open(&gate).await.ask(&Request::get("/app").bearer(APP).header(HEADER, "forged")).await;
    assert!(said.told(HEADER).is_none() && !said.forwards("forged"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_the_operators_choice_is_the_gates_own() {
    let gate = gate(&p256(), ", header: X-User-Jwt").await;
    let mut doors = Doors::open(&gate).await;
    let forged = |request: Request| request.header("X-USER-JWT", "forged").header("x_user_jwt", "forged").header("x-user_jwt", "forged");
    let said = doors.ask(&forged(Request::get("/app").bearer(APP))).await;
    assert_eq!(read(&gate, &said.told("x-user-jwt").unwrap()).await.1["sub"], "app");
    assert!(said.told(HEADER).is_none() && !said.forwards("forged"), "{said:?}");
    let said = doors.ask(&forged(Request::get("/open"))).await;
    assert!(said.told("x-user-jwt").is_none() && !said.forwards("forged"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_public_and_for_everybody() {
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa()).unwrap();
    for key in [p256(), pem("PRIVATE KEY", der.as_ref())] {
        let gate = gate(&key, ", ttl: 30s").await;
        let reply = published(&gate).await;
        assert_eq!((reply.status, reply.header("cache-control").as_deref()), (200, Some("public, max-age=30")));
        assert_eq!(reply.header("content-type").as_deref(), Some("application/jwk-set+json"));
        for member in keys(&gate).await[0].as_object().unwrap().keys() {
            assert!(["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid"].contains(&&**member), "{member}");
        }
    }
    let without = Gate::start(ROUTES, &tokens()).await;
    assert_eq!(published(&without).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_words_that_will_not_do_are_faults_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&rsa()).as_ref().to_vec();
    write_secret(&folder.path().join("tokens.json"), tokens());
    for (name, text) in
        [("good", p256()), ("p384", pem("PRIVATE KEY", p384.as_ref())), ("public", pem("RSA PUBLIC KEY", &public)), ("odd", "no PEM".into())]
    {
        write_secret(&folder.path().join(name), text);
    }
    std::fs::write(folder.path().join("shown"), p256()).unwrap();
    std::fs::set_permissions(folder.path().join("shown"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    for (said, expected) in [
        ("{}", "`forward.assertion` has no `key_file`"),
        ("{key_file: none}", "`forward.assertion.key_file` `none` cannot be read"),
        ("{key_file: odd}", "`forward.assertion.key_file` `odd` holds no private key"),
        ("{key_file: public}", "`forward.assertion.key_file` `public` holds no private key"),
        ("{key_file: p384}", "`forward.assertion.key_file` `p384` is no key that can be used; it is ECDSA on P-256, Ed25519, or RSA"),
        ("{key_file: shown}", "`forward.assertion.key_file` `shown` is a private key that other users may read"),
        ("{key_file: good, ttl: 9s}", "`forward.assertion.ttl` is `9s`; it is from 10s to 1h"),
        ("{key_file: good, ttl: 61m}", "`forward.assertion.ttl` is `61m`"),
        ("{key_file: good, issuer: ''}", "`forward.assertion.issuer` is empty"),
        ("{key_file: good, audience: ''}", "`forward.assertion.audience` is empty"),
        ("{key_file: good, header: cookie}", "`forward.assertion.header` is `cookie`, which cannot carry it or is another's"),
        ("{key_file: good, header: x_a}", "`forward.assertion.header` is `x_a`"),
        ("{key_file: good, header: X-Forwarded-For}", "`forward.assertion.header` is `X-Forwarded-For`"),
        ("{key_file: good, header: x-scopegate-id}", "`forward.assertion.header` is `x-scopegate-id`"),
        ("{key_file: good, header: x-scopegate-jwt}", "`forward.assertion.header` is `x-scopegate-jwt`"),
        ("{key_file: good, header: X-User-Id}", "`forward.assertion.header` is `X-User-Id`"),
    ] {
        let config = format!("{ROUTES}strict_file_modes: true\nforward: {{headers: {{x-user-id: '{{{{auth.id}}}}'}}, assertion: {said}}}\n");
        let path = folder.path().join("scopegate.yaml");
        std::fs::write(&path, complete(&config, "127.0.0.1:1".parse().unwrap())).unwrap();
        let Err(faults) = app::start(Input::File(path), std::io::sink()).await else { panic!("{said} is taken") };
        let [fault] = &faults[..] else { panic!("{said}: {faults:?}") };
        assert!(fault.contains(expected) && fault.contains("scopegate.yaml:4:"), "{said}: {fault}");
    }
}
