//! A second factor with a real authenticator: the picture read by a real scanner, codes by pyotp, two replicas on a real PostgreSQL.
//! A code that is accepted twice by anybody, at whatever door, fails.

#[path = "../it/mfa/rows.rs"]
mod rows;

use std::sync::{Arc, Barrier};

use scopegate::store::secrets::StoreKeys;
use scopegate::store::{Place, Store};
use serde_json::{Value as Json, json};

use crate::client::{Answer, Ask};
use crate::gate::{Desk, Gate, now};
use crate::postgres::Database;
use crate::redis::Redis;
use crate::sign::hs256;
use crate::tokens::Minter;

const SECRET: &str = "a-secret-of-more-than-thirty-two-characters";
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

macro_rules! promises {
    ($($promise:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let database = Database::new().await;
            let keys = Arc::new(StoreKeys::parse(KEYS).unwrap());
            let open = || Store::open(&Place::Postgres(database.url().into()), Arc::clone(&keys)).unwrap();
            let (one, other) = (open(), open());
            one.prepare().await.unwrap();
            rows::$promise(&one, &other).await;
        }
    )*};
}

rows::every_promise!(promises);

fn config(store: &str) -> Json {
    json!({
        "store": store,
        "store_keys": {"file": "store.keys"},
        "management": {"expose": true},
        "credentials": {"sessions": {"kind": "jwt", "secret": SECRET, "algorithms": ["HS256"]}},
        "routes": {"POST /payouts": {"authenticated": true, "mfa": {"max_age": "5m"}}},
        "reload": {"watch": false},
    })
}

fn gate(config: &Json) -> Gate {
    Desk::new().file("store.keys", KEYS).serve(config)
}

/// Somebody with a session and an authenticator.
struct Person {
    session: String,
    authenticator: Minter,
    uri: String,
    /// The code of this step and the next are right for half a minute at least.
    step: u64,
}

impl Person {
    fn new(subject: &str) -> Self {
        let session = hs256(SECRET.as_bytes(), &json!({"alg": "HS256"}), &json!({"sub": subject, "exp": now() + 3600}));
        Self { session, authenticator: Minter::start("authenticator.py"), uri: String::new(), step: now() / 30 }
    }

    fn ask(&self, path: &str, body: &Json) -> Ask {
        Ask::new("POST", &format!("/mfa/{path}")).token(&self.session).header("content-type", "application/json").body(body.to_string().as_bytes())
    }

    fn shows(&self, code: &str) -> Ask {
        self.ask("verify", &json!({"code": code}))
    }

    fn code(&self, after: u64) -> String {
        let said = self.authenticator.ask(&json!({"op": "code", "uri": self.uri, "at": (self.step + after) * 30}));
        said["code"].as_str().unwrap().to_owned()
    }

    /// By the picture, as a person would; gives the backup codes.
    fn enrol(&mut self, gate: &Gate) -> Vec<String> {
        let begun = json(&gate.ask(&self.ask("setup", &json!({}))));
        let scanned = self.authenticator.ask(&json!({"op": "scan", "svg": begun["qr_svg"]}));
        assert_eq!(scanned["text"], begun["otpauth_uri"]);
        self.uri = scanned["text"].as_str().unwrap().to_owned();
        assert_eq!(json(&gate.ask(&self.shows(&self.code(0)))), json!({"verified": true}));
        let on = json(&gate.ask(&self.ask("enable", &json!({}))));
        on["backup_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    }
}

fn json(answer: &Answer) -> Json {
    serde_json::from_str(&answer.body()).unwrap_or_else(|_| panic!("{}: {}", answer.status, answer.body()))
}

/// Both at the same moment; how often there was a token, and the other statuses.
fn at_once(gates: &[Gate; 2], ask: &Ask, times: usize) -> (usize, Vec<u16>) {
    let start = Barrier::new(2 * times);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..2 * times)
            .map(|number| {
                let (start, door) = (&start, gates[number % 2].door());
                scope.spawn(move || {
                    start.wait();
                    ask.send(door)
                })
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let tokens = answers.iter().filter(|answer| answer.status == 200 && json(answer)["mfa_token"].is_string()).count();
    (tokens, answers.iter().map(|answer| answer.status).filter(|status| *status != 200).collect())
}

#[test]
fn an_authenticator_reads_the_picture_and_its_codes_open_the_route() {
    let gate = gate(&config("sqlite:scopegate.db"));
    // As odd as an id may be.
    let odd = "ada+test@example.com:x/y?z&secret=w%41#";
    let mut ada = Person::new(odd);
    assert_eq!(ada.enrol(&gate).len(), 10);
    let said = ada.authenticator.ask(&json!({"op": "code", "uri": ada.uri, "at": 0}));
    assert_eq!((&said["issuer"], &said["name"]), (&json!("Scopegate"), &json!(odd)));
    assert_eq!((&said["digits"], &said["interval"]), (&json!(6), &json!(30)));
    let payout = || Ask::new("POST", "/payouts").token(&ada.session);
    assert_eq!(gate.ask(&payout()).status, 401);
    let shown = json(&gate.ask(&ada.shows(&ada.code(1))));
    assert_eq!(gate.ask(&payout().header("x-mfa-token", shown["mfa_token"].as_str().unwrap())).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_asked_at_once_one_accepts_a_code() {
    let database = Database::new().await;
    let config = config(&database.url());
    let gates = [gate(&config), gate(&config)];
    let mut ada = Person::new("ada");
    let codes = ada.enrol(&gates[0]);
    for code in [ada.code(1), codes[0].clone()] {
        let (tokens, others) = at_once(&gates, &ada.shows(&code), 1);
        assert_eq!((tokens, others), (1, vec![401]), "{code}");
    }
    let (tokens, others) = at_once(&gates, &ada.shows(&codes[1]), 2);
    assert!(tokens == 1 && others.iter().all(|status| matches!(status, 401 | 429)), "{tokens} {others:?}");
    // Before anybody says whether a code is right, it counts: of many at once no more than five are looked at.
    let mut eve = Person::new("eve");
    let codes = eve.enrol(&gates[1]);
    let (tokens, others) = at_once(&gates, &eve.shows("zzzzz-zzzzz"), 5);
    assert_eq!(tokens, 0);
    assert_eq!((others.iter().filter(|status| **status == 401).count(), others.iter().filter(|status| **status == 429).count()), (5, 5));
    for gate in &gates {
        assert_eq!(gate.ask(&eve.shows(&codes[0])).status, 429);
    }
    let dump = database.dump();
    let seed = eve.uri.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    assert!(dump.contains("ada") && codes.iter().all(|code| !dump.contains(code)) && !dump.contains(seed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ended_at_one_replica_opens_nothing_at_the_other() {
    let database = Database::new().await;
    let config = config(&database.url());
    let gates = [gate(&config), gate(&config)];
    let mut ada = Person::new("ada");
    let codes = ada.enrol(&gates[0]);
    let shown = json(&gates[0].ask(&ada.shows(&ada.code(1))));
    let payout = Ask::new("POST", "/payouts").token(&ada.session).header("x-mfa-token", shown["mfa_token"].as_str().unwrap());
    crate::process::until("the other replica knows of the enrolment", || gates[1].ask(&payout).status == 200);
    assert_eq!(gates[0].ask(&ada.ask("disable", &json!({"code": codes[0]}))).status, 200);
    assert_eq!(gates[0].ask(&payout).status, 401);
    crate::process::until("the other replica knows that it ended", || gates[1].ask(&payout).status == 401);
}

#[test]
fn where_attempts_cannot_be_counted_none_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(folder.path(), &[]);
    let mut config = config("sqlite:scopegate.db");
    config["limits"] = json!({"backend": redis.url()});
    let gate = gate(&config);
    let mut ada = Person::new("ada");
    let codes = ada.enrol(&gate);
    redis.kill();
    for (path, code) in [("verify", ada.code(1)), ("verify", codes[0].clone()), ("disable", codes[0].clone()), ("backup-codes", codes[0].clone())] {
        let answer = gate.ask(&ada.ask(path, &json!({"code": code})));
        assert_eq!((answer.status, &json(&answer)["error"]), (503, &json!("temporarily_unavailable")), "{path}");
        assert!(answer.header("retry-after").is_some());
    }
    let _back = Redis::at(folder.path(), redis.port, &[]);
    crate::process::until("attempts are counted again", || gate.ask(&ada.shows(&codes[0])).status == 200);
    assert_eq!(gate.ask(&ada.shows(&ada.code(1))).status, 200, "nothing was used up meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_is_503_and_never_a_second_factor_that_is_off() {
    let database = Database::alone().await;
    let gate = gate(&config(&database.url()));
    let mut ada = Person::new("ada");
    let codes = ada.enrol(&gate);
    let payout = Ask::new("POST", "/payouts").token(&ada.session);
    assert_eq!(gate.ask(&payout).status, 401);
    database.stop();
    for (path, body) in [("setup", json!({})), ("verify", json!({"code": codes[0]})), ("enable", json!({})), ("disable", json!({"code": codes[0]}))] {
        assert_eq!(gate.ask(&ada.ask(path, &body)).status, 503, "{path}");
    }
    assert_ne!(gate.ask(&payout).status, 200);
    database.start_again();
    crate::process::until("the store is back", || gate.ask(&ada.shows(&codes[0])).status == 200);
}
