//! Nothing secret is found again anywhere after it was shown once.

use std::path::Path;

use serde_json::json;

use super::person::{CONFIG, Person, TOKENS, session, texts};
use crate::harness::process::Serving;
use crate::harness::upstream::Upstream;
use crate::harness::{ask, complete, write_secret};
use crate::management::said as json;

/// The database with all that SQLite keeps beside it, as text.
fn database(folder: &Path) -> String {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("scopegate.db")).collect();
    assert!(!files.is_empty());
    files.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_code_is_in_the_database_a_log_line_or_a_metric() {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    write_secret(&folder.path().join("tokens.json"), TOKENS);
    std::fs::write(folder.path().join("scopegate.yaml"), complete(CONFIG, upstream.address)).unwrap();
    let mut serving = Serving::start(&folder.path().join("scopegate.yaml"), &[("SCOPEGATE_LOG", "trace")]).await;
    let mut ada = Person::of(serving.address("admin"), session("ada", &json!({})));
    let begun = ada.set_up().await;
    let mut shown = vec![ada.code(0), ada.code(1), ada.wrong(), "zzzzz-zzzzz".to_owned(), begun["secret"].as_str().unwrap().to_owned()];
    assert_eq!(ada.verify(&shown[0]).await, 200);
    let codes = texts(&json(&ada.post("enable", &json!({})).await)["backup_codes"]);
    shown.push(ada.mfa_token(&shown[1]).await);
    assert_eq!((ada.verify(&shown[2]).await, ada.verify(&shown[3]).await), (401, 401));
    assert_eq!(ada.post("verify", &json!({"code": "1234567 of nobody"})).await.status, 422);
    shown.push("1234567 of nobody".to_owned());
    let renewed = texts(&json(&ada.post("backup-codes", &json!({"code": codes[0]})).await)["backup_codes"]);
    shown.push(ada.mfa_token(&renewed[0]).await);
    shown.extend(codes.into_iter().chain(renewed));
    shown.push(String::from_utf8_lossy(&ada.secret).into_owned());
    shown.push(ada.secret.iter().map(|byte| format!("{byte:02x}")).collect());

    let metrics = ask(serving.address("admin"), "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.text();
    let answers =
        [ada.get("backup-codes").await.text(), ask(serving.address("admin"), "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n").await.text()].concat();
    let mut places = vec![("the database", database(folder.path())), ("the metrics", metrics), ("an answer", answers)];
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
    places.extend([("the database", database(folder.path())), ("the log", serving.log()), ("the audit", serving.audit())]);
    for (place, text) in &places {
        for secret in &shown {
            // Six digits alone are found by chance; a code would stand between signs.
            let found = if secret.len() == 6 { text.contains(&format!("\"{secret}\"")) } else { text.contains(secret) };
            assert!(!found, "{secret} is in {place}");
        }
    }
    let audit = serving.audit();
    assert!(audit.contains(r#""principal":"ada""#), "who did what is told: {audit}");
}
