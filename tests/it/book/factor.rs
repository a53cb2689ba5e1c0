//! Routes that ask for a second factor: by the gate's own token, by what a session says of its login, how old, and whose.

use scopegate::jose::{HmacKey, sign_hs256};
use scopegate::mfa::token;
use scopegate::principal::record::{Changes, Enrolment, Holder};
use serde_json::{Value, json};

use super::{Engine, FACTOR, NOW, Said, key, keys, session, text};

const CONFIG: &str = "
credentials:
  keys: {kind: api_key}
  sessions: {kind: jwt, secret: SECRET, algorithms: [HS256]}
routes:
  /: authenticated
  /step: {scopes: app:use, mfa: {max_age: 5m}}
  /long: {mfa: {}}
  /never: {scopes: other:use, mfa: {max_age: 5m}}
";

fn holder(realm: &str, tenant: Option<&str>, subject: &str) -> Holder {
    Holder { realm: realm.into(), tenant: tenant.map(Into::into), subject: subject.into() }
}

fn enrol(engine: &Engine, holder: Holder, enabled_at: Option<i64>) {
    engine.change(Changes { enrolments: vec![Enrolment { holder, enabled_at }], ..Changes::default() });
}

fn engine() -> Engine {
    let engine = Engine::new(CONFIG);
    engine.change(keys(vec![key("k1", &text("aaaaaaaa", 'x'))]));
    enrol(&engine, holder("keys", None, "k1"), Some(NOW - 1000));
    enrol(&engine, holder("sessions", None, "user-1"), Some(NOW - 1000));
    engine
}

fn mint(holder: &Holder, at: i64) -> String {
    token::mint(&HmacKey::new(FACTOR), holder, at)
}

fn with_key(engine: &Engine, target: &str, tokens: &[&str]) -> Said {
    let good = text("aaaaaaaa", 'x');
    let mut lines = vec![("x-api-key", &*good)];
    lines.extend(tokens.iter().map(|token| ("x-mfa-token", *token)));
    engine.ask(target, &lines)
}

#[test]
fn a_route_that_asks_for_a_second_factor_says_so_and_takes_a_fresh_one() {
    let engine = engine();
    let bare = with_key(&engine, "/step", &[]);
    let challenge = concat!(
        r#"Bearer realm=\"scopegate\", error=\"insufficient_user_authentication\", "#,
        r#"error_description=\"Multi-factor authentication required\", max_age=\"300\""#
    );
    let body = r#"{"error":"insufficient_user_authentication","message":"Multi-factor authentication required","max_age":300}"#;
    assert_eq!((bare.status, bare.bytes), (401, format!("step_up {body} Some(\"{challenge}\") []")));
    let at = |target: &str, age: i64| with_key(&engine, target, &[&mint(&holder("keys", None, "k1"), NOW - age)]).status;
    assert_eq!([at("/step", 0), at("/step", 299), at("/step", 300), at("/step", 301)], [200, 200, 200, 401]);
    assert_eq!([at("/long", 899), at("/long", 900)], [200, 401], "a token counts for a quarter of an hour");
    assert_eq!((at("/step", -60), at("/step", -61)), (200, 401), "clocks of replicas differ a little");
    // Who may not do it at all is not asked for more, and a route that asks for none looks at none.
    assert_eq!((at("/never", 0), with_key(&engine, "/never", &[]).status, with_key(&engine, "/", &["x"]).status), (403, 403, 200));
}

#[test]
fn a_token_of_a_second_factor_is_its_holders_alone() {
    let engine = engine();
    let ask = |token: &str| with_key(&engine, "/step", &[token]).status;
    assert_eq!(ask(&mint(&holder("keys", None, "k1"), NOW)), 200);
    for other in [holder("sessions", None, "k1"), holder("keys", Some("t1"), "k1"), holder("keys", None, "k2"), holder("profile", None, "k1")] {
        enrol(&engine, other.clone(), Some(NOW - 1000));
        assert_eq!(ask(&mint(&other, NOW)), 401, "{other:?}");
    }
    // Nor does a session of the same subject take it.
    let lines = |token: &str| engine.ask("/step", &[("authorization", &session(json!({}))), ("x-mfa-token", token)]).status;
    assert_eq!((lines(&mint(&holder("keys", None, "k1"), NOW)), lines(&mint(&holder("sessions", None, "user-1"), NOW))), (401, 200));
}

#[test]
fn no_other_token_passes_for_one_of_a_second_factor() {
    let engine = engine();
    let usual = json!({"realm": "keys", "sub": "k1", "iat": NOW, "exp": NOW + 900, "auth_time": NOW});
    let signed = |key: &[u8], header: Value, change: &dyn Fn(&mut Value)| {
        let mut claims = usual.clone();
        change(&mut claims);
        sign_hs256(&HmacKey::new(key), &header, &claims)
    };
    let header = || json!({"alg": "HS256", "typ": "mfa+jwt"});
    let same = |_: &mut Value| {};
    let ask = |token: &str| with_key(&engine, "/step", &[token]).status;
    assert_eq!(ask(&signed(FACTOR, header(), &same)), 200);
    assert_eq!(ask(&signed(b"another key, just as long as the right one", header(), &same)), 401);
    assert_eq!(ask(&signed(FACTOR, json!({"alg": "HS256"}), &same)), 401);
    assert_eq!(ask(&signed(FACTOR, json!({"alg": "HS256", "typ": "JWT"}), &same)), 401);
    assert_eq!(ask(&signed(FACTOR, json!({"alg": "HS384", "typ": "mfa+jwt"}), &same)), 401);
    assert_eq!(ask(&signed(FACTOR, json!({"alg": "none", "typ": "mfa+jwt"}), &same)), 401);
    for (name, value) in [
        ("realm", json!(null)),
        ("sub", json!(["k1"])),
        ("tenant", json!(7)),
        ("tenant", json!("")),
        ("iat", json!(null)),
        ("iat", json!("now")),
        ("iat", json!(NOW - 1001)),
        ("iat", json!(NOW + 61)),
        ("auth_time", json!(null)),
        ("auth_time", json!(NOW - 1001)),
        ("exp", json!(NOW)),
        ("exp", json!(null)),
    ] {
        assert_eq!(ask(&signed(FACTOR, header(), &|claims| claims[name] = value.clone())), 401, "{name}: {value}");
    }
    for odd in ["", "x", "a.b.c", "Bearer x"] {
        assert_eq!(ask(odd), 401, "{odd:?}");
    }
    let good = signed(FACTOR, header(), &same);
    for two in [with_key(&engine, "/step", &[&good, &good]), with_key(&engine, "/step", &[&format!("{good},{good}")])] {
        assert_eq!(two.status, 400, "{two:?}");
    }
}

#[test]
fn a_token_ends_with_the_enrolment_that_it_is_of() {
    let engine = engine();
    let (mine, token) = (holder("keys", None, "k1"), mint(&holder("keys", None, "k1"), NOW));
    let ask = || with_key(&engine, "/step", &[&token]).status;
    for (enabled_at, status) in [(Some(NOW), 200), (Some(NOW + 1), 401), (None, 401), (Some(NOW - 1), 200)] {
        enrol(&engine, mine.clone(), enabled_at);
        assert_eq!(ask(), status, "{enabled_at:?}");
    }
}

#[test]
fn a_session_that_says_how_it_logged_in_needs_no_token() {
    let engine = engine();
    let ask = |claims: Value| engine.ask("/step", &[("authorization", &session(claims))]).status;
    let at = |age: i64| ask(json!({"amr": ["pwd", "mfa"], "auth_time": NOW - age}));
    assert_eq!([at(0), at(300), at(301), at(-60), at(-61)], [200, 200, 401, 200, 401]);
    for good in [
        json!({"amr": ["otp"]}),
        json!({"amr": ["pwd", "hwk"]}),
        json!({"amr": "pwd otp"}),
        json!({"acr": "phr"}),
        json!({"acr": "https://refeds.org/profile/mfa"}),
        json!({"firebase": {"sign_in_second_factor": "totp"}}),
    ] {
        let mut claims = good.clone();
        assert_eq!(ask(claims.clone()), 401, "no `auth_time`: {good}");
        claims["auth_time"] = json!(NOW - 10);
        assert_eq!(ask(claims), 200, "{good}");
    }
    for bad in [
        json!({}),
        json!({"amr": ["pwd"]}),
        json!({"amr": ["pwd", "sms"]}),
        json!({"amr": ["MFA"]}),
        json!({"amr": 7}),
        json!({"amr": ["mfa", 7]}),
        json!({"amr": {"mfa": true}}),
        json!({"acr": "1"}),
        json!({"acr": 2}),
        json!({"firebase": {"sign_in_second_factor": ""}}),
        json!({"firebase": {"sign_in_second_factor": null}}),
        json!({"firebase": {"sign_in_provider": "totp"}}),
    ] {
        let mut claims = bad.clone();
        claims["auth_time"] = json!(NOW - 10);
        assert_eq!(ask(claims), 401, "{bad}");
    }
    for odd in [json!("1800000000"), json!(null), json!(-1), json!([NOW])] {
        assert_eq!(ask(json!({"amr": ["mfa"], "auth_time": odd})), 401, "{odd}");
    }
    // The newer of the two counts.
    let token = mint(&holder("sessions", None, "user-1"), NOW - 10);
    let old = session(json!({"amr": ["mfa"], "auth_time": NOW - 1000}));
    assert_eq!(engine.ask("/step", &[("authorization", &old), ("x-mfa-token", &token)]).status, 200);
}

#[test]
fn the_token_is_hidden_from_the_upstream_wherever_there_is_a_store() {
    let engine = engine();
    let hidden = |engine: &Engine| {
        let places = engine.sources.hidden(None).map(|place| format!("{place:?}")).collect::<Vec<_>>();
        (places.iter().any(|place| place.contains("x-mfa-token")), engine.sources.headers().any(|name| name == "x-mfa-token"))
    };
    assert_eq!(hidden(&engine), (true, true));
}
