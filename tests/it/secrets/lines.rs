//! Words of strangers, with control characters and without end: whatever they become part of stays one line of bearable length.

use scopegate::gate::unix_now;
use scopegate::jose::{HmacKey, sign_hs256};
use serde_json::{Value, json};

use crate::harness::desk::CLEAR;
use crate::harness::grpc::{self, Asked};
use crate::harness::process::Serving;
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{ask, complete, until};

/// Ends of lines in every alphabet, a terminal's commands, and an audit line of its own.
const ODD: &str = "odd\r\n\0\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\"}\\\n{\"kind\":\"decision\",\"forged\":1}\r\nx-forged: 1\r\n\r\n";
/// As a header of a trusted length.
const MARK: &str = "forged";

fn odd(length: usize) -> String {
    format!("{ODD}{}", "o".repeat(length - ODD.len()))
}

const CONFIG: &str = "
credentials:
  clear: {kind: jwt, secret: CLEAR, algorithms: HS256, issuer: clear}
  unusable: {kind: jwt, jwks_url: 'http://ISSUER/unusable', algorithms: ES256, issuer: unusable}
  some: {kind: jwt, jwks_url: 'http://ISSUER/some', algorithms: EdDSA, issuer: some}
  page: {kind: jwt, jwks_url: 'http://ISSUER/page', algorithms: ES256, issuer: page}
  status: {kind: jwt, jwks_url: 'http://ISSUER/status', algorithms: ES256, issuer: status}
  away: {kind: jwt, jwks_url: 'http://ISSUER/away', algorithms: ES256, issuer: away}
  found: {kind: jwt, issuer_url: 'http://ISSUER/found', algorithms: ES256}
  lost: {kind: jwt, issuer_url: 'http://ISSUER/lost', algorithms: ES256}
  certificates: {kind: firebase, project_id: p, keys_url: 'http://ISSUER/certificates'}
  opaque: {kind: introspection, url: 'http://ISSUER/ask', client_id: a, client_secret: b, timeout: 20s, from: 'header:x-opaque'}
forward: {headers: {x-name: '{{auth.name}}', x-names: '{{auth.names}}'}}
key_cache: kept
routes:
  /app: app:use
  /open: public
";

/// What an issuer says at a path; about a token by its number.
fn says(request: &Message, address: &str) -> String {
    let odd_keys =
        |kty: &str| (0..40).map(|index| json!({"kid": format!("{index}{}", odd(10_000)), "kty": kty, "k": ODD, "alg": ODD})).collect::<Vec<_>>();
    let whole = |document: String| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len());
    match request.first.split(' ').nth(1).unwrap_or_default() {
        "/unusable" => whole(json!({"keys": odd_keys("oct")}).to_string()),
        "/some" => {
            let mut keys = odd_keys("oct");
            keys.push(json!({"kid": "good", "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}));
            whole(json!({"keys": keys}).to_string())
        }
        "/page" => whole(odd(100_000)),
        "/status" => format!("HTTP/1.1 500 {}\r\nx: y\r\ncontent-length: 0\r\n\r\n", "o".repeat(10_000)),
        "/away" => format!("HTTP/1.1 302 Found\r\nlocation: https://id.example.com/{}\r\ncontent-length: 0\r\n\r\n", "o".repeat(10_000)),
        "/found/.well-known/openid-configuration" => whole(json!({"issuer": odd(10_000), "jwks_uri": odd(10_000)}).to_string()),
        "/lost/.well-known/openid-configuration" => whole(json!({"issuer": format!("http://{address}/lost"), "jwks_uri": odd(10_000)}).to_string()),
        "/certificates" => whole(json!({odd(10_000): "no certificate", "b": odd(10_000)}).to_string()),
        "/ask" => whole(told(&String::from_utf8_lossy(&request.body))),
        _ => "HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n".into(),
    }
}

/// Answers to a question about a token, which is its number.
fn answers() -> Vec<String> {
    let active = |more: Value| {
        let mut claims = json!({"active": true, "sub": "somebody", "scope": "app:use"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims.to_string()
    };
    vec![
        active(json!({"name": ODD, "names": ["a", ODD]})),
        active(json!({"name": "o".repeat(10_000)})),
        active(json!({"name": odd(200_000)})),
        active(json!({"sub": odd(300)})),
        active(json!({"sub": odd(10_000)})),
        active(json!({"sub": "o".repeat(10_000)})),
        active(json!({"tenant": odd(10_000)})),
        active(json!({"roles": [odd(10_000)]})),
        active(json!({"scope": odd(10_000)})),
        active(json!({"iss": odd(10_000), "aud": [odd(10_000)], "client_id": odd(10_000)})),
        json!({"active": odd(10_000)}).to_string(),
        json!({odd(10_000): true}).to_string(),
        odd(100_000),
        odd(1_000_000),
    ]
}

fn told(form: &str) -> String {
    let number: usize = form.trim_start_matches("token=opaque-").parse().unwrap();
    answers().remove(number)
}

/// Tokens under the right secret, each with something odd.
fn tokens() -> Vec<String> {
    let sign = |header: Value, more: Value| {
        let mut claims = json!({"iss": "clear", "sub": "somebody", "scope": "app:use", "exp": unix_now() + 900});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sign_hs256(&HmacKey::new(CLEAR.as_bytes()), &header, &claims)
    };
    let plain = || json!({"alg": "HS256"});
    let past = unix_now() - 900;
    let with_kid = |kid: String, issuer: &str| sign(json!({"alg": "HS256", "kid": kid}), json!({"iss": issuer}));
    let of_keys = |kid: &str| {
        let part = |value: Value| scopegate_part(&value);
        format!("{}.{}.{}", part(json!({"alg": "EdDSA", "kid": kid})), part(json!({"iss": "some", "exp": unix_now() + 900})), "A".repeat(86))
    };
    vec![
        with_kid(odd(200), "clear"),
        with_kid(odd(10_000), "clear"),
        with_kid("kid".into(), &odd(4_000)),
        of_keys(ODD),
        of_keys("k"),
        sign(json!({"alg": ODD}), json!({})),
        sign(json!({"alg": "HS256", "typ": ODD}), json!({})),
        sign(plain(), json!({"sub": odd(300), "exp": past})),
        sign(plain(), json!({"sub": odd(4_000), "exp": past})),
        sign(plain(), json!({"sub": "o".repeat(4_000), "exp": past})),
        sign(plain(), json!({"sub": "o".repeat(200), "exp": past})),
        sign(plain(), json!({"sub": ODD})),
        sign(plain(), json!({"sub": "o".repeat(4_000)})),
        sign(plain(), json!({"tenant": ODD})),
        sign(plain(), json!({"scope": format!("app:use {}", odd(4_000))})),
        sign(plain(), json!({"scope": odd(4_000)})),
        sign(plain(), json!({"roles": ["a", odd(4_000)], "name": ODD, "names": [ODD, ODD]})),
        sign(plain(), json!({"name": odd(5_000)})),
        sign(plain(), json!({"aud": odd(4_000)})),
        sign(plain(), json!({"cnf": odd(4_000)})),
        "o".repeat(15_000),
    ]
}

fn scopegate_part(value: &Value) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}'))
}

/// Each line is one JSON object of no more than so many bytes.
fn each_line_is_one_object(text: &str, longest: usize, what: &str) -> usize {
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{what}: {error}: {line:?}"));
        assert!(object.get(MARK).is_none(), "{what}: a stranger's line: {line}");
        assert!(is_plain(line), "{what}: {line:?}");
        assert!(line.len() <= longest, "{what}: {} bytes: {}…", line.len(), &line[..200]);
    }
    text.lines().count()
}

async fn issuer() -> Upstream {
    Upstream::serving(async |mut wire: Wire, request: Message| {
        let host = value(&request.headers, "host").unwrap();
        wire.send(says(&request, &host)).await;
        Some(wire)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_stranger_says_stays_one_short_line() {
    let (upstream, issuer, folder) = (Upstream::start().await, issuer().await, tempfile::tempdir().unwrap());
    let config = folder.path().join("scopegate.yaml");
    let text = complete(CONFIG, upstream.address).replace("ISSUER", &issuer.address.to_string()).replace("CLEAR", CLEAR);
    std::fs::write(&config, text).unwrap();
    let mut serving = Serving::start(&config, &[("SCOPEGATE_LOG", "trace")]).await;
    let (proxy, forward_auth, admin) = (serving.address("proxy"), serving.address("forward_auth"), serving.address("admin"));
    let mut checks = grpc::connect(serving.address("ext_authz")).await;
    let readyz = async || ask(admin, "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await.text();
    // Seven sets that cannot be had and one that can, each in its own time.
    let settled = |text: &String| text.matches("last_error\":\"").count() == 7 && text.contains("\"keys\":1");
    let told = until("key sets", async || Some(readyz().await).filter(settled)).await;
    assert!(told.len() < 10_000, "{} bytes", told.len());
    each_line_is_one_object(&told, 10_000, "/readyz");
    let opaque = (0..answers().len()).map(|number| format!("x-opaque: opaque-{number}"));
    let shown: Vec<String> = tokens().iter().map(|token| format!("authorization: Bearer {token}")).chain(opaque).collect();
    let (mut asked, mut allowed) = (0, 0);
    for line in &shown {
        let reply = ask(proxy, format!("GET /app HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n")).await;
        allowed += usize::from(reply.status == 200);
        let described = "x-forwarded-method: GET\r\nx-forwarded-uri: /app\r\nx-forwarded-host: a";
        let forwarded = ask(forward_auth, format!("GET /traefik HTTP/1.1\r\nhost: a\r\n{described}\r\n{line}\r\n\r\n")).await;
        assert_eq!(forwarded.status, reply.status, "{line}");
        for (name, value) in reply.headers.iter().chain(&forwarded.headers) {
            assert!(!name.contains(MARK) && is_plain(&String::from_utf8_lossy(value)), "{name}");
        }
        let (name, value) = line.split_once(": ").unwrap();
        let check = Asked { headers: vec![(name.into(), value.into())], ..Asked::get("/app", None) };
        let response = check.clone().ask(&mut checks).await;
        assert_eq!(grpc::status(&response), reply.status, "{line}");
        if reply.status == 200 {
            let (_, headers) = grpc::forwarded(&check, &response);
            assert!(headers.iter().all(|(name, value)| !name.contains(MARK) && is_plain(&String::from_utf8_lossy(value))), "{headers:?}");
        } else {
            let length = |reply: &crate::harness::wire::Reply| reply.body.len() + reply.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
            assert!(length(&reply) < 1000 && length(&forwarded) < 1000, "{line}");
        }
        asked += 3;
    }
    let seen = upstream.take();
    assert!(seen.len() == allowed && allowed >= 7, "{allowed}");
    for message in seen {
        let head = String::from_utf8(message.head).unwrap();
        assert!(head.lines().all(is_plain) && !head.lines().any(|line| line.starts_with("x-forged")), "{head:?}");
        assert!(head.len() < 70_000, "{}", head.len());
    }
    let metrics = ask(admin, "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.text();
    assert!(metrics.lines().all(|line| is_plain(line) && line.len() < 500), "{metrics}");
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
    let log = serving.logged("\"message\":\"stopped\"").await;
    assert!(log.contains("key `0odd\\\\r\\\\n") && log.contains("gives no answer"), "{log}");
    each_line_is_one_object(&log, 2_000, "the log");
    let audit = until("audit lines", async || Some(serving.audit()).filter(|audit| audit.lines().count() >= asked)).await;
    assert_eq!(each_line_is_one_object(&audit, 1_000, "the audit lines"), asked);
    assert!(audit.contains(&"o".repeat(200)), "who an expired token would have been is told, where it is a name");
}
