//! Revocation: by token, by subject and by credential, of every kind of credential, at once and for as long as it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::office::{Office, names, text, token};
use crate::harness::frames::{BINARY, CLOSE, UPGRADE, agreed, frame};
use crate::harness::sign::{hs256, now};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{DEADLINE, ask, until};

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const REVOKE: &str = "POST /tokens/revoke";

/// The header line of a signed token.
fn jwt(tenant: Option<&str>, subject: &str, jti: &str) -> String {
    let claims = json!({"sub": subject, "jti": jti, "tenant": tenant, "exp": now() + 3600});
    format!("authorization: Bearer {}\r\n", hs256(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims))
}

async fn any(office: &Office, line: &str) -> u16 {
    office.with_lines("GET /any", line).await
}

/// A managed key: its id, and its header line.
async fn key(office: &Office, who: &str) -> (String, String) {
    let made = office.done(who, "POST /tenant/api-keys", Some(json!({"name": "k", "scopes": ["articles:read"]}))).await;
    (text(&made["id"]), format!("x-api-key: {}\r\n", text(&made["key"])))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_jti_is_refused_from_the_answer_on_and_no_other_token_is() {
    let office = Office::open().await;
    let (one, two) = (jwt(Some("north"), "u1", "j1"), jwt(Some("north"), "u1", "j2"));
    assert_eq!((any(&office, &one).await, any(&office, &two).await), (200, 200));
    let said = office.done("clerk", REVOKE, Some(json!({"jti": "j1"}))).await;
    assert_eq!(said, json!({"jti": "j1", "until": null, "tenant": "north"}));
    assert_eq!((any(&office, &one).await, any(&office, &two).await), (401, 200));
    assert!(office.gate.audit().await.contains("\"revoked\""));
    office.done("clerk", REVOKE, Some(json!({"subject": "u1"}))).await;
    assert_eq!((any(&office, &two).await, any(&office, &jwt(Some("north"), "u2", "j3")).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_files_and_managed_keys_are_refused_by_their_ids() {
    let office = Office::open().await;
    for (kind, other) in [("credential_id", "subject"), ("subject", "credential_id")] {
        let (id, line) = key(&office, "north").await;
        assert_eq!(any(&office, &line).await, 200);
        office.done("clerk", REVOKE, Some(json!({"jti": id}))).await;
        assert_eq!(any(&office, &line).await, 200);
        office.done("clerk", REVOKE, Some(json!({kind: id}))).await;
        assert_eq!(any(&office, &line).await, 401, "{kind} and not {other}");
    }
    let profile = text(&office.done("north", "POST /profiles", Some(json!({"email": "u@north.test"}))).await["id"]);
    let entry = json!({"key": "12345678-1234-1234-1234-123456789abc", "name": "k", "profile_id": profile});
    office.done("north", "POST /tenant/api-keys/import", Some(json!({"keys": [entry]}))).await;
    let line = "x-old-key: 12345678-1234-1234-1234-123456789abc\r\n";
    assert_eq!(any(&office, line).await, 200);
    office.done("clerk", REVOKE, Some(json!({"subject": profile}))).await;
    assert_eq!(any(&office, line).await, 401);
    assert_eq!(office.at("plain", "GET /any").await, 200);
    office.done("clerk", REVOKE, Some(json!({"credential_id": "plain"}))).await;
    assert_eq!(office.at("plain", "GET /any").await, 401);
    // Whoever revokes itself is refused like everybody.
    office.done("clerk", REVOKE, Some(json!({"subject": "clerk"}))).await;
    office.refused("clerk", REVOKE, Some(json!({"subject": "clerk"})), 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_for_the_callers_tenant_and_for_all_where_it_reaches_all() {
    let office = Office::open().await;
    let lines = [jwt(Some("north"), "u1", "j1"), jwt(Some("south"), "u1", "j1"), jwt(None, "u1", "j1")];
    let standing = async || [any(&office, &lines[0]).await, any(&office, &lines[1]).await, any(&office, &lines[2]).await];
    let (id, line) = key(&office, "north").await;
    for revoke in [json!({"jti": "j1"}), json!({"subject": "u1"}), json!({"credential_id": id}), json!({"subject": id})] {
        for who in ["south", "bare"] {
            office.done(who, REVOKE, Some(revoke.clone())).await;
        }
        assert_eq!((standing().await[0], any(&office, &line).await), (200, 200), "{revoke}");
    }
    assert_eq!(standing().await, [200, 401, 401]);
    let said = office.done("root", REVOKE, Some(json!({"jti": "j1"}))).await;
    assert_eq!(said, json!({"jti": "j1", "until": null, "tenant": "*"}));
    assert_eq!(standing().await, [401, 401, 401]);
    let said = office.done("root", REVOKE, Some(json!({"credential_id": id, "tenant": "north"}))).await;
    assert_eq!((&said["tenant"], any(&office, &line).await), (&json!("north"), 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_until_its_second_and_is_never_shortened() {
    let office = Office::open().await;
    let line = jwt(Some("north"), "u1", "j1");
    let at = |second: i64| jiff::Timestamp::from_second(second).unwrap().to_string();
    let end = now() + 3;
    let said = office.done("north", REVOKE, Some(json!({"jti": "j1", "until": at(end)}))).await;
    assert_eq!(said["until"], json!(at(end)));
    let said = office.done("north", REVOKE, Some(json!({"jti": "j1", "until": at(now() + 1)}))).await;
    assert_eq!(said["until"].as_str().unwrap(), at(end), "what holds");
    assert_eq!(any(&office, &line).await, 401);
    until("the revocation is over", async || (any(&office, &line).await == 200).then_some(())).await;
    assert!(now() >= end);
    office.done("north", REVOKE, Some(json!({"jti": "j1"}))).await;
    let said = office.done("north", REVOKE, Some(json!({"jti": "j1", "until": at(now() + 100)}))).await;
    assert_eq!(said, json!({"jti": "j1", "until": null, "tenant": "north"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_kept_when_the_process_ends() {
    let office = Office::open().await;
    let (line, other) = (jwt(Some("north"), "u1", "j1"), jwt(Some("north"), "u2", "j2"));
    office.done("north", REVOKE, Some(json!({"jti": "j1"}))).await;
    let office = office.again().await;
    assert_eq!((any(&office, &line).await, any(&office, &other).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_say_what_or_until_when_is_refused_with_nothing_written() {
    let office = Office::open().await;
    for (body, path) in [
        (json!({}), ""),
        (json!({"until": "2099-01-01T00:00:00Z"}), ""),
        (json!({"jti": "a", "subject": "b"}), ""),
        (json!({"jti": "a", "subject": "b", "credential_id": "c"}), ""),
        (json!({"jti": null}), ""),
        (json!({"jti": "a b"}), "jti"),
        (json!({"jti": "a\nb"}), "jti"),
        (json!({"subject": "a\0"}), "subject"),
        (json!({"subject": ""}), "subject"),
        (json!({"credential_id": 7}), "credential_id"),
        (json!({"credential_id": "x".repeat(257)}), "credential_id"),
        (json!({"jti": "a", "until": "2001-01-01T00:00:00Z"}), "until"),
        (json!({"jti": "a", "until": "tomorrow"}), "until"),
        (json!({"jti": "a", "until": 1_900_000_000}), "until"),
        (json!({"jti": "a", "tenant": "*"}), "tenant"),
        (json!({"jti": "a", "token": "x"}), "token"),
    ] {
        let said = office.refused("north", REVOKE, Some(body), 422).await;
        assert_eq!(names(&said["faults"], "path"), [path], "{said}");
    }
    office.refused("north", REVOKE, Some(json!({"jti": "x".repeat(10 << 20)})), 413).await;
    office.refused("plain", REVOKE, Some(json!({"jti": "a"})), 403).await;
    office.refused("", REVOKE, Some(json!({"jti": "a"})), 401).await;
    office.refused("north", REVOKE, Some(json!({"jti": "a", "tenant": "south"})), 403).await;
    office.refused("bare", REVOKE, Some(json!({"jti": "a", "tenant": "south"})), 403).await;
    // `*` is no tenant, whoever says that it is its own.
    office.refused("star", REVOKE, Some(json!({"jti": "a"})), 403).await;
}

/// Agrees to WebSockets, and sends their frames back; answers anything else with 200.
async fn sockets(mut wire: Wire, request: Message) -> Option<Wire> {
    if value(&request.headers, "upgrade").is_none() {
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        return Some(wire);
    }
    wire.send(agreed(&request)).await;
    while let Some((opcode, payload, _)) = wire.frame().await {
        wire.send(frame(opcode, &payload, false)).await;
        if opcode == CLOSE {
            break;
        }
    }
    None
}

async fn socket(office: &Office, line: &str) -> Wire {
    let mut wire = Wire::connect(office.gate.proxy()).await;
    wire.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}{line}\r\n")).await;
    assert!(wire.response_head().await.starts_with("HTTP/1.1 101 "));
    is_open(&mut wire).await;
    wire
}

async fn is_open(wire: &mut Wire) {
    wire.send(frame(BINARY, b"ping", true)).await;
    assert_eq!(wire.frame().await, Some((BINARY, b"ping".to_vec(), false)));
}

/// The code of the Close frame.
async fn closed(wire: &mut Wire) -> Option<u16> {
    let (opcode, payload, _) = tokio::time::timeout(DEADLINE, wire.frame()).await.expect("a close in time")?;
    (opcode == CLOSE).then(|| u16::from_be_bytes([payload[0], payload[1]]))
}

#[tokio::test(flavor = "multi_thread")]
async fn open_websockets_of_what_is_revoked_end_and_no_others() {
    let office = Office::before(Upstream::serving(sockets).await).await;
    let (id, line) = key(&office, "north").await;
    let plain = format!("authorization: Bearer {}\r\n", token("plain"));
    let mut stays = socket(&office, &jwt(Some("north"), "u9", "j9")).await;
    for (line, revoke) in [
        (jwt(Some("north"), "u1", "j1"), json!({"jti": "j1"})),
        (jwt(Some("north"), "u2", "j2"), json!({"subject": "u2"})),
        (line, json!({"credential_id": id})),
        (plain, json!({"credential_id": "plain"})),
    ] {
        let mut wire = socket(&office, &line).await;
        office.done("north", REVOKE, Some(revoke.clone())).await;
        assert_eq!(closed(&mut wire).await, Some(3000), "{revoke}");
        is_open(&mut stays).await;
    }
    // A role that is taken away, a profile that is disabled, a key that is deleted.
    let (id, line) = key(&office, "north").await;
    let mut wire = socket(&office, &line).await;
    office.done("north", &format!("PATCH /tenant/api-keys/{id}"), Some(json!({"enabled": false}))).await;
    assert_eq!(closed(&mut wire).await, Some(3000));
    is_open(&mut stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_nothing_that_begins_after_the_answer_is_let_through() {
    let office = Office::open().await;
    for round in 0..20 {
        let (id, keyed) = key(&office, "north").await;
        let signed = jwt(Some("north"), &format!("u{round}"), &format!("j{round}"));
        let (revoked, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let load = (0..4).map(|client| {
            let line = if client % 2 == 0 { keyed.clone() } else { signed.clone() };
            let (address, revoked, done) = (office.gate.proxy(), Arc::clone(&revoked), Arc::clone(&done));
            tokio::spawn(async move {
                let request = format!("GET /any HTTP/1.1\r\nhost: a\r\n{line}\r\n");
                let mut seen = [0_u32; 3];
                while !done.load(Ordering::SeqCst) {
                    let after = revoked.load(Ordering::SeqCst);
                    match (ask(address, &request).await.status, after) {
                        (200, false) => seen[0] += 1,
                        (200, true) => seen[1] += 1,
                        (401, _) => seen[2] += 1,
                        other => panic!("{other:?}"),
                    }
                }
                seen
            })
        });
        let load: Vec<_> = load.collect();
        let refused = async || (any(&office, &keyed).await, any(&office, &signed).await);
        assert_eq!(refused().await, (200, 200));
        let by = match round % 3 {
            0 => (format!("DELETE /tenant/api-keys/{id}"), None),
            1 => (format!("PATCH /tenant/api-keys/{id}"), Some(json!({"enabled": false}))),
            _ => (REVOKE.to_owned(), Some(json!({"credential_id": id}))),
        };
        office.done("north", REVOKE, Some(json!({"jti": format!("j{round}")}))).await;
        office.done("north", &by.0, by.1).await;
        revoked.store(true, Ordering::SeqCst);
        for _ in 0..20 {
            assert_eq!(refused().await, (401, 401));
        }
        done.store(true, Ordering::SeqCst);
        for client in load {
            let [_, late, _] = client.await.unwrap();
            assert_eq!(late, 0, "let through after the answer");
        }
    }
}
