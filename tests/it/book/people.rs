//! Profiles, assignments, managed roles and revocations, over whatever source proved the caller.

use scopegate::principal::Shelved;
use scopegate::principal::record::{Assignment, Changes, Key, Profile, Revocation, Revoked, Role};
use scopegate::principal::roles::Definition;
use scopegate::scope::Scope;
use serde_json::json;

use super::{Engine, NOW, key, keys, names, profile, profiles, scopes, session, text};

const CONFIG: &str = "
credentials:
  keys: {kind: api_key}
  sessions: {kind: jwt, secret: SECRET, algorithms: [HS256], profile: {claim: email}}
  plain: {kind: jwt, secret: SECRET, algorithms: [HS256], from: cookie:plain}
  hook: {kind: webhook, token: hook-token-0123456789, from: header:x-hook}
roles: {default: user, user: [profile:read], editor: [articles:write]}
forward: {headers: {x-mail: '{{auth.email}}', x-profile: '{{auth.profile}}', x-sub: '{{auth.sub}}'}}
routes: {/: authenticated, /use: app:use}
";

fn role(tenant: Option<&str>, name: &str, inherits: &[&str], scopes: &[&str]) -> Role {
    let scopes = scopes.iter().map(|text| Scope::parse(text).unwrap()).collect();
    let inherits = inherits.iter().map(|name| (*name).to_owned()).collect();
    Role { tenant: tenant.map(Into::into), name: name.into(), definition: Definition { inherits, scopes }, deleted: false }
}

fn assign(tenant: Option<&str>, subject: &str, role: &str) -> Assignment {
    Assignment { tenant: tenant.map(Into::into), subject: subject.into(), role: role.into(), deleted: false }
}

fn engine() -> Engine {
    let engine = Engine::new(CONFIG);
    let one = Profile { scopes: scopes(&["own:thing"]), roles: names(&["editor"]), ..profile("p1", None, "one@example.test") };
    let off = Profile { enabled: false, ..profile("p-off", None, "off@example.test") };
    engine.change(profiles(vec![one, off, profile("p2", Some("t1"), "one@example.test")]));
    engine
}

fn told(said: &super::Said) -> Vec<&str> {
    said.told.iter().map(|(_, value)| &**value).collect()
}

#[test]
fn a_session_is_the_profile_with_its_address() {
    let engine = engine();
    let said = engine.ask("/use", &[("authorization", &session(json!({"email": "ONE@Example.test"})))]);
    assert_eq!((said.status, said.who.as_deref(), said.tenant.as_deref()), (200, Some("p1 by sessions"), None));
    assert_eq!((&*said.scopes, &*said.roles), ("app:use own:thing articles:write", "editor"));
    assert_eq!(told(&said), ["one@example.test", "p1", "user-1"]);
    let tenant = engine.ask("/use", &[("authorization", &session(json!({"tenant": "t1"}))), ("x-tenant-id", "t1")]);
    assert_eq!((tenant.who.as_deref(), tenant.tenant.as_deref(), &*tenant.roles), (Some("p2 by sessions"), Some("t1"), "user"));
    assert_eq!(engine.ask("/use", &[("authorization", &session(json!({"tenant": "t1"}))), ("x-tenant-id", "t2")]).status, 403);
}

#[test]
fn a_session_without_a_profile_is_404_and_one_that_is_disabled_401() {
    let engine = engine();
    let ask = |claims| engine.ask("/", &[("authorization", &session(claims))]);
    let missing = ask(json!({"email": "nobody@example.test"}));
    assert_eq!((missing.status, missing.who.as_deref()), (404, None));
    assert_eq!(missing.bytes, r#"profile_not_found {"error":"profile_not_found","message":"Profile not found"} None []"#);
    assert_eq!(ask(json!({"tenant": "t2"})).status, 404, "the profile is another tenant's");
    let off = ask(json!({"email": "off@example.test"}));
    assert_eq!((off.status, off.cause), (401, Some("disabled")));
    for claims in [json!({"email": 7}), json!({"email": ""}), json!({"email": null}), json!({"email_verified": false})] {
        let said = ask(claims.clone());
        assert_eq!((said.status, said.cause), (401, Some("claims")), "{claims}");
    }
    // Whose signature is wrong learns nothing of profiles.
    let forged = session(json!({"email": "nobody@example.test"}));
    assert_eq!(engine.ask("/", &[("authorization", &forged[..forged.len() - 4])]).status, 401);
    let book = engine.book();
    engine.put(Shelved::InDoubt(book));
    let doubted = engine.ask("/", &[("authorization", &session(json!({"email": "nobody@example.test"})))]);
    assert_eq!(doubted.status, 503, "the profile may have been made meanwhile");
    assert_eq!(engine.ask("/", &[("authorization", &session(json!({})))]).status, 200);
}

#[test]
fn a_key_that_stands_for_a_profile_is_that_profile() {
    let engine = engine();
    let (one, two) = (text("aaaaaaaa", 'x'), text("bbbbbbbb", 'x'));
    engine.change(keys(vec![Key { profile: Some("p1".into()), ..key("k1", &one) }, Key { profile: Some("p2".into()), ..key("k2", &two) }]));
    let said = engine.ask("/use", &[("x-api-key", &one)]);
    assert_eq!((said.who.as_deref(), &*said.scopes, &*said.roles), (Some("p1 by keys"), "app:use own:thing articles:write", "editor"));
    assert_eq!(told(&said), ["one@example.test", "p1", "p1"]);
    let tenant = engine.ask("/", &[("x-api-key", &two)]);
    assert_eq!((tenant.who.as_deref(), tenant.tenant.as_deref()), (Some("p2 by keys"), Some("t1")));
    assert_eq!(engine.ask("/", &[("x-api-key", &two), ("x-tenant-id", "t2")]).status, 403);
    engine.change(profiles(vec![Profile { deleted: true, ..profile("p1", None, "one@example.test") }]));
    assert_eq!(engine.ask("/use", &[("x-api-key", &one)]).status, 401);
}

#[test]
fn whoever_has_nothing_in_the_store_is_who_it_was() {
    let engine = engine();
    let plain = engine.ask("/use", &[("cookie", &session(json!({"tenant": "t9"})).replace("Bearer ", "plain="))]);
    assert_eq!((plain.who.as_deref(), &*plain.scopes, &*plain.roles), (Some("user-1 by plain"), "app:use profile:read", "user"));
    assert_eq!(told(&plain), ["one@example.test", "user-1"]);
    let hook = engine.ask("/", &[("x-hook", "hook-token-0123456789")]);
    assert_eq!((hook.who.as_deref(), told(&hook)), (Some("hook by hook"), vec!["hook"]));
}

#[test]
fn assigned_roles_take_the_place_of_the_default_and_add_to_the_others() {
    let engine = engine();
    let cookie = |claims| session(claims).replace("Bearer ", "plain=");
    let (plain, editor) = (cookie(json!({})), cookie(json!({"roles": ["editor", "made"]})));
    engine.change(Changes {
        roles: vec![
            role(None, "made", &["editor"], &["made:x"]),
            role(Some("t1"), "theirs", &[], &["theirs:x"]),
            role(None, "editor", &[], &["stolen:x"]),
        ],
        assignments: vec![assign(None, "user-1", "made"), assign(None, "user-1", "gone"), assign(None, "hook", "editor")],
        ..Changes::default()
    });
    let said = engine.ask("/use", &[("cookie", &plain)]);
    assert_eq!((&*said.scopes, &*said.roles), ("app:use made:x articles:write", "made"));
    let said = engine.ask("/use", &[("cookie", &editor)]);
    assert_eq!((&*said.scopes, &*said.roles), ("app:use articles:write made:x", "editor made"));
    let hook = engine.ask("/", &[("x-hook", "hook-token-0123456789")]);
    assert_eq!((&*hook.scopes, &*hook.roles, hook.who.as_deref()), ("articles:write", "editor", Some("hook by hook")));
    // Another tenant's roles and assignments are nobody else's.
    let other = engine.ask("/use", &[("cookie", &cookie(json!({"tenant": "t2", "roles": ["theirs", "made"]})))]);
    assert_eq!(other.scopes, "app:use");
    let own = engine.ask("/use", &[("cookie", &cookie(json!({"tenant": "t1", "roles": "theirs"})))]);
    assert_eq!(own.scopes, "app:use theirs:x");
}

#[test]
fn a_token_is_revoked_by_its_id_its_subject_and_its_profile_at_every_source() {
    let revoked = |kind: Revoked, tenant: Option<&str>, value: &str, line: (&str, &str)| {
        let engine = engine();
        assert_eq!(engine.ask("/", &[line]).status, 200);
        let revocations = vec![Revocation { kind, tenant: tenant.map(Into::into), value: value.into(), until: None }];
        engine.change(Changes { revocations, ..Changes::default() });
        let said = engine.ask("/", &[line]);
        (said.status, said.cause)
    };
    let (bearer, hook) = (session(json!({"jti": "token-1"})), ("x-hook", "hook-token-0123456789"));
    let plain = bearer.replace("Bearer ", "plain=");
    let (bearer, plain) = (("authorization", &*bearer), ("cookie", &*plain));
    let gone = (401, Some("revoked"));
    for line in [bearer, plain] {
        assert_eq!(revoked(Revoked::Jti, None, "token-1", line), gone);
        assert_eq!(revoked(Revoked::Subject, None, "user-1", line), gone);
        assert_eq!(revoked(Revoked::Jti, Some("t1"), "token-1", line), (200, None), "of a tenant that is not its own");
        assert_eq!(revoked(Revoked::Credential, None, "user-1", line), (200, None));
        assert_eq!(revoked(Revoked::Subject, None, "token-1", line), (200, None));
    }
    assert_eq!((revoked(Revoked::Subject, None, "p1", bearer), revoked(Revoked::Subject, None, "p1", plain)), (gone, (200, None)));
    assert_eq!((revoked(Revoked::Credential, None, "hook", hook), revoked(Revoked::Subject, None, "hook", hook)), (gone, gone));
}

#[test]
fn a_book_that_is_too_old_is_a_doubt_for_every_credential() {
    let engine = engine();
    let (bearer, cookie) = (session(json!({})), session(json!({})).replace("Bearer ", "plain="));
    for shelved in [Shelved::Stale, Shelved::Empty] {
        engine.put(shelved);
        for line in [("authorization", &*bearer), ("cookie", &*cookie), ("x-hook", "hook-token-0123456789"), ("x-hook", "another-token")] {
            assert_eq!(engine.ask("/", &[line]).status, 503, "{line:?}");
        }
    }
}

#[test]
fn an_operator_may_ask_for_a_key_by_its_id_while_it_is_good() {
    let engine = engine();
    let good = text("aaaaaaaa", 'x');
    engine.change(keys(vec![key("k1", &good)]));
    engine.change(Changes { assignments: vec![assign(None, "k1", "editor"), assign(None, "hook", "editor")], ..Changes::default() });
    let by_id = |id: &str, now| engine.sources.by_id(id, now).map(|caller| format!("{} {}", caller.credential, caller.scopes().joined()));
    assert_eq!((by_id("k1", NOW).as_deref(), by_id("hook", NOW).as_deref()), (Some("keys app:use articles:write"), Some("hook articles:write")));
    engine.change(keys(vec![Key { enabled: false, ..key("k1", &good) }]));
    assert_eq!((by_id("k1", NOW), by_id("k2", NOW)), (None, None));
}
