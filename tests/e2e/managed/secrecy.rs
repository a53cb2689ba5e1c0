//! What was shown once is nowhere afterwards: not in the database, its dump or its files, and not in a log, a metric or an answer.

use serde_json::{Value as Json, json};

use super::factors::Person;
use super::{Made, block, call, config, create, desk};
use crate::client::Ask;
use crate::gate::Gate;
use crate::postgres::Database;

/// Everything that is shown once, made and used.
fn secrets(gate: &Gate) -> Vec<String> {
    let made = create(gate);
    let rotated = Made::of(&call(gate, "POST", &format!("{}/rotate", made.path()), Some(&json!({"grace_seconds": 60}))).unwrap()).unwrap();
    let uuid = "3f2b8c1e-9d4a-4e6f-8b7c-1a2d3e4f5a6b";
    let imported = call(gate, "POST", "/tenant/api-keys/import", Some(&json!({"keys": [{"key": uuid, "name": "old", "scopes": ["a:b"]}]}))).unwrap();
    assert_eq!(imported.status, 201, "{}", imported.body());
    let person = Person::set_up(gate, "ada").unwrap();
    assert_eq!(person.verify(gate, &person.code(0)), Some(200));
    let (_, body) = person.post(gate, "enable", &json!({})).unwrap();
    let codes: Vec<String> = body["backup_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    assert_eq!(person.verify(gate, &codes[0]), Some(200));
    for key in [&made, &rotated] {
        assert_eq!(key.status(gate), 200);
    }
    let secret_part = |key: &str| key[key.len() - 36..].to_owned();
    let mut secrets = vec![secret_part(&made.key), secret_part(&rotated.key), uuid.to_owned(), uuid.replace('-', "")];
    secrets.extend(person.shown_as());
    secrets.extend(codes.iter().map(|code| code.replace('-', "")));
    secrets.extend(codes);
    secrets
}

fn told(gate: &Gate) -> String {
    let list = call(gate, "GET", "/tenant/api-keys", None).unwrap().body();
    let own = Ask::get("/mfa/backup-codes").token(&super::session()).send(gate.admin_port()).body();
    let ready: Json = gate.readyz().1;
    [list, own, ready.to_string(), gate.metrics(), gate.process.said()].join("\n")
}

fn in_none_of(places: &str, secrets: &[String]) {
    let places = places.to_ascii_lowercase();
    for secret in secrets {
        assert!(!places.contains(&secret.to_ascii_lowercase()), "{secret} is told of");
    }
}

#[test]
fn on_postgresql() {
    let database = block(Database::new());
    let gate = desk().serve(&config(json!(database.url())));
    let secrets = secrets(&gate);
    let dump = database.dump();
    assert!(dump.contains("INSERT INTO public.api_keys") && dump.contains("INSERT INTO public.mfa"), "it is a dump of all");
    in_none_of(&dump, &secrets);
    in_none_of(&told(&gate), &secrets);
}

#[test]
fn on_sqlite() {
    let gate = desk().serve(&config(json!("sqlite:scopegate.db")));
    let secrets = secrets(&gate);
    in_none_of(&told(&gate), &secrets);
    for name in ["scopegate.db", "scopegate.db-wal"] {
        let file = std::fs::read(gate.desk.path(name)).unwrap();
        // A text among bytes, and bytes as a reader of the file would print them.
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        in_none_of(&String::from_utf8_lossy(&file), &secrets);
        in_none_of(&hex, &secrets);
    }
}
