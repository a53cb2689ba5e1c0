//! A hundred times `kill -9` in the middle of enrolments and codes, and two replicas asked the same at once:
//! what was acknowledged is there, and no code is accepted twice.

use std::time::Duration;

use serde_json::{Value as Json, json};
use totp_rs::Builder;

use super::durability::{ROUNDS, below, kill};
use super::{SECRET, block, config, desk, replica};
use crate::client::Ask;
use crate::gate::Gate;
use crate::postgres::Database;
use crate::sign::{hs256, now};

/// RFC 4648 §6.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Somebody with an authenticator.
#[derive(Clone, Debug)]
pub struct Person {
    token: String,
    secret: Vec<u8>,
    /// The step of the clock at the beginning. Its code and the next one's are right for half a minute at least.
    step: i64,
}

/// How far somebody came. Each is acknowledged, or not known.
#[derive(Clone, Debug, Default)]
struct Came {
    person: Option<Person>,
    verified: bool,
    /// Asked for, and told.
    enabling: bool,
    codes: Option<Vec<String>>,
    /// The second step's code, and the first backup code.
    shown: bool,
    spent: bool,
}

impl Person {
    /// With a new secret.
    pub fn set_up(gate: &Gate, subject: &str) -> Option<Self> {
        let claims = json!({"sub": subject, "iat": now(), "exp": now() + 3600});
        let token = hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims);
        let mut person = Self { token, secret: Vec::new(), step: now() / 30 };
        let (status, body) = person.post(gate, "setup", &json!({}))?;
        assert_eq!(status, 200, "{body}");
        person.secret = from_base32(body["secret"].as_str().unwrap());
        Some(person)
    }

    /// `None` where nobody answers any more.
    pub fn post(&self, gate: &Gate, path: &str, body: &Json) -> Option<(u16, Json)> {
        let ask = Ask::new("POST", &format!("/mfa/{path}")).token(&self.token).header("Content-Type", "application/json");
        let answer = ask.body(body.to_string().as_bytes()).try_send(gate.admin_port()).ok()?;
        Some((answer.status, serde_json::from_str(&answer.body()).ok()?))
    }

    pub fn verify(&self, gate: &Gate, code: &str) -> Option<u16> {
        self.post(gate, "verify", &json!({"code": code})).map(|(status, _)| status)
    }

    /// The secret as it is shown, and its bytes as a dump shows them.
    pub fn shown_as(&self) -> [String; 2] {
        let bits: String = self.secret.iter().map(|byte| format!("{byte:08b}")).collect();
        let letter = |five: &[u8]| char::from(LETTERS[usize::from_str_radix(std::str::from_utf8(five).unwrap(), 2).unwrap()]);
        let hex = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        [bits.as_bytes().chunks_exact(5).map(letter).collect(), hex]
    }

    /// The code of this many steps after the first.
    pub fn code(&self, after: i64) -> String {
        let totp = Builder::new().with_secret(self.secret.clone()).with_skew(0).build_noncompliant();
        totp.generate(u64::try_from((self.step + after) * 30).unwrap()).to_string()
    }
}

fn from_base32(text: &str) -> Vec<u8> {
    let value = |letter| LETTERS.iter().position(|known| *known == letter).unwrap();
    let bits: String = text.bytes().map(|letter| format!("{:05b}", value(letter))).collect();
    bits.as_bytes().chunks_exact(8).map(|eight| u8::from_str_radix(std::str::from_utf8(eight).unwrap(), 2).unwrap()).collect()
}

fn texts(list: &Json) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// As far as the gate lasts. `came` is what was acknowledged.
fn enrol(gate: &Gate, subject: &str, came: &mut Came) -> Option<()> {
    let person = Person::set_up(gate, subject)?;
    came.person = Some(person.clone());
    assert_eq!(person.verify(gate, &person.code(0))?, 200);
    came.verified = true;
    came.enabling = true;
    let (status, body) = person.post(gate, "enable", &json!({}))?;
    assert_eq!(status, 200, "{body}");
    let codes = texts(&body["backup_codes"]);
    came.codes = Some(codes.clone());
    assert_eq!(person.verify(gate, &person.code(1))?, 200);
    came.shown = true;
    assert_eq!(person.verify(gate, &codes[0])?, 200);
    came.spent = true;
    Some(())
}

/// After the restart: whatever was acknowledged holds.
fn check(gate: &Gate, came: &Came, round: usize) {
    let Some(person) = &came.person else { return };
    if came.verified {
        assert_eq!(person.verify(gate, &person.code(0)), Some(401), "round {round}: a code is accepted twice");
    }
    if came.shown {
        assert_eq!(person.verify(gate, &person.code(1)), Some(401), "round {round}: a code is accepted twice");
    }
    match &came.codes {
        Some(codes) => {
            if came.spent {
                assert_eq!(person.verify(gate, &codes[0]), Some(401), "round {round}: a backup code is accepted twice");
            }
            assert_eq!(person.verify(gate, &codes[1]), Some(200), "round {round}: an enrolment is lost");
        }
        // Verified before, so that it can be turned on now; or it was, and nobody was told.
        None if came.verified => {
            let (status, body) = person.post(gate, "enable", &json!({})).unwrap();
            assert!(status == 200 || (came.enabling && status == 409), "round {round}: a verified secret is lost: {status} {body}");
        }
        None => assert_ne!(person.verify(gate, &person.code(0)), Some(409), "round {round}: a secret is lost"),
    }
}

fn nothing_acknowledged_is_lost(store: Json) {
    let mut gate = desk().serve(&config(store));
    let mut stages = [0; 4];
    for round in 0..ROUNDS {
        // How long an enrolment takes depends on the machine, so that each round tries another time.
        let after = Duration::from_millis(5 + below(1 + u64::try_from(round).unwrap() * 10));
        let came = std::thread::scope(|scope| {
            let (gate, process) = (&gate, gate.process.id());
            let person = scope.spawn(move || {
                let mut came = Came::default();
                enrol(gate, &format!("person-{round}"), &mut came);
                came
            });
            std::thread::sleep(after);
            kill(process);
            person.join().unwrap()
        });
        gate.start_again();
        gate.until_ready();
        check(&gate, &came, round);
        let reached = [came.person.is_some(), came.verified, came.codes.is_some(), came.spent];
        stages.iter_mut().zip(reached).for_each(|(count, reached)| *count += usize::from(reached));
    }
    println!("of {ROUNDS} rounds {stages:?} came to a secret, a verified code, codes for an emergency, and one of those spent");
    assert!(stages[1] > 0, "too little was done to be a test");
}

#[test]
fn on_sqlite() {
    nothing_acknowledged_is_lost(json!("sqlite:scopegate.db"));
}

#[test]
fn on_postgresql() {
    let database = block(Database::new());
    nothing_acknowledged_is_lost(json!(database.url()));
}

#[test]
fn of_two_replicas_that_are_asked_at_once_one_accepts_a_code() {
    let database = block(Database::new());
    let gates = [replica(&database), replica(&database)];
    for round in 0..10 {
        let person = Person::set_up(&gates[0], &format!("person-{round}")).unwrap();
        assert_eq!(person.verify(&gates[1], &person.code(0)), Some(200));
        let (status, body) = person.post(&gates[1], "enable", &json!({})).unwrap();
        assert_eq!(status, 200, "{body}");
        for code in [person.code(1), texts(&body["backup_codes"])[0].clone()] {
            let mut statuses = std::thread::scope(|scope| {
                let asked = gates.each_ref().map(|gate| scope.spawn(|| person.verify(gate, &code).unwrap()));
                asked.map(|asked| asked.join().unwrap())
            });
            statuses.sort_unstable();
            assert!(statuses[0] == 200 && statuses[1] != 200, "{statuses:?}");
        }
    }
}
