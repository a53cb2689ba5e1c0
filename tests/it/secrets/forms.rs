//! What `{:?}` makes of everything that holds a key or a token, or that came from one.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use scopegate::config::egress::Sealed;
use scopegate::config::{Faults, Input, credentials, load, tree};
use scopegate::credential::digest::TagKey;
use scopegate::credential::hide::Hidden;
use scopegate::credential::{Place, Presented};
use scopegate::gate::{Door, Gate, unix_now};
use scopegate::introspection::{self, Introspector};
use scopegate::jose::{Claims, HmacKey, Jws, Key, KeySet, Origin};
use scopegate::keys::{Registry, Where};
use scopegate::live::Live;
use scopegate::policy::judge::Question;
use scopegate::principal::jwt::Parsed;
use scopegate::principal::{At, Proof, Settled, SourceId};
use scopegate::request::{Body, Link, RawRequest, RequestView, Values};
use scopegate::telemetry::Telemetry;
use scopegate::transport::egress::Target;
use scopegate::transport::egress::token::Token;
use serde_json::json;
use tokio::runtime::Handle;

use super::{Outputs, outputs_of};
use crate::harness::desk::{ADDRESS, BEARER, CLEAR, CLIENT, Desk, OUTGOING, claims};
use crate::harness::tls::Identity;

impl Outputs {
    fn form(&mut self, name: &str, value: &impl Debug) {
        self.add(name, format!("{value:?} {value:#?}"));
    }
}

/// A request that shows a token by every way.
fn headers(token: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bearer = format!("Bearer {token}").into_bytes();
    vec![("authorization", bearer), ("cookie", format!("a=1; session={token}").into()), ("x-jwt", token.into())]
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_loaded_or_shown_has_a_printable_form() {
    let desk = Desk::new("").await;
    let (key, mut outputs) = (TagKey::new([0x5a; 32]), outputs_of(&desk));
    // What is known of the key that a tag is made with.
    outputs.never.push("90, 90, 90".into());
    let registry = Registry::new(Handle::current(), Some(desk.path("kept")));
    let loaded = load(&Input::File(desk.config()), &Desk::variable, &key, &registry).unwrap_or_else(|faults| panic!("{faults}"));
    outputs.form("Loaded", &loaded);
    outputs.form("Settings", &loaded.settings);
    outputs.form("Sources", &loaded.sources);
    outputs.form("Registry", &registry);
    let mut faults = Faults::of(Path::new("x"));
    let text = std::fs::read_to_string(desk.config()).unwrap();
    let tree = tree::parse(&text).unwrap_or_else(|(message, _)| panic!("{message}"));
    outputs.form("Node", &tree);
    let (plans, files) = credentials::plan(&tree, desk.folder.path(), &Desk::variable, (&mut Vec::new(), &mut faults));
    assert_eq!(plans.len(), 10);
    outputs.form("Plan", &(plans, files, faults));
    let live = Arc::new(Live::default());
    live.swap(loaded);
    let guard = live.current();
    let snapshot = guard.as_deref().unwrap();
    outputs.form("Snapshot", &snapshot);
    for (_, _, remote) in &snapshot.outside.keys {
        outputs.form("Remote", remote);
        outputs.form("Status", &remote.status());
        outputs.form("Where", remote.place());
    }
    let gate = Gate { live: Arc::clone(&live), telemetry: Arc::new(Telemetry::default()), limiter: Arc::default() };
    let (mut callers, mut waits) = (0, 0);
    for shown in &desk.shown {
        let token = shown.text.as_str();
        let headers = headers(token);
        let target = format!("/query?a=1&token={token}").into_bytes();
        let list: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        for fields in [&list[..1], &list[1..2], &list[2..], &[]] {
            let raw = RawRequest { method: b"GET", target: &target, host: Some(b"a"), headers: &fields, link: Link::default() };
            let view = RequestView::read(&raw).unwrap();
            outputs.form("a request", &(&raw, &view, Body::Whole(token.as_bytes()), Values::One(token.as_bytes())));
            for place in [Place::Bearer, Place::Header("x-jwt".into()), Place::Cookie("session".into()), Place::Query("token".into())] {
                outputs.form("Presented", &place.read(&view, true));
            }
            let asked =
                scopegate::principal::Asked { now: unix_now(), wanted: scopegate::principal::Wanted { query: true, factor: true }, settled: &[] };
            let proof = snapshot.sources.authenticate(&view, asked);
            match &proof {
                Proof::Caller(caller) => {
                    callers += 1;
                    outputs.form("Caller", caller);
                }
                Proof::Waits(wait) => {
                    waits += 1;
                    outputs.form("Settled", &snapshot.outside.settle(wait).await);
                }
                Proof::Nothing | Proof::Ambiguous | Proof::Refused { .. } | Proof::NoProfile | Proof::Unreachable => {}
            }
            outputs.form("Proof", &proof);
            let question = Question { body: Body::Unread, extra_scopes: "", now: unix_now(), settled: &[] };
            outputs.form("Decision", &snapshot.policy.decide(&snapshot.sources, &raw, question));
            outputs.form("Verdict", &gate.decide(Door::Proxy, Some(snapshot), &raw, (Body::Unread, "")).await);
            outputs.form("Hidden", &Hidden::of(snapshot.sources.hidden(None), &fields, view.query));
        }
        outputs.form("a token", &(Presented::Token(token.into()), key.of_token(token), Parsed::read(token)));
        outputs.form("Jws", &Jws::parse(token));
    }
    assert!(callers > 20 && waits > 5, "{callers} {waits}");
    drop(gate);
    outputs.have_no_secret();
}

#[tokio::test]
async fn no_key_has_a_printable_form() {
    let desk = Desk::new("").await;
    let mut outputs = outputs_of(&desk);
    let document = json!({"keys": [{"kty": "oct", "kid": "a", "k": base64_url(CLEAR)}]}).to_string();
    let (set, warnings) = KeySet::from_jwks(document.as_bytes(), Origin::Local).unwrap();
    outputs.form("KeySet", &(&set, set.get(0), warnings, KeySet::from_jwks(document.as_bytes(), Origin::Remote)));
    outputs.form("Key", &(Key::hmac(CLEAR.as_bytes()), HmacKey::new(CLEAR.as_bytes()), KeySet::single(Key::hmac(CLEAR.as_bytes()))));
    let claims = Arc::new(Claims::parse(claims("clear", &json!({"note": CLEAR})).to_string().as_bytes()).unwrap());
    let at = At { source: SourceId(0), means: 0 };
    outputs.form("Claims", &(&claims, Settled::Active(Arc::clone(&claims)), introspection::Answer::Active(Arc::clone(&claims)), at));
    let settings = introspection::Settings {
        url: format!("https://id.example.com/ask?key={ADDRESS}").parse().unwrap(),
        client_id: "gate".into(),
        client_secret: CLIENT.into(),
        cache: Default::default(),
        timeout: Default::default(),
    };
    outputs.form("Introspector", &(&settings, Introspector::new(&settings, TagKey::new([1; 32]), &Registry::offline())));
    outputs.form("Where", &Where::jwks(&format!("https://id.example.com/keys?key={ADDRESS}")));
    outputs.form("Remote", &Registry::offline().remote(&Where::jwks(&format!("https://id.example.com/keys?key={ADDRESS}")).unwrap()));
    let roots = Identity::of("nobody.test").believer;
    for token in [Token::file(desk.path("bearer")), Token::backstage(HmacKey::new(OUTGOING.as_bytes()))] {
        let bearer = token.bearer(unix_now()).unwrap();
        let minted = bearer.to_str().unwrap().replace("Bearer ", "");
        if minted != BEARER {
            outputs.never_token(&minted);
        }
        outputs.form("Token", &(&token, &bearer));
        outputs.form("Target", &Target::new(&"https://a.test".parse().unwrap(), &roots, token));
    }
    outputs.form("Sealed", &Sealed(OUTGOING.as_bytes().to_vec().into()));
    outputs.have_no_secret();
}

fn base64_url(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}
