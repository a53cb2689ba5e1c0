//! Every call of `/mfa/…` on SQLite: what it answers, and that a code counts once.

use serde_json::{Value, json};

use super::person::{Enrolled, Person, gate, session, texts};
use crate::harness::until;
use crate::harness::wire::Reply;
use crate::management::{call, said as json};

fn error(reply: &Reply) -> (u16, String) {
    (reply.status, json(reply)["error"].as_str().unwrap_or_default().to_owned())
}

fn said(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

fn is_backup_code(code: &str) -> bool {
    let (left, right) = code.split_once('-').unwrap();
    let plain =
        |part: &str| part.len() == 5 && part.chars().all(|char| char.is_ascii_alphanumeric() && !"ilou".contains(char) && !char.is_ascii_uppercase());
    plain(left) && plain(right)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_setup_to_disable() {
    let gate = gate().await;
    let mut ada = Person::new(&gate, "ada@example.com");
    let left = json(&ada.get("backup-codes").await);
    assert_eq!(left, json!({"remaining": 0, "generated_at": null}));
    let begun = ada.set_up().await;
    assert_eq!((ada.secret.len(), begun.as_object().unwrap().len()), (20, 3));
    let secret = begun["secret"].as_str().unwrap();
    let uri = format!("otpauth://totp/Scopegate:ada%40example.com?secret={secret}&issuer=Scopegate&algorithm=SHA1&digits=6&period=30");
    assert_eq!(begun["otpauth_uri"], uri);
    assert!(begun["qr_svg"].as_str().unwrap().starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 "));
    assert_eq!(json(&ada.post("verify", &json!({"code": ada.code(0)})).await), json!({"verified": true}));
    let on = json(&ada.post("enable", &json!({})).await);
    let codes = texts(&on["backup_codes"]);
    assert_eq!((&on["enabled"], codes.len()), (&json!(true), 10));
    assert!(codes.iter().all(|code| is_backup_code(code)), "{codes:?}");
    assert_eq!(error(&ada.post("setup", &json!({})).await), said(409, "conflict"));
    assert_eq!(error(&ada.post("enable", &json!({})).await), said(409, "conflict"));

    let shown = json(&ada.post("verify", &json!({"code": ada.code(1)})).await);
    assert_eq!((shown["expires_in"].as_i64(), shown["mfa_token"].as_str().unwrap().split('.').count()), (Some(900), 3));
    assert!(json(&ada.post("verify", &json!({"code": codes[0]})).await)["mfa_token"].is_string());
    let left = json(&ada.get("backup-codes").await);
    assert_eq!(left["remaining"], 9);
    assert!(left["generated_at"].as_str().unwrap().ends_with('Z'));

    let renewed = json(&ada.post("backup-codes", &json!({"code": codes[1]})).await);
    let renewed = texts(&renewed["backup_codes"]);
    assert!(renewed.len() == 10 && renewed.iter().all(|code| is_backup_code(code) && !codes.contains(code)));
    assert_eq!(json(&ada.get("backup-codes").await)["remaining"], 10);
    assert_eq!(ada.verify(&codes[2]).await, 401, "another has taken its place");

    assert_eq!(json(&ada.post("disable", &json!({"code": renewed[0]})).await), json!({"enabled": false}));
    assert_eq!(json(&ada.get("backup-codes").await)["remaining"], 0);
    for (path, body) in [("verify", json!({"code": ada.code(1)})), ("disable", json!({"code": renewed[1]})), ("enable", json!({}))] {
        assert_eq!(error(&ada.post(path, &body).await), said(409, "conflict"), "{path}");
    }
    let again = ada.set_up().await;
    assert_ne!(again["secret"], begun["secret"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_by_a_cache() {
    let gate = gate().await;
    let Enrolled { person, codes } = Person::new(&gate, "ada").enrol().await;
    let eve = Person::new(&gate, "eve");
    for reply in [
        eve.post("setup", &json!({})).await,
        person.post("verify", &json!({"code": codes[0]})).await,
        person.post("backup-codes", &json!({"code": codes[1]})).await,
        person.post("verify", &json!({"code": person.wrong()})).await,
        person.get("backup-codes").await,
    ] {
        assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"), "{}", reply.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_counts_once_and_none_of_an_earlier_step_after_it() {
    let gate = gate().await;
    let Enrolled { person, .. } = Person::new(&gate, "ada").enrol().await;
    assert_eq!(person.verify(&person.code(0)).await, 401, "it enrolled");
    assert_eq!(person.verify(&person.code(1)).await, 200);
    assert_eq!(person.verify(&person.code(1)).await, 401);
    assert_eq!(person.verify(&person.code(0)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_with_the_same_code_one_gets_a_token() {
    let gate = gate().await;
    let Enrolled { person, codes } = Person::new(&gate, "ada").enrol().await;
    for code in [person.code(1), codes[3].clone()] {
        let all: Vec<_> =
            (0..2).map(|_| (person.clone(), code.clone())).map(|(one, code)| tokio::spawn(async move { one.verify(&code).await })).collect();
        let mut statuses = Vec::new();
        for one in all {
            statuses.push(one.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_code_is_422_and_no_attempt() {
    let gate = gate().await;
    let Enrolled { person, .. } = Person::new(&gate, "ada").enrol().await;
    for body in [
        json!({"code": "12345"}),
        json!({"code": "1234567"}),
        json!({"code": "１２３４５６"}),
        json!({"code": "abcde12345"}),
        json!({"code": "abcdu-12345"}),
        json!({"code": 123_456}),
        json!({"code": null}),
        json!({}),
        json!({"code": "123456", "codes": []}),
    ] {
        for path in ["verify", "disable", "backup-codes"] {
            let reply = person.post(path, &body).await;
            assert_eq!(error(&reply), said(422, "invalid_request"), "{path} {body}");
            assert!(!json(&reply)["faults"].as_array().unwrap().is_empty() && !reply.text().contains("123456"), "{}", reply.text());
        }
    }
    assert_eq!(error(&person.post("setup", &json!({"secret": "x"})).await), said(422, "invalid_request"));
    assert_eq!(error(&person.post("enable", &json!({"code": "123456"})).await), said(422, "invalid_request"));
    let code = person.code(1);
    assert_eq!(person.verify(&format!(" {} {} ", &code[..3], &code[3..])).await, 200, "spaces count for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_sixth_wrong_code_on_it_is_429_for_right_ones_too() {
    let gate = gate().await;
    let Enrolled { person, codes } = Person::new(&gate, "ada").enrol().await;
    for turn in 1..=7 {
        let reply = person.post("verify", &json!({"code": person.wrong()})).await;
        if turn < 6 {
            assert_eq!(error(&reply), said(401, "invalid_mfa_code"), "{turn}");
            assert!(reply.header("www-authenticate").is_some() && reply.header("retry-after").is_none());
        } else {
            assert_eq!(error(&reply), said(429, "too_many_requests"), "{turn}");
            let seconds: i64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=900).contains(&seconds) && json(&reply)["retryAfter"] == seconds, "{}", reply.text());
        }
    }
    for (path, code) in [("verify", person.code(1)), ("disable", codes[0].clone()), ("backup-codes", codes[0].clone())] {
        assert_eq!(person.post(path, &json!({"code": code})).await.status, 429, "{path}");
    }
    assert_eq!(json(&person.get("backup-codes").await)["remaining"], 10);
    assert_eq!(Person::new(&gate, "eve").enrol().await.codes.len(), 10, "it locks nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_have_a_limit_before_the_store_is_asked() {
    let gate = gate().await;
    let (eve, ada) = (Person::new(&gate, "eve"), Person::new(&gate, "ada"));
    let code = json!({"code": "123456"});
    let refused = until("too many", async || Some(eve.post("verify", &code).await).filter(|reply| reply.status != 409)).await;
    assert_eq!(error(&refused), said(429, "too_many_requests"));
    assert!(refused.header("retry-after").is_some_and(|seconds| (1..=60).contains(&seconds.parse::<u64>().unwrap())));
    assert_eq!(error(&ada.post("verify", &code).await), said(409, "conflict"), "it is hers alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_code_counts_once_in_either_case() {
    let gate = gate().await;
    let Enrolled { person, codes } = Person::new(&gate, "ada").enrol().await;
    assert_eq!(person.verify(&codes[0].to_uppercase()).await, 200);
    assert_eq!(person.verify(&codes[0]).await, 401);
    assert_eq!(person.verify(&codes[0].to_uppercase()).await, 401);
    assert_eq!(person.verify(&format!(" {}", codes[1])).await, 200);
    let other = Person::new(&gate, "eve").enrol().await;
    assert_eq!(other.person.verify(&codes[2]).await, 401, "somebody else's");
    assert_eq!(person.verify(&codes[2]).await, 200);
    assert_eq!(json(&person.get("backup-codes").await)["remaining"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_on_before_its_code_was_seen() {
    let gate = gate().await;
    let mut ada = Person::new(&gate, "ada");
    assert_eq!(error(&ada.post("enable", &json!({})).await), said(409, "conflict"));
    assert_eq!(error(&ada.post("verify", &json!({"code": "123456"})).await), said(409, "conflict"));
    ada.set_up().await;
    assert_eq!(error(&ada.post("enable", &json!({})).await), said(409, "conflict"));
    assert_eq!(ada.verify(&ada.wrong()).await, 401);
    assert_eq!(error(&ada.post("enable", &json!({})).await), said(409, "conflict"));
    let old = ada.clone();
    ada.set_up().await;
    assert_eq!(ada.verify(&old.code(0)).await, 401, "a new secret replaces the one that waited");
    assert_eq!(ada.verify(&ada.code(0)).await, 200);
    ada.set_up().await;
    assert_eq!(error(&ada.post("enable", &json!({})).await), said(409, "conflict"), "and what was seen of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_a_second_factor_for_himself() {
    let gate = gate().await;
    let Enrolled { person, codes } = Person::new(&gate, "ada").enrol().await;
    let in_tenant = Person { token: session("ada", &json!({"tenant": "acme"})), ..person.clone() };
    let by_file = Person { token: "token-of-the-agent-0".into(), ..person.clone() };
    for other in [Person::new(&gate, "eve"), in_tenant, by_file] {
        assert_eq!(json(&other.get("backup-codes").await)["remaining"], 0);
        assert_eq!(error(&other.post("disable", &json!({"code": codes[0]})).await), said(409, "conflict"));
    }
    for line in [
        "POST /mfa/setup",
        "POST /mfa/verify",
        "POST /mfa/enable",
        "POST /mfa/disable",
        "GET /mfa/backup-codes",
        "POST /mfa/backup-codes",
        "POST /mfa/reset",
    ] {
        for token in ["", "token-of-nobody-at-all"] {
            assert_eq!(call(gate.admin(), line, token, None).await.status, 401, "{line}");
        }
    }
    assert_eq!(json(&person.get("backup-codes").await)["remaining"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_a_second_factor_away_within_its_reach() {
    let gate = gate().await;
    let ada = Person::new(&gate, "ada").enrol().await.person;
    let bob = Person::of(gate.admin(), session("bob", &json!({"tenant": "acme"}))).enrol().await.person;
    let reset = async |token: &str, body: Value| error(&call(gate.admin(), "POST /mfa/reset", token, Some(&body)).await);
    let of = |subject: &str| json!({"realm": "sessions", "subject": subject});
    let in_acme = json!({"realm": "sessions", "subject": "bob", "tenant": "acme"});
    let manager = session("manager", &json!({"tenant": "acme", "scope": "mfa:write"}));
    assert_eq!(reset(&ada.token, of("ada")).await.0, 403, "the scope is `mfa:write`");
    assert_eq!(reset("token-of-the-agent-0", in_acme.clone()).await, said(403, "forbidden"), "without a tenant, nobody's of a tenant");
    assert_eq!(reset("token-of-the-agent-0", of("bob")).await, said(404, "not_found"));
    assert_eq!(reset(&manager, of("ada")).await, said(404, "not_found"), "another tenant's are not there");
    assert_eq!(reset("token-of-the-operator", json!({"realm": "tokens", "subject": "ada"})).await, said(404, "not_found"));
    for body in [json!({}), json!({"realm": "sessions"}), json!({"realm": 1, "subject": "ada"}), json!({"realm": "", "subject": "ada", "x": 1})] {
        assert_eq!(reset("token-of-the-operator", body).await, said(422, "invalid_request"));
    }
    for person in [&ada, &bob] {
        assert_eq!(json(&person.get("backup-codes").await)["remaining"], 10, "nothing was written");
    }
    for _ in 0..6 {
        ada.verify(&ada.wrong()).await;
    }
    assert_eq!(ada.verify(&ada.wrong()).await, 429);
    assert_eq!(reset("token-of-the-agent-0", of("ada")).await.0, 200);
    assert_eq!(reset("token-of-the-operator", in_acme.clone()).await.0, 200);
    let again = ada.clone().enrol().await;
    assert_eq!(again.codes.len(), 10, "and the lock too");
    let bob = bob.enrol().await.person;
    assert_eq!(reset(&manager, of("bob")).await.0, 200);
    assert_eq!(bob.post("disable", &json!({"code": "123456"})).await.status, 409);
}
