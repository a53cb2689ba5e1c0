//! A credential that cannot be checked is no credential, whoever is out of reach and whatever stands in its place.

use std::future::pending;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::gate::{Door, Gate as Decider, unix_now};
use scopegate::jose::{Claims, HmacKey, sign_hs256};
use scopegate::keys::Registry;
use scopegate::live::Live;
use scopegate::policy::judge::Question;
use scopegate::policy::{Outcome, Reason};
use scopegate::principal::{At, Settled, SourceId};
use scopegate::proto::attribute_context::Peer;
use scopegate::request::{Body, Link, RawRequest};
use scopegate::telemetry::Telemetry;
use scopegate::transport::ext_authz::check;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{bearer, denied};
use crate::harness::desk::{CLEAR, Desk, claims, hs256};
use crate::harness::frames::UPGRADE;
use crate::harness::grpc::{self, Asked, reason, status};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Reply, Wire};
use crate::harness::{Gate, ask};

const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const APP: &str = "token-of-the-app-1";

/// The sources before and behind the one in question decide on their own tokens and on no others.
fn policy(source: &str) -> String {
    let listed = "{kind: static, file: tokens.json, from: [bearer, 'query:token']}";
    let routes = "routes: {GET /app: app:use, GET /open: public, GET /in: authenticated, GET /no: deny}";
    format!("credentials:\n  before: {listed}\n  it: {source}\n{routes}\n")
}

/// Asks for each of these paths at each door with a token; gives what each door said.
async fn at_every_door(gate: &Gate, path: &str, token: &str) -> Vec<(&'static str, u16, Option<String>, Option<String>)> {
    let line = bearer(token);
    let told = |door, reply: Reply| (door, reply.status, reply.header("x-scopegate-reason"), reply.header("retry-after"));
    let mut said = vec![told("proxy", ask(gate.proxy(), format!("GET {path} HTTP/1.1\r\nhost: a\r\n{line}\r\n")).await)];
    let upgrade = format!("GET {path}?token={token} HTTP/1.1\r\nhost: a\r\n{UPGRADE}\r\n");
    said.push(told("websocket", ask(gate.proxy(), upgrade).await));
    for (door, dialect) in [("traefik", "x-forwarded"), ("caddy", "x-forwarded"), ("nginx", "x-original")] {
        let described = format!("{dialect}-method: GET\r\n{dialect}-uri: {path}\r\nx-forwarded-host: a\r\n");
        said.push(told(door, ask(gate.forward_auth(), format!("GET /{door} HTTP/1.1\r\nhost: a\r\n{described}{line}\r\n")).await));
    }
    said.push(told("envoy", ask(gate.forward_auth(), format!("GET /envoy{path} HTTP/1.1\r\nhost: a\r\n{line}\r\n")).await));
    let mut client = grpc::connect(gate.ext_authz()).await;
    for raw in [false, true] {
        // Anything but gRPC OK would be an error to Envoy, which it may let through: `ask` takes no other.
        let response = Asked { raw, ..Asked::get(path, Some(token)) }.ask(&mut client).await;
        let code = response.status.as_ref().unwrap().code;
        assert_eq!(code == 14, status(&response) == 503, "{code}");
        said.push(("ext_authz", status(&response), reason(&response), grpc::denied_header(&response, "retry-after")));
    }
    said
}

/// 503 everywhere, with the hint to come again; nginx knows 401 and 403 only.
async fn cannot_tell(gate: &Gate, token: &str) {
    for path in ["/app", "/in", "/no", "/nowhere"] {
        for (door, status, reason, retry) in at_every_door(gate, path, token).await {
            let expected = if door == "nginx" { 403 } else { 503 };
            assert_eq!((status, reason.as_deref(), retry.as_deref()), (expected, Some("credential_unavailable"), Some("1")), "{door} {path}");
        }
    }
    assert!(gate.upstream.take().is_empty(), "the upstream heard of it");
    // Who shows another source's token, or needs none, is served as ever.
    for (door, status, ..) in at_every_door(gate, "/app", APP).await {
        assert_eq!(status, 200, "{door}");
    }
    assert_eq!(ask(gate.proxy(), format!("GET /open HTTP/1.1\r\nhost: a\r\n{}\r\n", bearer(token))).await.status, 200);
    gate.upstream.take();
}

/// An address where nobody listens any more.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// An issuer that answers every question with these bytes, or never.
async fn issuer(answer: Option<&'static str>) -> String {
    let issuer = Upstream::serving(move |mut wire: Wire, _: Message| async move {
        let answer = match answer {
            Some(answer) => answer,
            None => pending().await,
        };
        wire.send(answer).await;
        None
    });
    issuer.await.address.to_string()
}

const ANSWERS: [Option<&str>; 8] = [
    None,
    Some(""),
    Some("HTTP/1.1 500 Broken\r\ncontent-length: 15\r\n\r\n{\"active\":true}"),
    Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
    Some("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"active\":\"true\"}"),
    Some("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"active\":true}"),
    Some("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}"),
    Some("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 15\r\n\r\n{\"active\":true}"),
];

/// A token whose form is right and whose keys nobody has.
fn unchecked(alg: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": "it", "sub": "somebody", "scope": "app:use", "exp": unix_now() + 900});
    format!("{}.{}.{}", part(json!({"alg": alg, "kid": "one"})), part(claims), URL_SAFE_NO_PAD.encode([0x7a; 64]))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_set_its_tokens_are_503_at_every_door() {
    let mut addresses = vec![nobody().await];
    for answer in ANSWERS {
        addresses.push(issuer(answer).await);
    }
    for address in addresses {
        let source = format!("{{kind: jwt, jwks_url: 'http://{address}/keys', algorithms: ES256, issuer: it, from: [bearer, 'query:token']}}");
        let gate = Gate::start(&policy(&source), TOKENS).await;
        cannot_tell(&gate, &unchecked("ES256")).await;
        // What the source would never take is refused without its keys.
        for (_, status, reason, _) in at_every_door(&gate, "/app", &unchecked("RS256")).await {
            assert_eq!((if status == 403 { 401 } else { status }, reason.as_deref()), (401, Some("invalid_credential")));
        }
        let (status, ready) = gate.readyz().await;
        assert_eq!((status, &ready["ready"]), (503, &Value::Bool(false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_of_its_issuer_a_token_is_503_at_every_door() {
    let mut addresses = vec![nobody().await];
    for answer in ANSWERS {
        addresses.push(issuer(answer).await);
    }
    for address in addresses {
        let source = format!("{{kind: introspection, url: 'http://{address}/ask', client_id: a, client_secret: b, from: [bearer, 'query:token']}}");
        let gate = Gate::start(&policy(&source), TOKENS).await;
        cannot_tell(&gate, "opaque-of-somebody").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_without_its_certificate_is_401() {
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/x509.json")).unwrap();
    let pem = |name: &str| vectors["certificates"][name].as_str().unwrap().to_owned();
    let der = STANDARD.decode(pem("rsa").lines().filter(|line| !line.starts_with("--")).collect::<String>()).unwrap();
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &der));
    let source = format!("{{kind: jwt, secret: {CLEAR}, algorithms: HS256, issuer: it, from: [bearer, 'query:token']}}");
    let gate = Gate::start(&policy(&source), TOKENS).await;
    let bound = |cnf: Value| hs256(CLEAR, &json!({"iss": "it", "sub": "somebody", "scope": "app:use", "exp": unix_now() + 900, "cnf": cnf}));
    let good = bound(json!({"x5t#S256": thumbprint}));
    let others =
        [json!({"jkt": "a"}), json!({"x5t#S256": thumbprint, "jkt": "a"}), json!({}), json!("x"), json!({"x5t#S256": thumbprint.to_lowercase()})];
    let tokens: Vec<String> = others.into_iter().map(bound).chain([good.clone()]).collect();
    for token in &tokens {
        for (door, status, reason, _) in at_every_door(&gate, "/app", token).await {
            assert_eq!((status, reason.as_deref()), (401, Some("invalid_credential")), "{door}");
        }
        // A certificate that only the client speaks of.
        let claimed = format!("x-forwarded-client-cert: Cert=\"{}\"\r\nssl-client-cert: {thumbprint}\r\n", pem("rsa").replace('\n', "%0A"));
        let reply = ask(gate.proxy(), format!("GET /app HTTP/1.1\r\nhost: a\r\n{claimed}{}\r\n", bearer(token))).await;
        assert_eq!((reply.status, reply.header("x-scopegate-reason")), denied(401, "invalid_credential"));
    }
    let mut client = grpc::connect(gate.ext_authz()).await;
    for (certificate, expected) in [(pem("rsa"), 200), (pem("p256"), 401), ("x".into(), 401), (String::new(), 401)] {
        let source = Some(Peer { principal: "spiffe://a/b".into(), certificate: certificate.into(), address: None });
        // Once remembered, still only with the certificate.
        for _ in 0..2 {
            let response = Asked { source: source.clone(), ..Asked::get("/app", Some(&good)) }.ask(&mut client).await;
            assert_eq!(status(&response), expected);
        }
    }
    assert!(gate.upstream.take().is_empty());
}

/// A gate with every kind of credential, whose issuers cannot be asked.
async fn offline() -> (Desk, Decider) {
    let desk = Desk::new("").await;
    let loaded = load(&Input::File(desk.config()), &Desk::variable, &TagKey::new([7; 32]), &Registry::offline());
    let live = Arc::new(Live::default());
    live.swap(loaded.unwrap_or_else(|faults| panic!("{faults}")));
    (desk, Decider { live, telemetry: Arc::new(Telemetry::default()), limiter: Arc::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_is_never_an_allow() {
    let (desk, gate) = offline().await;
    let guard = gate.live.current();
    let snapshot = guard.as_deref().unwrap();
    let active = || Settled::Active(Arc::new(Claims::parse(br#"{"active":true,"sub":"somebody","scope":"app:use"}"#).unwrap()));
    let mut waited = 0;
    for shown in &desk.shown {
        let (name, value) = shown.header.map_or(("authorization", format!("Bearer {}", shown.text)), |header| (header, shown.text.clone()));
        let headers: &[(&str, &[u8])] = &[(name, value.as_bytes())];
        let raw = RawRequest { method: b"GET", target: b"/app", host: Some(b"a"), headers: &headers, link: Link::default() };
        let decide = |settled: &[(At, Settled)]| {
            let question = Question { body: Body::Unread, extra_scopes: "", now: unix_now(), settled };
            snapshot.policy.decide(&snapshot.sources, &raw, question).outcome
        };
        let Outcome::Wait(first) = decide(&[]) else { continue };
        waited += 1;
        // Word about somebody else's question is no answer to this one.
        for at in [At { source: SourceId(99), ..first.at }, At { means: first.at.means + 1, ..first.at }] {
            assert!(matches!(decide(&[(at, active())]), Outcome::Wait(_)), "{}", shown.name);
        }
        for end in [Settled::Refreshed, Settled::Inactive, Settled::Unreachable] {
            let mut settled = Vec::new();
            loop {
                match decide(&settled) {
                    Outcome::Wait(wait) => {
                        assert!(settled.iter().all(|(at, _)| *at != wait.at), "{}: asked twice", shown.name);
                        settled.push((wait.at, end.clone()));
                    }
                    Outcome::Deny(denial) => {
                        assert!(matches!(denial.reason, Reason::InvalidCredential | Reason::Unavailable), "{}: {denial:?}", shown.name);
                        break;
                    }
                    outcome @ (Outcome::Allow(_) | Outcome::Inspect { .. } | Outcome::Preflight(_)) => panic!("{}: {outcome:?}", shown.name),
                }
            }
        }
    }
    assert!(waited > 8, "{waited}");
}

/// SplitMix64 (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn pick<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| u8::try_from(self.next() & 0xFF).unwrap()).collect()
    }

    /// Visible ASCII, mostly of the alphabet of tokens.
    fn text(&mut self, most: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_....=+/~%&;,\"{}!";
        (0..=self.below(most)).map(|_| char::from(*self.pick(ALPHABET))).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(true),
            2 => json!(unix_now() + 900),
            3 => json!(f64::from_bits(self.next())),
            4 => json!(String::from_utf8_lossy(&self.bytes(40))),
            5 => json!(self.text(300)),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.below(4)).map(|_| (self.text(8), self.value(depth - 1))).collect(),
        }
    }

    /// A token under a right key or a wrong one, whose header or claims have something out of place.
    fn signed(&mut self) -> String {
        let alg = *self.pick(&["HS256", "HS384", "none", "RS256", "ES256", "EdDSA", "hs256", ""]);
        let mut header = json!({"alg": alg});
        let issuer = *self.pick(&["clear", "file", "coded", "variable", "published", "never", "other"]);
        let mut body = claims(issuer, &json!({}));
        for _ in 0..=self.below(3) {
            let (place, names) = match self.below(2) {
                0 => (&mut header, &["alg", "kid", "typ", "crit", "b64", "jwk", "jku"]),
                _ => (&mut body, &["iss", "aud", "exp", "nbf", "iat", "sub", "cnf"]),
            };
            let name = *self.pick(names);
            let value = self.value(18);
            place[name] = value;
        }
        // One claim that no token may have, so that chance makes no good one.
        body["exp"] = self.pick(&[json!(unix_now() - 900), json!("soon"), json!(-1), json!(1e300), Value::Null]).clone();
        let secret = *self.pick(&[CLEAR, "nobody's"]);
        sign_hs256(&HmacKey::new(secret.as_bytes()), &header, &body)
    }

    /// A good token with a change somewhere.
    fn changed(&mut self, good: &str, other: &str) -> String {
        let mut text: Vec<char> = good.chars().collect();
        let at = self.below(text.len());
        match self.below(7) {
            0 => drop(text.remove(at)),
            1 => text.insert(at, *self.pick(&['.', 'A', '_', '=', '%', '~'])),
            2 => text[at] = if text[at] == 'A' { 'B' } else { 'A' },
            3 => text.truncate(at),
            4 => text = text.split_off(at.max(1)),
            5 => text.extend("AAAA.AAAA".chars().take(1 + at % 9)),
            _ => {
                let mine = good.split('.').next().unwrap();
                return format!("{mine}.{}", other.split_once('.').map_or(other, |(_, rest)| rest).replace('A', "Q"));
            }
        }
        text.into_iter().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_pieces_of_junk_open_nothing_and_break_nothing() {
    let (desk, gate) = offline().await;
    let good: Vec<&str> = desk.shown.iter().filter(|shown| shown.status == 200).map(|shown| shown.text.as_str()).collect();
    let guard = gate.live.current();
    let mut random = Random(0x5C0_7E6A7E);
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for round in 0..2_000 {
        let junk = match round % 4 {
            0 => {
                let most = *random.pick(&[8, 80, 800, 9_000, 17_000]);
                random.text(most)
            }
            1 => (0..random.below(6)).map(|_| URL_SAFE_NO_PAD.encode(random.bytes(60))).collect::<Vec<_>>().join("."),
            2 => random.signed(),
            _ => {
                let (one, other) = (*random.pick(&good), *random.pick(&good));
                random.changed(one, other)
            }
        };
        if good.contains(&junk.as_str()) {
            continue;
        }
        let (headers, target): (Vec<(&str, Vec<u8>)>, String) = match round % 5 {
            0 => (vec![("authorization", format!("Bearer {junk}").into())], "/app".into()),
            1 => (vec![("x-jwt", junk.clone().into())], "/app".into()),
            2 => (vec![("cookie", format!("a=1; session={junk}; b=2").into())], "/app".into()),
            3 => (vec![], format!("/query?token={junk}")),
            _ => (vec![("x-lost", junk.clone().into())], format!("/query?key={junk}")),
        };
        let list: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let raw = RawRequest { method: b"GET", target: target.as_bytes(), host: Some(b"a"), headers: &list.as_slice(), link: Link::default() };
        let verdict = gate.decide(Door::ALL[round % 3], guard.as_deref(), &raw, (Body::Unread, "")).await;
        let Outcome::Deny(denial) = &verdict.decision.outcome else { panic!("{round}: {junk:?}: {:?}", verdict.decision) };
        assert!(matches!(denial.reason.status(), 400 | 401 | 503), "{round}: {denial:?}");
        *reasons.entry(denial.reason.as_str()).or_default() += 1;
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let response = check(&gate, &[], (&Asked { headers, raw: round % 2 == 0, ..Asked::get(&target, None) }.check(), None)).await;
        assert_eq!(reason(&response).as_deref(), Some(denial.reason.as_str()), "{round}");
    }
    for reason in ["invalid_credential", "ambiguous_credential", "credential_unavailable", "invalid_query"] {
        assert!(reasons.get(reason).is_some_and(|count| *count > 10), "{reason}: {reasons:?}");
    }
}
