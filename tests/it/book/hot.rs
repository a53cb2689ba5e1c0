//! What is remembered of a caller counts for exactly as long as it would come out the same: asked twice, every change of the book holds at once.

use scopegate::principal::record::{Assignment, Changes, Key, Profile, Revocation, Revoked, Role};
use scopegate::principal::roles::Definition;
use scopegate::scope::Scope;
use serde_json::json;

use super::{Engine, Lines, Said, digest, key, keys, names, profile, profiles, scopes, session, text};

const CONFIG: &str = "
credentials:
  keys: {kind: api_key}
  sessions: {kind: jwt, secret: SECRET, algorithms: [HS256], profile: {}}
roles: {editor: [articles:write]}
routes: {/: authenticated}
";

/// The same twice, once put together and once remembered, and by an engine that never saw the token before.
fn asked(engine: &Engine, lines: Lines<'_>) -> Said {
    let first = engine.ask("/", lines);
    assert_eq!(first, engine.ask("/", lines));
    let fresh = Engine::new(CONFIG);
    fresh.put(scopegate::principal::Shelved::Fresh(engine.book()));
    assert_eq!(first, fresh.ask("/", lines));
    first
}

fn role(scope: &str, deleted: bool) -> Changes {
    let definition = Definition { inherits: Vec::new(), scopes: vec![Scope::parse(scope).unwrap()] };
    Changes { roles: vec![Role { tenant: None, name: "made".into(), definition, deleted }], ..Changes::default() }
}

fn assigned(subject: &str, role: &str, deleted: bool) -> Changes {
    Changes { assignments: vec![Assignment { tenant: None, subject: subject.into(), role: role.into(), deleted }], ..Changes::default() }
}

#[test]
fn a_key_that_was_seen_before_is_what_it_is_now() {
    let engine = Engine::new(CONFIG);
    let (presented, newer) = (text("aaaaaaaa", 'x'), text("aaaaaaaa", 'y'));
    let plain = key("k1", &presented);
    let line = [("x-api-key", &*presented)];
    let change = |changes| {
        engine.change(changes);
        let said = asked(&engine, &line);
        (said.status, said.scopes)
    };
    let is = |status: u16, scopes: &str| (status, scopes.to_owned());
    assert_eq!(change(keys(vec![plain.clone()])), is(200, "app:use"));
    assert_eq!(change(keys(vec![Key { scopes: scopes(&["app:see"]), ..plain.clone() }])), is(200, "app:see"));
    assert_eq!(change(keys(vec![Key { roles: names(&["editor", "made"]), ..plain.clone() }])), is(200, "app:use articles:write"));
    assert_eq!(change(role("made:x", false)), is(200, "app:use articles:write made:x"));
    assert_eq!(change(role("made:y", false)), is(200, "app:use articles:write made:y"));
    assert_eq!(change(role("made:y", true)), is(200, "app:use articles:write"));
    assert_eq!(change(keys(vec![plain.clone()])), is(200, "app:use"));
    assert_eq!(change(assigned("k1", "editor", false)), is(200, "app:use articles:write"));
    assert_eq!(change(assigned("k1", "editor", true)), is(200, "app:use"));
    assert_eq!(change(keys(vec![Key { enabled: false, ..plain.clone() }])).0, 401);
    assert_eq!(change(keys(vec![Key { profile: Some("p1".into()), ..plain.clone() }])).0, 401);
    assert_eq!(change(profiles(vec![profile("p1", None, "one@example.test")])), is(200, "app:use"));
    let rich = Profile { scopes: scopes(&["rich:x"]), ..profile("p1", None, "one@example.test") };
    assert_eq!(change(profiles(vec![rich.clone()])), is(200, "app:use rich:x"));
    assert_eq!(change(profiles(vec![Profile { enabled: false, ..rich.clone() }])).0, 401);
    assert_eq!(change(profiles(vec![rich.clone()])), is(200, "app:use rich:x"));
    assert_eq!(change(assigned("p1", "editor", false)), is(200, "app:use rich:x articles:write"));
    assert_eq!(change(profiles(vec![Profile { deleted: true, ..rich }])).0, 401);
    assert_eq!(change(keys(vec![Key { digest: digest(&newer), previous: Some((plain.digest, i64::MAX)), ..plain.clone() }])), is(200, "app:use"));
    assert_eq!(change(keys(vec![Key { digest: digest(&newer), ..plain.clone() }])).0, 401);
    assert_eq!(change(keys(vec![plain])), is(200, "app:use"));
    let revocations = vec![Revocation { kind: Revoked::Credential, tenant: None, value: "k1".into(), until: None }];
    assert_eq!(change(Changes { revocations, ..Changes::default() }).0, 401);
}

#[test]
fn a_session_that_was_seen_before_is_what_its_profile_is_now() {
    let engine = Engine::new(CONFIG);
    let token = session(json!({"roles": "made", "jti": "j1"}));
    let line = [("authorization", &*token)];
    let change = |changes| {
        engine.change(changes);
        let said = asked(&engine, &line);
        (said.status, said.scopes)
    };
    let is = |status: u16, scopes: &str| (status, scopes.to_owned());
    let one = profile("p1", None, "one@example.test");
    assert_eq!(change(Changes::default()).0, 404);
    assert_eq!(change(profiles(vec![one.clone()])), is(200, "app:use"));
    assert_eq!(change(profiles(vec![Profile { scopes: scopes(&["rich:x"]), ..one.clone() }])), is(200, "app:use rich:x"));
    assert_eq!(change(role("made:x", false)), is(200, "app:use rich:x made:x"));
    assert_eq!(change(role("made:y", false)), is(200, "app:use rich:x made:y"));
    assert_eq!(change(assigned("p1", "editor", false)), is(200, "app:use rich:x made:y articles:write"));
    assert_eq!(change(assigned("p1", "editor", true)), is(200, "app:use rich:x made:y"));
    assert_eq!(change(profiles(vec![Profile { enabled: false, ..one.clone() }])).0, 401);
    assert_eq!(change(profiles(vec![Profile { email: "two@example.test".into(), ..one.clone() }])).0, 404);
    assert_eq!(change(profiles(vec![one])), is(200, "app:use made:y"));
    let revocations = vec![Revocation { kind: Revoked::Jti, tenant: None, value: "j1".into(), until: None }];
    assert_eq!(change(Changes { revocations, ..Changes::default() }).0, 401);
}
