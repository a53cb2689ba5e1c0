//! Signed tokens at the command line: looked into, checked, minted. Secrets come from files or standard input and are never said.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::scopegate;
use crate::harness::write_secret;

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("secret", &format!("{SECRET}\n"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        write_secret(&self.path(name), text);
    }

    /// Status, standard output and standard error of `scopegate token …` with this on standard input.
    fn token(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = scopegate();
        command.arg("token").args(args).current_dir(self.0.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end before it has read everything, such as over a wrong argument.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn mint(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["mint"].iter().chain(args).copied().collect();
        let (status, out, err) = self.token(&args, "");
        assert_eq!((status, err.as_str(), out.lines().count()), (0, "", 1), "{args:?}");
        out.trim_end().to_owned()
    }

    fn inspect(&self, token: &str) -> Value {
        let (status, out, err) = self.token(&["inspect"], token);
        assert_eq!((status, err.as_str()), (0, ""), "{token}");
        serde_json::from_str(&out).unwrap()
    }

    fn verify(&self, args: &[&str], token: &str) -> (i32, String, String) {
        let args: Vec<&str> = ["verify"].iter().chain(args).copied().collect();
        self.token(&args, token)
    }
}

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A token under a secret, as another program would make it.
fn signed(secret: &[u8], header: &Value, payload: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn claims(claims: Value) -> String {
    signed(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims.to_string())
}

#[test]
fn inspect_shows_header_claims_and_times_and_says_that_nothing_is_verified() {
    let desk = Desk::new();
    let token =
        signed(b"x", &json!({"alg": "HS256", "kid": "k"}), &json!({"sub": "u", "iat": 0, "exp": 1_700_000_000.5, "nbf": "never"}).to_string());
    for input in [token.clone(), format!("{token}\n"), format!("  Bearer {token}\r\n"), format!("bearer {token}")] {
        let shown = desk.inspect(&input);
        assert_eq!(shown["verified"], false);
        assert_eq!((&shown["header"], &shown["claims"]["sub"]), (&json!({"alg": "HS256", "kid": "k"}), &json!("u")));
        assert_eq!(shown["times"], json!({"iat": "1970-01-01T00:00:00Z", "exp": "2023-11-14T22:13:20Z"}));
        let left = shown["expires_in"].as_str().unwrap();
        assert!(left.starts_with("expired ") && left.ends_with(" ago"), "{left}");
        assert!(shown.get("refused").is_none(), "{shown}");
    }
    let fresh = desk.inspect(&claims(json!({"exp": now() + 10 * 86_400 + 7200})));
    assert!(fresh["expires_in"].as_str().unwrap().starts_with("10d "), "{fresh}");
}

#[test]
fn inspect_shows_what_the_gate_would_refuse_and_why() {
    let desk = Desk::new();
    let text = desk.inspect(&signed(b"x", &json!({"alg": "HS256"}), "It's a dangerous business"));
    assert_eq!(text["payload"], "It's a dangerous business");
    assert_eq!(text["refused"], "the gate takes no such token: not a claims set");
    let critical = desk.inspect(&signed(b"x", &json!({"alg": "HS256", "crit": ["b64"], "b64": false}), "{}"));
    assert_eq!(critical["refused"], "the gate takes no such token: a critical extension");
    let padded = desk.inspect(&format!("{}==.e30.", URL_SAFE_NO_PAD.encode("{\"a\":1}")));
    assert_eq!((&padded["header"], &padded["claims"]), (&json!({"a": 1}), &json!({})));
    assert!(padded["refused"].is_string());
}

#[test]
fn inspect_says_what_is_wrong_with_garbage() {
    let desk = Desk::new();
    for (input, said) in [
        ("", "standard input is empty; it is a JWT"),
        ("\n", "standard input is empty; it is a JWT"),
        ("garbage", "standard input has 1 parts"),
        ("a.b", "standard input has 2 parts"),
        ("a.b.c.d.e", "standard input is an encrypted token (JWE)"),
        ("{\"payload\": \"\"}", "standard input is JSON"),
        ("!.e30.x", "the first part is not base64url"),
        ("e30.!.x", "the second part is not base64url"),
        ("eA.e30.x", "the first part is no JSON object"),
        ("W10.e30.x", "the first part is no JSON object"),
        ("e30.gICA.x", "the second part is neither JSON nor text"),
    ] {
        let (status, out, err) = desk.token(&["inspect"], input);
        assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{input:?}");
        assert!(err.starts_with(said), "{input:?}: {err}");
    }
}

#[test]
fn the_published_examples_of_signatures_get_their_answers() {
    let desk = Desk::new();
    let vectors: Value = serde_json::from_str(include_str!("../vectors/rfc.json")).unwrap();
    let every = "HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA";
    let mut verified = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        desk.write("key.json", &vector["key"].to_string());
        let token = vector["token"].as_str().unwrap();
        let (status, out, err) = desk.verify(&["--jwks", "key.json", "--alg", every, "--no-claims"], token);
        if vector["answer"] == "verified" {
            verified += 1;
            assert_eq!((status, out.as_str(), err.contains("invalid")), (0, "valid\n", false), "{}: {err}", vector["name"]);
            // One algorithm that is not the token's, and a payload that is not the signer's.
            assert_eq!(desk.verify(&["--jwks", "key.json", "--alg", "ES384", "--no-claims"], token).0, 1, "{}", vector["name"]);
            let parts: Vec<&str> = token.split('.').collect();
            assert_eq!(desk.verify(&["--jwks", "key.json", "--alg", every, "--no-claims"], &format!("{}.e30.{}", parts[0], parts[2])).0, 1);
        } else {
            assert_eq!((status, out.as_str()), (1, ""), "{}", vector["name"]);
        }
    }
    assert_eq!(verified, 7);
}

#[test]
fn verify_holds_claims_to_the_rules_of_a_source() {
    let desk = Desk::new();
    let usual = ["--secret-file", "secret", "--alg", "HS256"];
    let good = json!({"sub": "u", "iss": "https://a.example", "aud": ["x", "y"], "exp": now() + 600, "iat": now()});
    let with = |name: &str, value: Value| {
        let mut claims_of = good.clone();
        claims_of[name] = value;
        claims(claims_of)
    };
    let asked = ["--issuer", "https://a.example", "--audience", "x"];
    for (token, more, status, said) in [
        (claims(good.clone()), &asked[..], 0, ""),
        (with("exp", json!(now() - 30)), &asked, 0, ""),
        (with("exp", json!(now() - 30)), &["--issuer", "https://a.example", "--audience", "x", "--leeway", "5s"], 1, "invalid: it expired at 20"),
        (with("exp", json!(now() - 90)), &asked, 1, "invalid: it expired at 20"),
        (with("exp", json!("9999999999")), &asked, 1, "invalid: a claim is absent or of another type"),
        (with("nbf", json!(now() + 90)), &asked, 1, "invalid: its `nbf` or `iat` is in the future"),
        (claims(good.clone()), &["--audience", "x"], 0, ""),
        (claims(good.clone()), &["--audience", "z", "--audience", "y"], 0, ""),
        (claims(good.clone()), &[], 1, "invalid: its audience is `[\"x\",\"y\"]`, and none that --audience names"),
        (claims(good.clone()), &["--audience", "z"], 1, "invalid: its audience is"),
        (claims(good.clone()), &["--audience", "x", "--issuer", "https://b.example"], 1, "invalid: its issuer is `\"https://a.example\"`"),
        (claims(good.clone()), &["--audience", "x", "--typ", "at+jwt"], 1, "invalid: it is another kind of token"),
        (claims(json!({"sub": "u"})), &[], 1, "invalid: it has no `exp`, so that it would count for ever"),
        (claims(json!({"sub": "u"})), &["--no-claims"], 0, ""),
        (with("cnf", json!({"jkt": "x"})), &asked, 1, "invalid: it is bound to a key"),
        (signed(b"another secret of more than thirty-two bytes", &json!({"alg": "HS256"}), "{}"), &[], 1, "invalid: the signature does not hold"),
        (signed(SECRET.as_bytes(), &json!({"alg": "none"}), "{}"), &[], 1, "invalid: its algorithm is none"),
        (signed(SECRET.as_bytes(), &json!({"alg": "HS256"}), "text"), &[], 1, "invalid: not a claims set; --no-claims checks the signature alone"),
        ("garbage".into(), &[], 1, "invalid: not a compact JWS"),
        (String::new(), &[], 1, "invalid: not a compact JWS"),
    ] {
        let args: Vec<&str> = usual.iter().chain(more).copied().collect();
        for end in ["", "\n", "\r\n"] {
            let (found, out, err) = desk.verify(&args, &format!("{token}{end}"));
            assert_eq!((found, out.as_str()), (status, if status == 0 { "valid\n" } else { "" }), "{more:?} {said}: {err}");
            assert!(err.starts_with(said) && err.lines().count() == usize::from(status == 1), "{more:?}: {err}");
        }
    }
    let (status, out, _) = desk.verify(&["--secret-file", "secret", "--alg", "HS256", "--audience", "x", "--json"], &claims(good.clone()));
    assert_eq!((status, serde_json::from_str::<Value>(&out).unwrap()), (0, good));
}

#[test]
fn a_public_key_checks_tokens_of_its_private_half_alone() {
    let desk = Desk::new();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = pair.public_key().as_ref();
    let mut spki = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    spki.extend(public);
    desk.write("key.pem", &format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&spki)));
    desk.write("keys.json", &json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": URL_SAFE_NO_PAD.encode(public)}]}).to_string());
    let token = |header: Value| {
        let text =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(json!({"sub": "u", "exp": now() + 60}).to_string()));
        let signature = pair.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let plain = token(json!({"alg": "EdDSA"}));
    assert_eq!(desk.verify(&["--pem", "key.pem", "--alg", "EdDSA"], &plain), (0, "valid\n".into(), String::new()));
    assert_eq!(desk.verify(&["--jwks", "keys.json", "--alg", "RS256", "--alg", "EdDSA"], &token(json!({"alg": "EdDSA", "kid": "one"}))).0, 0);
    let (status, _, err) = desk.verify(&["--jwks", "keys.json", "--alg", "EdDSA"], &token(json!({"alg": "EdDSA", "kid": "two"})));
    assert_eq!((status, err.as_str()), (1, "invalid: no key has the id `two` that it names\n"));
    // The oldest trick: the public key as the secret of an HMAC.
    let pem = std::fs::read(desk.path("key.pem")).unwrap();
    let forged = signed(&pem, &json!({"alg": "HS256"}), &json!({"sub": "u", "exp": now() + 60}).to_string());
    assert_eq!(desk.verify(&["--pem", "key.pem", "--alg", "EdDSA,HS256"], &forged).0, 1);
    for (args, said) in [
        (&["--pem", "nowhere", "--alg", "EdDSA"][..], "nowhere cannot be read"),
        (&["--pem", "secret", "--alg", "EdDSA"], "secret is no usable key"),
        (&["--jwks", "secret", "--alg", "EdDSA"], "secret is no usable key set"),
        (&["--secret-base64-file", "key.pem", "--alg", "HS256"], "key.pem is not base64"),
    ] {
        let (status, out, err) = desk.verify(args, &plain);
        assert_eq!((status, out.as_str()), (1, ""), "{args:?}");
        assert!(err.starts_with(said) && !err.contains(SECRET), "{args:?}: {err}");
    }
}

#[test]
fn a_minted_backstage_token_is_what_backstage_makes() {
    let desk = Desk::new();
    // As Node reads it: both alphabets, padding or none, and bits that no byte holds are dropped.
    for (text, bytes) in [
        ("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\n", b"AAAAAAAAAAAAAAAAAAAAAAAA".to_vec()),
        ("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/\r\n", [0xfb, 0xff, 0xbf].repeat(8)),
        ("-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_", [0xfb, 0xff, 0xbf].repeat(8)),
        ("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==\n", b"AAAAAAAAAAAAAAAAAAAAAAAAA".to_vec()),
        ("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQR\n", b"AAAAAAAAAAAAAAAAAAAAAAAAA".to_vec()),
    ] {
        desk.write("base64", text);
        let before = now();
        let token = desk.mint(&["--secret-base64-file", "base64"]);
        let shown = desk.inspect(&token);
        assert_eq!(shown["header"], json!({"alg": "HS256"}));
        let exp = shown["claims"]["exp"].as_i64().unwrap();
        assert!((before + 3600..=now() + 3600).contains(&exp));
        assert_eq!(token, signed(&bytes, &json!({"alg": "HS256"}), &json!({"sub": "backstage-server", "exp": exp}).to_string()), "{text:?}");
        assert_eq!(desk.verify(&["--secret-base64-file", "base64", "--alg", "HS256"], &token).0, 0);
        // The characters of the secret are not its bytes.
        desk.write("ascii", text);
        assert_eq!(desk.verify(&["--secret-file", "ascii", "--alg", "HS256"], &token).0, 1);
    }
    let (status, out, _) = desk.token(&["mint", "--secret-base64-file", "-"], "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\n");
    assert_eq!((status, desk.inspect(&out)["claims"]["sub"].as_str()), (0, Some("backstage-server")));

    // The manual's own examples are short; they work, with a warning.
    desk.write("base64", "my-secret-key-catalog");
    let (status, out, err) = desk.token(&["mint", "--secret-base64-file", "base64"], "");
    assert_eq!((status, out.split('.').count(), err.lines().count()), (0, 3, 2), "{err}");
    assert!(err.lines().all(|line| line.starts_with("warning: ")) && !err.contains("my-secret"), "{err}");
    for text in ["", "\n", "==", "a b", "\u{e9}"] {
        desk.write("base64", text);
        let (status, out, err) = desk.token(&["mint", "--secret-base64-file", "base64"], "");
        assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{text:?}");
    }
}

#[test]
fn a_minted_token_has_the_claims_that_were_asked_for() {
    let desk = Desk::new();
    let before = now();
    let args = [
        "--secret-file",
        "secret",
        "--claim",
        "sub=user-123",
        "--claim",
        "level:=3",
        "--claim",
        "admin:=true",
        "--claim",
        "a:=[{\"b\":null}]",
        "--ttl",
        "2h",
    ];
    let token = desk.mint(&args);
    let shown = desk.inspect(&token);
    assert_eq!(shown["header"], json!({"alg": "HS256", "typ": "JWT"}));
    let issued = shown["claims"]["iat"].as_i64().unwrap();
    assert!((before..=now()).contains(&issued));
    assert_eq!(shown["claims"], json!({"sub": "user-123", "level": 3, "admin": true, "a": [{"b": null}], "iat": issued, "exp": issued + 7200}));
    assert_eq!(token, signed(SECRET.as_bytes(), &shown["header"], &shown["claims"].to_string()), "the line end of the file is no part of the secret");
    assert_eq!(desk.verify(&["--secret-file", "secret", "--alg", "HS256"], &token), (0, "valid\n".into(), String::new()));

    let (status, out, _) = desk.token(&["mint", "--secret-file", "-", "--claim", "sub=u"], &format!("{SECRET}\n"));
    assert_eq!((status, desk.verify(&["--secret-file", "secret", "--alg", "HS256"], &out).0), (0, 0));
    for (algorithm, length) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        desk.write("long", &format!("{}\n", "k".repeat(length)));
        let token = desk.mint(&["--secret-file", "long", "--alg", algorithm]);
        assert_eq!(desk.verify(&["--secret-file", "long", "--alg", algorithm], &token).0, 0, "{algorithm}");
        desk.write("short", &format!("{}\n", "k".repeat(length - 1)));
        let (status, out, err) = desk.token(&["mint", "--secret-file", "short", "--alg", algorithm], "");
        assert_eq!((status, out.as_str()), (1, ""));
        assert!(err.contains(&format!("{} bytes; {algorithm} wants {length} or more", length - 1)) && !err.contains("kkk"), "{err}");
    }
    for (args, said) in [
        (&["--secret-file", "nowhere"][..], "nowhere cannot be read"),
        (&["--secret-file", "secret", "--claim", "a=1", "--claim", "a=2"], "claim `a` is given twice"),
    ] {
        let args: Vec<&str> = ["mint"].iter().chain(args).copied().collect();
        let (status, out, err) = desk.token(&args, "");
        assert_eq!((status, out.as_str()), (1, ""), "{args:?}");
        assert!(err.starts_with(said), "{args:?}: {err}");
    }
}
