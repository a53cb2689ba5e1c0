//! Signed tokens of the libraries that services really use, for every algorithm and every form of key; and ours, as those libraries see them.

use serde_json::{Value as Json, json};

use crate::client::Ask;
use crate::gate::{Desk, Gate, now};
use crate::tokens::Minter;

const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "orders";
const SECRET: &str = "a secret that is long enough for HS512, which wants sixty-four bytes of it";
const HMAC: [&str; 3] = ["HS256", "HS384", "HS512"];
const PUBLIC: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
const LIBRARIES: [&str; 3] = ["jose", "jsonwebtoken", "PyJWT"];

/// The programs of the three libraries. Each has a key of its own for each algorithm, named after both.
struct Makers {
    js: Minter,
    py: Minter,
}

impl Makers {
    fn start() -> Self {
        Self { js: Minter::start("mint.mjs"), py: Minter::start("mint.py") }
    }

    fn of(&self, library: &str) -> (&Minter, &'static str) {
        if library == "PyJWT" { (&self.py, "py") } else { (&self.js, "js") }
    }

    /// `more` adds to the request, and takes its members over.
    fn sign(&self, library: &str, alg: &str, more: &Json) -> String {
        let (minter, prefix) = self.of(library);
        let mut request = json!({"op": "sign", "lib": library, "alg": alg, "claims": claims(&json!({"sub": library}))});
        let members = request.as_object_mut().unwrap();
        if HMAC.contains(&alg) {
            members.insert("secret".into(), json!(SECRET));
        } else if alg != "none" {
            members.insert("key".into(), json!(format!("{prefix}-{alg}")));
        }
        members.extend(more.as_object().unwrap().clone());
        minter.text("token", &request)
    }

    /// The public keys of all algorithms, and one PEM for each.
    fn published(&self) -> (Json, Vec<(String, String)>) {
        let (mut keys, mut pems) = (Vec::new(), Vec::new());
        for (minter, prefix) in [(&self.js, "js"), (&self.py, "py")] {
            let names = PUBLIC.map(|alg| format!("{prefix}-{alg}"));
            for (name, alg) in names.iter().zip(PUBLIC) {
                minter.ask(&json!({"op": "key", "key": name, "alg": alg}));
                pems.push((name.clone(), minter.text("pem", &json!({"op": "pem", "key": name}))));
            }
            keys.extend(minter.ask(&json!({"op": "jwks", "keys": names}))["keys"].as_array().unwrap().clone());
        }
        (json!({"keys": keys}), pems)
    }
}

/// Claims that the sources below take; `null` takes one away.
fn claims(more: &Json) -> Json {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "scope": "orders:read", "iat": now(), "exp": now() + 600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

/// A source that reads a header of its own, so that a request says which source it is about.
fn source(header: &str, algorithms: &[&str], key: &str, value: &str) -> Json {
    json!({"kind": "jwt", "from": format!("header:{header}"), "algorithms": algorithms, "issuer": ISSUER, "audiences": [AUDIENCE], key: value})
}

/// A gate with a source for every form of key, and the server of its key set.
fn gate(makers: &Makers) -> (Gate, Minter) {
    let (keys, pems) = makers.published();
    let server = Minter::start("faults.py");
    server.ask(&json!({"op": "lay", "path": "/keys", "body": keys.to_string()}));
    let mut desk = Desk::new().file("keys.json", &keys.to_string()).file("secret", &format!("{SECRET}\n"));
    let url = format!("{}/keys", server.ready("address"));
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, SECRET);
    let mut credentials = json!({
        "file": source("x-file", &PUBLIC, "jwks_file", "keys.json"),
        "url": source("x-url", &PUBLIC, "jwks_url", &url),
        "secret": source("x-secret", &HMAC, "secret", SECRET),
        "secret-file": source("x-secret-file", &HMAC, "secret_file", "secret"),
        "secret-base64": source("x-secret-base64", &HMAC, "secret_base64", &encoded),
    });
    for (name, pem) in pems {
        let alg = name.split_once('-').unwrap().1;
        let file = format!("{name}.pem");
        credentials.as_object_mut().unwrap().insert(name.clone(), source(&format!("x-{name}"), &[alg], "public_key_file", &file));
        desk = desk.file(&file, &pem);
    }
    (desk.serve(&json!({"credentials": credentials})), server)
}

/// What the sources of these headers say to a token, each asked alone.
fn told(gate: &Gate, headers: &[&str], token: &str) -> Vec<(u16, String)> {
    headers.iter().map(|header| gate.told(&Ask::get("/").header(header, token))).collect()
}

#[test]
fn every_librarys_tokens_are_taken_by_every_form_of_key() {
    let makers = Makers::start();
    let (gate, _server) = gate(&makers);
    for library in LIBRARIES {
        for alg in HMAC {
            let token = makers.sign(library, alg, &json!({}));
            let told = told(&gate, &["x-secret", "x-secret-file", "x-secret-base64"], &token);
            assert_eq!(told, vec![(200, library.to_owned()); 3], "{library} {alg}");
        }
        // jsonwebtoken knows no EdDSA.
        for alg in PUBLIC.into_iter().filter(|alg| library != "jsonwebtoken" || *alg != "EdDSA") {
            let token = makers.sign(library, alg, &json!({}));
            let pem = format!("x-{}-{alg}", makers.of(library).1);
            assert_eq!(told(&gate, &["x-file", "x-url", &pem], &token), vec![(200, library.to_owned()); 3], "{library} {alg}");
        }
    }
    // RFC 9864's name for the same.
    let token = makers.sign("jose", "Ed25519", &json!({"key": "js-EdDSA"}));
    assert_eq!(told(&gate, &["x-file", "x-url", "x-js-EdDSA"], &token), vec![(200, "jose".to_owned()); 3]);
}

#[test]
fn no_library_can_make_a_token_that_another_key_or_algorithm_proves() {
    let makers = Makers::start();
    let (gate, _server) = gate(&makers);
    let refused = |headers: &[&str], token: &str, causes: &[&str], what: &str| {
        for (status, cause) in told(&gate, headers, token) {
            assert!(status == 401 && causes.contains(&&*cause), "{what}: {status} {cause}");
        }
    };
    let keys = ["x-file", "x-url"];
    for library in LIBRARIES {
        let prefix = makers.of(library).1;
        for alg in PUBLIC.into_iter().filter(|alg| library != "jsonwebtoken" || *alg != "EdDSA") {
            let (own, pem) = (format!("{prefix}-{alg}"), format!("x-{prefix}-{alg}"));
            // Somebody else's key under the name of the right one, under none, and under one that nobody has.
            let stranger = format!("stranger-{alg}");
            let sign = |kid: Json| makers.sign(library, alg, &json!({"key": stranger, "header": {"kid": kid}}));
            let all = [keys[0], keys[1], &pem];
            refused(&all, &sign(json!(own)), &["signature"], &format!("{library} {alg}, wrong key"));
            refused(&[&pem], &sign(Json::Null), &["signature"], &format!("{library} {alg}, wrong key without a name"));
            refused(&keys, &sign(json!("nobody")), &["unknown_key"], &format!("{library} {alg}, unknown key"));
        }
        for alg in HMAC {
            let token = makers.sign(library, alg, &json!({"secret": SECRET.to_uppercase()}));
            refused(&["x-secret", "x-secret-file", "x-secret-base64"], &token, &["signature"], &format!("{library} {alg}, wrong secret"));
            // Not among the algorithms of the source, whatever the key.
            refused(&keys, &makers.sign(library, alg, &json!({})), &["unknown"], &format!("{library} {alg}, not allowed"));
        }
        // A key does for its own algorithm alone: by its JWK, or because the source says so.
        let other = makers.sign(library, "RS384", &json!({"key": format!("{prefix}-RS256")}));
        refused(&keys, &other, &["signature"], &format!("{library} RS384 under a key for RS256"));
        refused(&[&format!("x-{prefix}-RS256")], &other, &["unknown"], &format!("{library} RS384 where RS256 is asked for"));
        let unsigned = makers.sign(library, "none", &json!({}));
        assert!(unsigned.ends_with('.'), "{unsigned}");
        refused(&["x-file", "x-url", "x-secret", &format!("x-{prefix}-RS256")], &unsigned, &["unknown"], &format!("{library} none"));
    }
}

#[test]
fn what_no_library_would_make_is_refused() {
    let makers = Makers::start();
    let (gate, _server) = gate(&makers);
    let payload = claims(&json!({})).to_string();
    let raw = |more: Json| {
        let mut request = json!({"op": "raw", "payload": payload});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        makers.js.text("token", &request)
    };
    let pem = makers.js.text("pem", &json!({"op": "pem", "key": "js-RS256"}));
    let rsa = r#"{"alg":"HS256","kid":"js-RS256"}"#;
    let ecdsa = r#"{"alg":"ES256","kid":"js-ES256"}"#;
    let good = raw(json!({"alg": "ES256", "key": "js-ES256", "header": ecdsa}));
    assert_eq!(told(&gate, &["x-file", "x-url", "x-js-ES256"], &good), vec![(200, "alice".to_owned()); 3]);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let jwe = makers.js.text("token", &json!({"op": "encrypt", "alg": "RSA-OAEP-256", "key": "js-RS256", "claims": claims(&json!({}))}));
    for (what, token) in [
        ("a public key taken for a secret", raw(json!({"alg": "HS256", "secret": pem, "header": rsa}))),
        ("a signature in DER", raw(json!({"alg": "ES256", "key": "js-ES256", "der": true, "header": ecdsa}))),
        ("a signature that says none", raw(json!({"alg": "ES256", "key": "js-ES256", "header": r#"{"alg":"none","kid":"js-ES256"}"#}))),
        ("an algorithm twice", raw(json!({"alg": "ES256", "key": "js-ES256", "header": r#"{"alg":"none","alg":"ES256","kid":"js-ES256"}"#}))),
        ("a critical extension", raw(json!({"alg": "ES256", "key": "js-ES256", "header": r#"{"alg":"ES256","kid":"js-ES256","crit":["exp"]}"#}))),
        (
            "a claim twice",
            raw(
                json!({"alg": "ES256", "key": "js-ES256", "header": ecdsa, "payload": format!("{},\"sub\":\"bob\"}}", &payload[..payload.len() - 1])}),
            ),
        ),
        ("no signature", format!("{head}.")),
        ("a signature with padding", format!("{good}=")),
        ("a signature of nothing", format!("{head}.{}", "A".repeat(signature.len()))),
        ("more than eight KiB", makers.sign("jose", "ES256", &json!({"claims": claims(&json!({"pad": "x".repeat(7000)}))}))),
        ("an encrypted token", jwe),
    ] {
        for (status, cause) in told(&gate, &["x-file", "x-url", "x-js-RS256", "x-js-ES256"], &token) {
            assert!(status == 401 && ["signature", "unknown"].contains(&&*cause), "{what}: {status} {cause}");
        }
    }
}

#[test]
fn a_good_signature_is_not_enough() {
    let makers = Makers::start();
    let (gate, _server) = gate(&makers);
    let told = |more: Json| {
        let token = makers.sign("jose", "ES256", &json!({"claims": claims(&more)}));
        gate.told(&Ask::get("/").header("x-file", &token))
    };
    // Clocks may differ by a minute.
    for good in [json!({}), json!({"exp": now() - 30}), json!({"nbf": now() + 30}), json!({"aud": ["other", AUDIENCE]}), json!({"iat": null})] {
        assert_eq!(told(good.clone()), (200, "alice".into()), "{good}");
    }
    for (bad, cause) in [
        (json!({"exp": now() - 90}), "expired"),
        (json!({"exp": null}), "claims"),
        (json!({"exp": (now() + 600).to_string()}), "claims"),
        (json!({"nbf": now() + 120}), "not_yet_valid"),
        (json!({"iat": now() + 120}), "not_yet_valid"),
        (json!({"iss": format!("{ISSUER}/")}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"aud": "other"}), "audience"),
        (json!({"aud": null}), "audience"),
        (json!({"sub": null}), "claims"),
        (json!({"cnf": {"jkt": "x"}}), "bound"),
    ] {
        assert_eq!(told(bad.clone()), (401, cause.into()), "{bad}");
    }
}

#[test]
fn a_signed_token_opens_what_its_scopes_say_behind_envoy() {
    let minter = Minter::start("mint.mjs");
    let sign = |scope: &str| minter.text("token", &json!({"op": "sign", "alg": "RS256", "key": "k", "claims": claims(&json!({"scope": scope}))}));
    let (reader, writer) = (sign("orders:read"), sign("orders:read orders:write"));
    let desk = Desk::new().file("keys.json", &minter.ask(&json!({"op": "jwks", "keys": ["k"]})).to_string());
    let credentials = json!({"jwt": {"kind": "jwt", "algorithms": ["RS256"], "jwks_file": "keys.json", "issuer": ISSUER, "audiences": [AUDIENCE]}});
    let gate = desk.serve(&json!({"credentials": credentials, "routes": {"GET /orders": "orders:read", "POST /orders": "orders:write"}}));
    let envoy = gate.envoy(&[]);
    let told = |ask: Ask| gate.told_by(&ask.send(envoy.port));
    assert_eq!(told(Ask::get("/orders").token(&reader)), (200, "alice".into()));
    assert_eq!(told(Ask::new("POST", "/orders").body(b"{}").token(&writer)), (200, "alice".into()));
    assert_eq!(told(Ask::new("POST", "/orders").body(b"{}").token(&reader)), (403, "insufficient_scope".into()));
    let (head, _) = reader.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", writer.rsplit_once('.').unwrap().1);
    assert_eq!(told(Ask::get("/orders").token(&forged)), (401, "signature".into()));
    let answer = Ask::get("/orders").token(&forged).send(envoy.port);
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="scopegate", error="invalid_token""#));
}

#[test]
fn the_commands_take_what_the_libraries_make_and_make_what_they_take() {
    let makers = Makers::start();
    let (keys, _) = makers.published();
    let desk = Desk::new().file("keys.json", &keys.to_string()).file("secret", &format!("{SECRET}\n")).file("other", &SECRET.to_uppercase());
    let verify = |arguments: &[&str], token: &str| desk.run(&[&["token", "verify"], arguments].concat(), token);
    for library in LIBRARIES {
        for alg in HMAC.into_iter().chain(PUBLIC).filter(|alg| library != "jsonwebtoken" || *alg != "EdDSA") {
            let token = makers.sign(library, alg, &json!({}));
            let key = if HMAC.contains(&alg) { ["--secret-file", "secret"] } else { ["--jwks", "keys.json"] };
            let rules = ["--alg", alg, "--issuer", ISSUER, "--audience", AUDIENCE];
            assert_eq!(verify(&[&key[..], &rules].concat(), &token), (0, "valid".into(), String::new()), "{library} {alg}");
            let (status, shown, _) = desk.run(&["token", "inspect"], &token);
            let shown: Json = serde_json::from_str(&shown).unwrap();
            assert_eq!((status, &shown["header"]["alg"], &shown["claims"]["sub"]), (0, &json!(alg), &json!(library)));
            if HMAC.contains(&alg) {
                let (status, _, why) = verify(&[&["--secret-file", "other"], &rules[..]].concat(), &token);
                assert!(status == 1 && why.contains("the signature does not hold"), "{library} {alg}: {why}");
            }
        }
        let (status, _, why) = verify(&["--jwks", "keys.json", "--alg", "RS256"], &makers.sign(library, "none", &json!({})));
        assert!(status == 1 && why.contains("its algorithm is none"), "{library}: {why}");
    }
    for alg in HMAC {
        let mint = ["token", "mint", "--secret-file", "secret", "--alg", alg, "--claim", "sub=ours", "--claim", "level:=3"];
        let (status, token, said) = desk.run(&mint, "");
        assert_eq!((status, &*said), (0, ""));
        for library in LIBRARIES {
            let read = makers.of(library).0.ask(&json!({"op": "verify", "lib": library, "alg": alg, "secret": SECRET, "token": token}));
            assert_eq!((&read["claims"]["sub"], &read["claims"]["level"]), (&json!("ours"), &json!(3)), "{library} {alg}");
        }
    }
}
