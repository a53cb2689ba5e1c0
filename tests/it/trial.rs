//! The trial of a token at several sources, with keys, memory and the outside as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scopegate::credential::Place;
use scopegate::credential::certificate::Certificate;
use scopegate::credential::digest::{Tag, TagKey};
use scopegate::jose::{Algorithm, Claims, HmacKey, Jwk, Key, KeySet, sign_hs256};
use scopegate::live::memory::Remembered;
use scopegate::principal::grant::Grant;
use scopegate::principal::jwt::{Jwt, Preset, Rules};
use scopegate::principal::kept::Kept;
use scopegate::principal::roles::Roles;
use scopegate::principal::{Asked, At, Cause, Introspected, Keys, Means, Memory, Proof, Proved, Settled, Signed, Source, SourceId, Sources, Wanted};
use scopegate::request::{Link, RawRequest, RequestView, Shown};
use scopegate::scope::Universe;
use serde_json::{Value, json};

const NOW: i64 = 2_000_000_000;
const CERTIFICATE: &str = include_str!("../vectors/client.pem");

/// A key set that the test changes.
#[derive(Clone, Debug, Default)]
struct Ring(Arc<Mutex<Option<Arc<KeySet>>>>);

impl Ring {
    fn of(names: &[&str]) -> Self {
        let ring = Self::default();
        ring.turn(names);
        ring
    }

    /// From now on these keys, each a secret that is its own name.
    fn turn(&self, names: &[&str]) {
        let jwk = |name: &&str| Jwk { kid: Some((*name).into()), alg: None, key: Key::hmac(name.as_bytes()) };
        *self.0.lock().unwrap() = Some(Arc::new(KeySet::of(names.iter().map(jwk).collect())));
    }

    fn lose(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl Keys for Ring {
    fn current(&self, _now: i64) -> Option<Arc<KeySet>> {
        self.0.lock().unwrap().clone()
    }
}

/// The real memory, with a book of what was done to it.
#[derive(Clone, Debug, Default)]
struct Book(Arc<(Remembered, Mutex<Vec<&'static str>>)>);

impl Book {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.1.lock().unwrap())
    }
}

impl Memory for Book {
    fn recall(&self, tag: Tag) -> Option<Arc<Proved>> {
        self.0.0.recall(tag)
    }

    fn keep(&self, tag: Tag, proved: &Arc<Proved>) {
        self.0.1.lock().unwrap().push("keep");
        self.0.0.keep(tag, proved);
    }

    fn forget(&self, tag: Tag) {
        self.0.1.lock().unwrap().push("forget");
        self.0.0.forget(tag);
    }

    fn recall_kept(&self, _tag: Tag) -> Option<Arc<Kept>> {
        None
    }

    fn keep_kept(&self, _tag: Tag, _kept: &Arc<Kept>) {}
}

fn tags() -> TagKey {
    TagKey::new([7; 32])
}

fn signed(ring: &Ring, change: impl FnOnce(&mut Rules)) -> Means {
    let algorithms = Box::new([Algorithm::Hs256]);
    let mut rules = Rules { algorithms, typ: None, issuer: None, audiences: Box::default(), leeway: 60, max_lifetime: None, preset: Preset::Plain };
    change(&mut rules);
    Means::Signed(Box::new(Signed { jwt: Jwt { keys: Arc::new(ring.clone()), rules }, grant: Grant::default() }))
}

fn opaque(issuer: Option<&str>, audiences: &[&str]) -> Means {
    let audiences = audiences.iter().map(|audience| Box::from(*audience)).collect();
    Means::Introspected(Box::new(Introspected { issuer: issuer.map(Box::from), audiences, grant: Grant::default() }))
}

/// Sources named by their number, all of which read bearers.
fn sources(list: Vec<Means>) -> (Sources, Book) {
    let source =
        |(index, means): (usize, Means)| Source { name: index.to_string().into(), forward: false, places: vec![Place::Bearer], means: vec![means] };
    let book = Book::default();
    let materials = (tags(), Universe::default(), Roles::new(&BTreeMap::new(), None).unwrap());
    (Sources::new(list.into_iter().enumerate().map(source).collect(), materials, Box::new(book.clone())), book)
}

fn token(key: &str, claims: &Value) -> String {
    sign_hs256(&HmacKey::new(key.as_bytes()), &json!({"alg": "HS256", "kid": key}), claims)
}

fn good(key: &str) -> String {
    token(key, &json!({"sub": "u", "exp": NOW + 100}))
}

fn at(source: usize) -> At {
    At { source: SourceId(source), means: 0 }
}

/// What became of a token: who, at which source, or why not.
fn tried(sources: &Sources, token: &str, now: i64, certificate: Option<&str>, settled: &[(At, Settled)]) -> String {
    let bearer = format!("Bearer {token}");
    let headers: &[(&str, &[u8])] = &[("authorization", bearer.as_bytes())];
    let link = Link { certificate: certificate.map(|text| Shown::Text(text.as_bytes())), ..Link::default() };
    let raw = RawRequest { method: b"GET", target: b"/", host: None, headers: &headers, link };
    let view = RequestView::read(&raw).unwrap();
    match sources.authenticate(&view, Asked { now, wanted: Wanted::default(), settled }) {
        Proof::Caller(caller) => format!("{} by {}", caller.id(), caller.credential),
        Proof::Refused { cause, id } => format!("{}{}", cause.as_str(), id.map(|id| format!(" of {}", id.as_str())).unwrap_or_default()),
        Proof::Waits(wait) => format!("waits for {}", wait.at.source.0),
        other @ (Proof::Nothing | Proof::Ambiguous | Proof::NoProfile | Proof::Unreachable) => format!("{other:?}"),
    }
}

fn asked(sources: &Sources, token: &str) -> String {
    tried(sources, token, NOW, None, &[])
}

fn refreshed(source: usize) -> (At, Settled) {
    (at(source), Settled::Refreshed)
}

#[test]
fn a_token_that_was_verified_is_taken_from_memory_without_a_look_at_it() {
    let ring = Ring::of(&["a"]);
    let (sources, book) = sources(vec![signed(&ring, |_| {})]);
    assert_eq!((asked(&sources, &good("a")), asked(&sources, &good("a"))), ("u by 0".into(), "u by 0".into()));
    assert_eq!(book.take(), ["keep"], "the second time nothing is verified that could be kept");
    // What memory knows is not even parsed: no signature check would let this pass.
    let claims = Claims::parse(br#"{"sub":"known"}"#).unwrap();
    let principal = Grant::default().principal(claims.into(), 0, &Universe::default(), &Roles::default()).unwrap();
    let proved = Proved { at: at(0), keys: ring.current(NOW), until: NOW + 1, bound: None, principal };
    book.keep(tags().of_token("no-token-at-all"), &Arc::new(proved));
    assert_eq!(asked(&sources, "no-token-at-all"), "known by 0");
    assert_eq!(asked(&sources, "no-token-at-al"), "unknown");
}

#[test]
fn a_remembered_token_ends_at_its_second() {
    let ring = Ring::of(&["a"]);
    let (sources, book) = sources(vec![signed(&ring, |_| {})]);
    let token = good("a");
    assert_eq!(asked(&sources, &token), "u by 0");
    assert_eq!(tried(&sources, &token, NOW + 159, None, &[]), "u by 0");
    assert_eq!(book.take(), ["keep"]);
    assert_eq!(tried(&sources, &token, NOW + 160, None, &[]), "expired of u");
    assert_eq!(book.take(), ["forget"]);
    assert_eq!(tried(&sources, &token, NOW + 160, None, &[]), "expired of u");
    assert_eq!(book.take(), [""; 0], "there is nothing left to forget");
}

#[test]
fn a_remembered_token_is_verified_again_under_another_key_set() {
    let ring = Ring::of(&["a"]);
    let (sources, book) = sources(vec![signed(&ring, |_| {})]);
    let token = good("a");
    assert_eq!(asked(&sources, &token), "u by 0");
    // Another set with the same key.
    ring.turn(&["a", "b"]);
    assert_eq!(asked(&sources, &token), "u by 0");
    assert_eq!(book.take(), ["keep", "forget", "keep"]);
    ring.turn(&["b"]);
    assert_eq!(asked(&sources, &token), "waits for 0");
    assert_eq!(tried(&sources, &token, NOW, None, &[refreshed(0)]), "unknown_key");
    assert_eq!(book.take(), ["forget"]);
    // What is gone does not come back with an older set's memory.
    ring.turn(&["a"]);
    assert_eq!(asked(&sources, &token), "u by 0");
    assert_eq!(book.take(), ["keep"]);
}

#[test]
fn without_a_key_set_nothing_that_is_remembered_counts() {
    let ring = Ring::of(&["a"]);
    let (sources, _) = sources(vec![signed(&ring, |_| {})]);
    let token = good("a");
    assert_eq!(asked(&sources, &token), "u by 0");
    ring.lose();
    assert_eq!(asked(&sources, &token), "waits for 0");
    assert_eq!(tried(&sources, &token, NOW, None, &[refreshed(0)]), "Unreachable");
    assert_eq!(tried(&sources, &token, NOW + 1000, None, &[refreshed(0)]), "Unreachable", "whether it expired, nobody can tell");
    assert_eq!(tried(&sources, "no-token-at-all", NOW, None, &[]), "unknown", "and what is no token needs no keys");
}

#[test]
fn a_bound_token_needs_its_certificate_every_time() {
    let ring = Ring::of(&["a"]);
    let (sources, book) = sources(vec![signed(&ring, |_| {})]);
    let thumbprint = URL_SAFE_NO_PAD.encode(Certificate::parse(CERTIFICATE.as_bytes()).unwrap().sha256);
    let token = token("a", &json!({"sub": "u", "exp": NOW + 100, "cnf": {"x5t#S256": thumbprint}}));
    let other: Value = serde_json::from_str(include_str!("../vectors/x509.json")).unwrap();
    let other = other["certificates"]["p256"].as_str().unwrap();
    for _ in 0..2 {
        for (certificate, expected) in [
            (None, "bound"),
            (Some(CERTIFICATE), "u by 0"),
            (Some(other), "bound"),
            (Some("garbage"), "bound"),
            (Some(CERTIFICATE), "u by 0"),
            (None, "bound"),
        ] {
            assert_eq!(tried(&sources, &token, NOW, certificate, &[]), expected);
        }
    }
    assert_eq!(book.take(), ["keep"], "the signature is checked once, the certificate each time");
}

#[test]
fn what_nobody_signed_is_not_remembered() {
    let emulator = |rules: &mut Rules| {
        (rules.issuer, rules.audiences) = (Some("i".into()), Box::new(["a".into()]));
        rules.preset = Preset::Firebase { unsigned: true };
    };
    let (sources, book) = sources(vec![signed(&Ring::default(), emulator)]);
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"iss": "i", "aud": "a", "sub": "u", "iat": NOW, "auth_time": NOW, "exp": NOW + 100});
    let token = format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(claims));
    assert_eq!((asked(&sources, &token), asked(&sources, &token)), ("u by 0".into(), "u by 0".into()));
    assert_eq!(book.take(), [""; 0]);
}

#[test]
fn the_first_source_that_accepts_wins_whatever_is_remembered_of_a_later_one() {
    let (first, second) = (Ring::of(&["other"]), Ring::of(&["a"]));
    let (sources, book) = sources(vec![signed(&first, |_| {}), signed(&second, |_| {})]);
    assert_eq!((asked(&sources, &good("a")), asked(&sources, &good("a"))), ("u by 1".into(), "u by 1".into()));
    assert_eq!(book.take(), ["keep"], "the second source remembers it, though the first was asked before");
    first.turn(&["a"]);
    assert_eq!(asked(&sources, &good("a")), "u by 0");
    first.turn(&["other"]);
    assert_eq!(asked(&sources, &good("a")), "u by 1");
}

#[test]
fn the_cause_is_that_of_the_source_that_the_token_is_of() {
    let issued = |name: &'static str| move |rules: &mut Rules| rules.issuer = Some(name.into());
    let typed = |rules: &mut Rules| (rules.issuer, rules.typ) = (Some("x".into()), Some("at+jwt".into()));
    for turned in [false, true] {
        let (a, b) = (Ring::of(&["a"]), Ring::of(&["b"]));
        let mut list = vec![signed(&a, issued("x")), signed(&b, issued("y")), signed(&b, typed), signed(&b, issued("x"))];
        if turned {
            list.reverse();
        }
        let (sources, _) = sources(list);
        let settled: Vec<_> = (0..4).map(refreshed).collect();
        let cause = |claims: Value| tried(&sources, &token("a", &claims), NOW, None, &settled);
        assert_eq!(cause(json!({"iss": "x", "sub": "u", "exp": NOW - 100})), "expired of u", "turned: {turned}");
        assert_eq!(cause(json!({"iss": "y", "sub": "u", "exp": NOW - 100})), "unknown_key", "turned: {turned}");
        assert_eq!(cause(json!({"iss": "z", "sub": "u", "exp": NOW - 100})), "issuer", "turned: {turned}");
    }
}

#[test]
fn a_key_that_is_not_known_is_waited_for_once() {
    let ring = Ring::of(&["a"]);
    let (sources, book) = sources(vec![signed(&ring, |_| {})]);
    let token = good("b");
    assert_eq!(asked(&sources, &token), "waits for 0");
    assert_eq!(tried(&sources, &token, NOW, None, &[refreshed(0)]), "unknown_key");
    assert_eq!(tried(&sources, &token, NOW, None, &[(at(0), Settled::Unreachable)]), "Unreachable", "it may have been published since");
    ring.turn(&["a", "b"]);
    assert_eq!(tried(&sources, &token, NOW, None, &[refreshed(0)]), "u by 0");
    assert_eq!(book.take(), ["keep"]);
    // A known key that did not sign is no reason to wait.
    let forged = sign_hs256(&HmacKey::new(b"x"), &json!({"alg": "HS256", "kid": "a"}), &json!({"sub": "u", "exp": NOW + 100}));
    assert_eq!(asked(&sources, &forged), "signature");
    assert_eq!(tried(&sources, &forged, NOW, None, &[(at(0), Settled::Unreachable)]), "signature");
}

#[test]
fn each_source_is_waited_for_in_turn_and_one_that_accepts_needs_no_waiting() {
    let (first, second) = (Ring::of(&["a"]), Ring::of(&["b"]));
    let (sources, _) = sources(vec![signed(&first, |_| {}), signed(&second, |_| {})]);
    assert_eq!(asked(&sources, &good("b")), "u by 1");
    assert_eq!(asked(&sources, &good("c")), "waits for 0");
    assert_eq!(tried(&sources, &good("c"), NOW, None, &[refreshed(0)]), "waits for 1");
    assert_eq!(tried(&sources, &good("c"), NOW, None, &[refreshed(0), refreshed(1)]), "unknown_key");
}

#[test]
fn a_source_out_of_reach_makes_a_refusal_a_doubt_and_no_acceptance() {
    let (lost, ring) = (Ring::default(), Ring::of(&["a"]));
    for list in [vec![signed(&lost, |_| {}), signed(&ring, |_| {})], vec![signed(&ring, |_| {}), signed(&lost, |_| {})]] {
        let (sources, _) = sources(list);
        let settled = [refreshed(0), refreshed(1)];
        let tried = |token: &str| tried(&sources, token, NOW, None, &settled);
        assert!(tried(&good("a")).starts_with("u by "));
        assert_eq!(tried(&token("a", &json!({"sub": "u", "exp": NOW - 100}))), "Unreachable");
        assert_eq!(tried(&good("b")), "Unreachable");
        assert_eq!(tried("no-token-at-all"), "unknown");
    }
}

#[test]
fn an_opaque_token_is_what_its_issuer_says_and_is_remembered_elsewhere() {
    let (sources, book) = sources(vec![opaque(None, &[])]);
    let said = |settled: Settled| tried(&sources, "opaque", NOW, None, &[(at(0), settled)]);
    let active = |claims: Value| Settled::Active(Arc::new(Claims::parse(claims.to_string().as_bytes()).unwrap()));
    assert_eq!(asked(&sources, "opaque"), "waits for 0");
    assert_eq!(said(Settled::Inactive), "inactive");
    assert_eq!(said(Settled::Unreachable), "Unreachable");
    assert_eq!(said(Settled::Refreshed), "Unreachable");
    assert_eq!(said(active(json!({"active": true, "sub": "u"}))), "u by 0");
    assert_eq!(said(active(json!({"sub": "u", "exp": NOW + 1, "nbf": NOW}))), "u by 0");
    for (claims, cause) in [
        (json!({"sub": "u", "exp": NOW}), Cause::Expired),
        (json!({"sub": "u", "exp": "9999999999"}), Cause::Claims),
        (json!({"sub": "u", "nbf": NOW + 1}), Cause::NotYetValid),
        (json!({"active": true}), Cause::Claims),
        (json!({"sub": "u", "scope": 7}), Cause::Claims),
        (json!({"sub": "u", "cnf": {"jkt": "x"}}), Cause::Bound),
        (json!({"sub": "u", "cnf": {"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])}}), Cause::Bound),
    ] {
        assert_eq!(said(active(claims.clone())), cause.as_str(), "{claims}");
    }
    // What was said of another source's token is nothing here.
    assert_eq!(tried(&sources, "opaque", NOW, None, &[(at(1), active(json!({"sub": "u"})))]), "waits for 0");
    assert_eq!(book.take(), [""; 0]);
}

#[test]
fn an_issuers_word_counts_for_its_issuer_and_audience_alone() {
    let (sources, _) = sources(vec![opaque(Some("i"), &["a", "b"])]);
    let said = |claims: Value| {
        let active = Settled::Active(Arc::new(Claims::parse(claims.to_string().as_bytes()).unwrap()));
        tried(&sources, "opaque", NOW, None, &[(at(0), active)])
    };
    assert_eq!(said(json!({"sub": "u", "iss": "i", "aud": ["x", "b"]})), "u by 0");
    assert_eq!(said(json!({"sub": "u", "iss": "i", "aud": "a"})), "u by 0");
    for (claims, cause) in [
        (json!({"sub": "u", "aud": "a"}), "issuer"),
        (json!({"sub": "u", "iss": "j", "aud": "a"}), "issuer"),
        (json!({"sub": "u", "iss": ["i"], "aud": "a"}), "issuer"),
        (json!({"sub": "u", "iss": "i"}), "audience"),
        (json!({"sub": "u", "iss": "i", "aud": []}), "audience"),
        (json!({"sub": "u", "iss": "i", "aud": "a b"}), "audience"),
        (json!({"sub": "u", "iss": "i", "aud": {"a": 1}}), "claims"),
        (json!({"sub": "u", "iss": "i", "aud": ["a", 7]}), "claims"),
    ] {
        assert_eq!(said(claims.clone()), cause, "{claims}");
    }
}

#[test]
fn a_signed_token_is_not_shown_to_an_issuer_that_is_asked_about_others_before_its_own_source() {
    let (sources, _) = sources(vec![signed(&Ring::of(&["a"]), |_| {}), opaque(None, &[])]);
    assert_eq!(asked(&sources, &good("a")), "u by 0");
    assert_eq!(asked(&sources, "opaque"), "waits for 1");
}

#[test]
fn what_is_tried_and_remembered_has_no_printable_form() {
    let (sources, _) = sources(vec![signed(&Ring::of(&["a"]), |_| {})]);
    let token = token("a", &json!({"sub": "u", "exp": NOW + 100, "planted": "planted-claim"}));
    assert_eq!(asked(&sources, &token), "u by 0");
    let shown = format!("{sources:?} {:?}", sources.by_id("u", 0));
    assert!(!shown.contains("planted-claim") && !shown.contains(&token), "{shown}");
}
