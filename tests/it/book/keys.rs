//! Managed keys: which text is one, when it counts, and that all that do not are refused alike.

use scopegate::credential::key_format;
use scopegate::principal::Shelved;
use scopegate::principal::record::{Changes, EVERY_TENANT, Key, Revocation, Revoked};

use super::{Engine, NOW, digest, key, keys, names, peppers, profile, profiles, text};

const CONFIG: &str = "
credentials:
  keys: {kind: api_key}
roles: {default: user, user: [profile:read], editor: [articles:write]}
routes: {/: app:use, /profile: profile:read}
";

fn engine() -> Engine {
    let engine = Engine::new(CONFIG);
    engine.change(keys(vec![key("k1", &text("aaaaaaaa", 'x'))]));
    engine
}

#[test]
fn a_good_key_is_its_id_with_its_scopes_its_roles_and_its_tenant() {
    let engine = engine();
    let good = text("bbbbbbbb", 'x');
    engine.change(keys(vec![Key { tenant: Some("t1".into()), roles: names(&["editor", "gone"]), ..key("k2", &good) }]));
    let said = engine.ask("/", &[("x-api-key", &good)]);
    assert_eq!((said.status, said.who.as_deref(), said.tenant.as_deref()), (200, Some("k2 by keys"), Some("t1")));
    assert_eq!((&*said.scopes, &*said.roles), ("app:use articles:write", "editor"));
    let plain = engine.ask("/profile", &[("x-api-key", &text("aaaaaaaa", 'x'))]);
    assert_eq!((plain.status, &*plain.scopes, &*plain.roles), (200, "app:use profile:read", "user"));
    assert_eq!(engine.ask("/", &[("x-api-key", &good), ("x-tenant-id", "t2")]).status, 403);
    assert_eq!(engine.ask("/", &[("x-api-key", &good), ("x-tenant-id", "t1")]).status, 200);
}

#[test]
fn whatever_is_wrong_with_a_key_the_answer_is_the_same() {
    let engine = engine();
    let good = text("aaaaaaaa", 'x');
    let last = if good.ends_with('0') { "1" } else { "0" };
    let broken = format!("{}{last}", &good[..good.len() - 1]);
    let elsewhere = key_format::form("test", "aaaaaaaa", &"x".repeat(key_format::SECRET)).unwrap();
    let bad = |id: &str, presented: &str, change: &dyn Fn(&mut Key)| {
        let mut key = key(id, presented);
        change(&mut key);
        engine.change(keys(vec![key]));
        presented.to_owned()
    };
    engine.change(profiles(vec![scopegate::principal::record::Profile { enabled: false, ..profile("p-off", None, "off@example.test") }]));
    engine.change(profiles(vec![profile("p-t1", Some("t1"), "t1@example.test")]));
    let cases = [
        ("unknown", text("zzzzzzzz", 'z')),
        ("unknown", text("aaaaaaaa", 'y')),
        ("unknown", broken),
        ("unknown", elsewhere.to_string()),
        ("unknown", "no key at all".replace(' ', "-")),
        ("unknown", good.to_uppercase()),
        ("disabled", bad("k-disabled", &text("cccccccc", 'x'), &|key| key.enabled = false)),
        ("expired", bad("k-expired", &text("dddddddd", 'x'), &|key| key.expires_at = Some(NOW))),
        ("revoked", bad("k-revoked", &text("eeeeeeee", 'x'), &|key| key.revoked = true)),
        ("revoked", bad("k-both", &text("ffffffff", 'x'), &|key| (key.revoked, key.enabled, key.expires_at) = (true, false, Some(0)))),
        ("no_profile", bad("k-profile", &text("gggggggg", 'x'), &|key| key.profile = Some("nobody".into()))),
        ("disabled", bad("k-off", &text("hhhhhhhh", 'x'), &|key| key.profile = Some("p-off".into()))),
        ("no_profile", bad("k-other", &text("iiiiiiii", 'x'), &|key| (key.profile, key.tenant) = (Some("p-t1".into()), Some("t2".into())))),
        ("expired", {
            let old = text("jjjjjjjj", 'o');
            bad("k-grace", &text("jjjjjjjj", 'n'), &|key| key.previous = Some((digest(&old), NOW)));
            old
        }),
    ];
    let first = engine.ask("/", &[("x-api-key", &cases[0].1)]);
    assert_eq!(first.status, 401);
    for (cause, presented) in &cases {
        let said = engine.ask("/", &[("x-api-key", presented)]);
        assert_eq!((said.bytes, said.cause), (first.bytes.clone(), Some(*cause)), "{presented}");
    }
    assert_eq!(engine.ask("/", &[("x-api-key", &good)]).status, 200);
}

#[test]
fn a_secret_counts_to_the_second_before_its_end() {
    let engine = engine();
    let (old, new) = (text("bbbbbbbb", 'o'), text("bbbbbbbb", 'n'));
    engine.change(keys(vec![Key { previous: Some((digest(&old), NOW + 60)), expires_at: Some(NOW + 90), ..key("k2", &new) }]));
    let status = |presented: &str, after: i64| engine.ask_at("/", &[("x-api-key", presented)], NOW + after).status;
    assert_eq!([status(&old, 0), status(&old, 59), status(&old, 60), status(&old, 61)], [200, 200, 401, 401]);
    assert_eq!([status(&new, 0), status(&new, 89), status(&new, 90)], [200, 200, 401]);
    // And a clock that goes back brings it back, whatever was remembered.
    assert_eq!([status(&old, 0), status(&new, 0)], [200, 200]);
}

#[test]
fn a_key_from_before_a_new_pepper_still_counts() {
    let engine = engine();
    let presented = text("bbbbbbbb", 'x');
    let old = peppers().digests(&presented).nth(1).unwrap();
    engine.change(keys(vec![Key { digest: old, ..key("k2", &presented) }]));
    assert_eq!(engine.ask("/", &[("x-api-key", &presented)]).who.as_deref(), Some("k2 by keys"));
}

#[test]
fn a_uuid_key_counts_in_its_one_form_and_no_other_source_takes_it() {
    let engine = Engine::new(
        "credentials:\n  ids: {kind: api_key, format: uuid}\n  keys: {kind: api_key, header: x-key}\n  both: {kind: api_key, from: [bearer, 'query:key']}\n\
         routes: {/: app:use, /query: {scopes: app:use, query_credentials: true}}\n",
    );
    let (uuid, own) = ("0f8fad5b-d9cb-469f-a165-70867728950e", text("aaaaaaaa", 'x'));
    engine.change(keys(vec![key("u1", uuid), key("k1", &own)]));
    let who = |name: &str, value: &str| engine.ask("/", &[(name, value)]).who;
    assert_eq!(who("x-api-key", uuid).as_deref(), Some("u1 by ids"));
    assert_eq!(who("x-api-key", &uuid.to_uppercase()).as_deref(), Some("u1 by ids"));
    for odd in [
        "{0f8fad5b-d9cb-469f-a165-70867728950e}",
        "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
        "0f8fad5bd9cb469fa16570867728950e",
        "0f8fad5b-d9cb-469f-a165-70867728950f",
        &own,
    ] {
        assert_eq!(who("x-api-key", odd), None, "{odd}");
    }
    assert_eq!((who("x-key", &own).as_deref(), who("x-key", uuid)), (Some("k1 by keys"), None));
    assert_eq!(who("authorization", &format!("Bearer {own}")).as_deref(), Some("k1 by both"));
    assert_eq!(engine.ask(&format!("/query?key={own}"), &[]).who.as_deref(), Some("k1 by both"));
    assert_eq!(engine.ask(&format!("/?key={own}"), &[]).status, 401);
}

#[test]
fn a_book_that_may_be_too_old_refuses_no_key_that_it_does_not_know_and_lets_none_in() {
    let engine = engine();
    let (good, unknown, book) = (text("aaaaaaaa", 'x'), text("zzzzzzzz", 'z'), engine.book());
    let broken = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { "1" } else { "0" });
    let ask = |presented: &str| engine.ask("/", &[("x-api-key", presented)]);
    engine.put(Shelved::InDoubt(book.clone()));
    assert_eq!((ask(&good).status, ask(&unknown).status, ask("no-key-at-all").status), (200, 503, 401));
    assert_eq!(ask(&broken), ask(&unknown), "a wrong checksum is like an unknown key");
    for shelved in [Shelved::Stale, Shelved::Empty] {
        engine.put(shelved);
        assert_eq!((ask(&good).status, ask(&unknown).status, engine.ask("/", &[]).status), (503, 503, 401));
    }
    engine.put(Shelved::Fresh(book));
    assert_eq!((ask(&good).status, ask(&unknown).status), (200, 401));
}

#[test]
fn without_a_store_no_key_is_judged() {
    let loaded = scopegate::config::load(
        &scopegate::config::Input::Text { name: "x", text: CONFIG.into() },
        &|_| None,
        &scopegate::credential::digest::TagKey::new([7; 32]),
        &scopegate::keys::Registry::offline(),
    )
    .unwrap();
    let engine = engine();
    let bare = Engine { policy: loaded.policy, sources: loaded.sources, ..engine };
    assert_eq!(bare.ask("/", &[("x-api-key", &text("aaaaaaaa", 'x'))]).status, 503);
    assert_eq!(bare.ask("/", &[("x-api-key", "no-key-at-all")]).status, 401);
}

#[test]
fn a_key_is_revoked_by_its_id_by_its_subject_and_by_that_of_its_profile() {
    let good = text("bbbbbbbb", 'x');
    let revoked = |kind: Revoked, tenant: Option<&str>, value: &str| {
        let engine = engine();
        engine.change(profiles(vec![profile("p1", Some("t1"), "one@example.test")]));
        engine.change(keys(vec![Key { profile: Some("p1".into()), ..key("k2", &good) }]));
        assert_eq!(engine.ask("/", &[("x-api-key", &good)]).status, 200);
        let revocations = vec![Revocation { kind, tenant: tenant.map(Into::into), value: value.into(), until: Some(NOW + 10) }];
        engine.change(Changes { revocations, ..Changes::default() });
        let now = engine.ask("/", &[("x-api-key", &good)]);
        assert_eq!(engine.ask_at("/", &[("x-api-key", &good)], NOW + 10).status, 200, "its time is over");
        (now.status, now.cause)
    };
    for (kind, value) in [(Revoked::Credential, "k2"), (Revoked::Subject, "k2"), (Revoked::Subject, "p1")] {
        for tenant in [Some(EVERY_TENANT), Some("t1")] {
            assert_eq!(revoked(kind, tenant, value), (401, Some("revoked")), "{kind:?} {tenant:?} {value}");
        }
        for tenant in [None, Some("t2")] {
            assert_eq!(revoked(kind, tenant, value), (200, None), "{tenant:?} is another tenant");
        }
    }
    assert_eq!(revoked(Revoked::Jti, Some("t1"), "k2"), (200, None));
}
