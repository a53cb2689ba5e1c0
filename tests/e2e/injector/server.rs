//! The webhook as a server: certificates that change, bodies that are none, and an end that loses nothing.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::json;

use super::{Connection, HOST, UID, Webhook, exchange, issue, pod, post, proxy, response, review, with};
use crate::client::Ask;
use crate::message::Message;
use crate::process::{Process, scopegate, tool};

fn body() -> Vec<u8> {
    review(&pod(&proxy())).to_string().into_bytes()
}

/// The certificate that who connects now is shown.
fn shown(webhook: &Webhook) -> Vec<u8> {
    let mut connection = webhook.connect();
    serves(&mut connection);
    connection.conn.peer_certificates().unwrap()[0].to_vec()
}

fn serves(connection: &mut Connection) {
    let answer = exchange(connection, &post().body(&body()));
    assert_eq!((answer.word(1), &response(&answer.text())["allowed"]), ("200", &json!(true)));
}

#[test]
fn a_new_certificate_is_shown_to_who_comes_next_and_a_broken_one_to_nobody() {
    let mut webhook = Webhook::start(&[]);
    let mut old = webhook.connect();
    serves(&mut old);
    let first = old.conn.peer_certificates().unwrap()[0].to_vec();
    let (certificate, key) = issue(&webhook.authority);
    let path = |name: &str| webhook.folder.path().join(name);
    let (crt, private) = (path("tls.crt"), path("tls.key"));
    // One of the two alone is a pair that does not fit.
    fs::write(&crt, &certificate).unwrap();
    webhook.process.until("it says so", |process| process.said().contains("the new certificate is refused, the old one stays: `tls.key`"));
    assert_eq!(shown(&webhook), first);
    fs::write(&private, &key).unwrap();
    webhook.process.until("it is read", |process| process.said().contains("read anew"));
    let second = shown(&webhook);
    assert_ne!(second, first);
    serves(&mut old);
    for (broken, said) in [("", "holds no certificate"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read")] {
        fs::write(&crt, broken).unwrap();
        webhook.process.until("it says so", |process| process.said().contains(said));
        assert_eq!(shown(&webhook), second);
        serves(&mut old);
    }
    let secret = key.lines().nth(1).unwrap();
    assert!(!webhook.process.said().contains(secret), "no key in the log");
    fs::remove_file(&crt).unwrap();
    webhook.process.until("it says so", |process| process.said().contains("cannot be read: No such file"));
    assert_eq!(shown(&webhook), second);
    // Put right, and read at SIGHUP at the latest.
    let (certificate, key) = issue(&webhook.authority);
    fs::write(webhook.folder.path().join("tls.crt"), certificate).unwrap();
    fs::write(webhook.folder.path().join("tls.key"), key).unwrap();
    webhook.process.signal("HUP");
    let again = |process: &Process| process.said().matches("read anew").count() >= 2;
    webhook.process.until("it is read again", again);
    assert!(shown(&webhook) != second);
}

#[test]
fn without_a_certificate_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let authority = CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap()).unwrap();
    let (certificate, key) = issue(&authority);
    let (_, other) = issue(&authority);
    fs::write(folder.path().join("tls.crt"), certificate).unwrap();
    fs::write(folder.path().join("tls.key"), key).unwrap();
    fs::write(folder.path().join("other.key"), other).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    for (cert, key, said) in [
        ("nowhere", "tls.key", "cannot be read"),
        ("empty", "tls.key", "holds no certificate"),
        ("tls.crt", "empty", "holds no private key"),
        ("tls.crt", "other.key", "is not the key of"),
    ] {
        let mut process = Process::start("injector", &scopegate(), folder.path(), |command| {
            command.args(["injector", "--listen", "127.0.0.1:0", "--cert", cert, "--key", key, "--image", "x"]);
        });
        assert_eq!(process.ended(), Some(1), "{cert} {key}");
        assert!(process.said().contains(said), "{said}: {}", process.said());
    }
    for wrong in [
        &["--image", ""][..],
        &["--image", "a b"],
        &["--failure", "maybe"],
        &["--resources", "[]"],
        &["--resources", "{\"claims\":{}}"],
        &["--drain", "5"],
    ] {
        let mut process = Process::start("injector", &scopegate(), folder.path(), |command| {
            command
                .args(["injector", "--cert", "tls.crt", "--key", "tls.key"])
                .args(["--image", "x"].iter().filter(|_| wrong[0] != "--image"))
                .args(wrong);
        });
        assert_eq!(process.ended(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_body_that_is_no_review_has_nobody_to_be_answered() {
    for failure in ["closed", "open"] {
        let webhook = Webhook::start(&["--failure", failure]);
        let text = |changes: &[(&str, serde_json::Value)]| with(&review(&pod(&proxy())), changes).to_string().into_bytes();
        let deep = format!("{{\"kind\":\"AdmissionReview\",\"request\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_pod = text(&[("/request/object/spec", json!("DEEP"))]);
        let deep_pod = String::from_utf8(deep_pod).unwrap().replace("\"DEEP\"", &format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500)));
        let long = json!("x".repeat(4 * 1024 * 1024));
        let secret = br#"{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": {"password": "hunter-two"}}}"#;
        for (body, status) in [
            (b"".to_vec(), 400),
            (b"garbage \xFF\x00".to_vec(), 400),
            (b"{".to_vec(), 400),
            (b"[]".to_vec(), 400),
            (b"null".to_vec(), 400),
            (b"{}".to_vec(), 400),
            (secret.to_vec(), 400),
            (deep.into_bytes(), 400),
            (deep_pod.into_bytes(), 400),
            (text(&[("/apiVersion", json!("admission.k8s.io/v1beta1"))]), 400),
            (text(&[("/kind", json!("ConversionReview"))]), 400),
            (text(&[("/request", json!(null))]), 400),
            (text(&[("/request/uid", json!(""))]), 400),
            (text(&[("/request/object/metadata/x", long)]), 413),
        ] {
            let answer = webhook.send(&body);
            let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert_eq!(answer.status, status, "{failure}: {start}: {}", answer.body());
            assert!(!answer.body().contains("hunter-two"), "{}", answer.body());
        }
        let chunked = text(&[("/request/object/metadata/x", json!("x".repeat(4 * 1024 * 1024)))]);
        assert_eq!(webhook.ask(&post().chunked(&chunked)).status, 413, "without a length");
        assert_eq!(webhook.ask(&post().chunked(&body())).status, 200);
        let large = text(&[("/request/object/metadata/x", json!("x".repeat(3 * 1024 * 1024)))]);
        assert_eq!(webhook.send(&large).status, 200, "what the API server may send");
        assert!(!webhook.process.said().contains("hunter-two"));
    }
}

#[test]
fn other_paths_methods_and_types_are_told_what_would_be_right() {
    let webhook = Webhook::start(&[]);
    let json = |method: &str, path: &str| Ask::new(method, path).header("Content-Type", "application/json").body(&body());
    for (ask, status, allow) in [
        (json("PUT", "/inject"), 405, Some("POST")),
        (Ask::get("/inject"), 405, Some("POST")),
        (json("POST", "/readyz"), 405, Some("GET, HEAD")),
        (json("POST", "/"), 404, None),
        (json("POST", "/inject/"), 404, None),
        (Ask::get("/metrics"), 404, None),
        (Ask::new("POST", "/inject").body(&body()), 415, None),
        (Ask::new("POST", "/inject").header("Content-Type", "text/plain").body(&body()), 415, None),
        (Ask::new("POST", "/inject").header("Content-Type", "Application/JSON; charset=utf-8").body(&body()), 200, None),
        (Ask::get("/readyz"), 200, None),
        (Ask::get("/healthz"), 200, None),
    ] {
        let answer = webhook.ask(&ask);
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{ask:?}");
    }
    // Never in the clear.
    assert!(Ask::get("/healthz").try_send(webhook.port).is_err());
}

#[test]
fn it_speaks_http_2_as_the_api_server_does() {
    let webhook = Webhook::start(&[]);
    let path = |name: &str| webhook.folder.path().join(name);
    fs::write(path("review.json"), body()).unwrap();
    let (url, resolve) = (format!("https://{HOST}:{}/inject?timeout=5s", webhook.port), format!("{HOST}:{}:127.0.0.1", webhook.port));
    let common =
        ["-q", "-s", "-S", "--http2", "--cacert", "ca.crt", "--noproxy", "*", "--resolve", &resolve, "-w", "%{http_version}", "-o", "answer"];
    let review = ["-H", "Content-Type: application/json", "--data-binary", "@review.json", &url];
    let output = Command::new(tool("curl")).args(common).args(review).current_dir(webhook.folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2", "{}", String::from_utf8_lossy(&output.stderr));
    let answer = response(&fs::read_to_string(path("answer")).unwrap());
    assert_eq!((&answer["uid"], &answer["patchType"]), (&json!(UID), &json!("JSONPatch")));
}

#[test]
fn at_its_end_it_says_so_first_and_answers_who_is_there() {
    let mut webhook = Webhook::start(&["--lame-duck", "10m", "--drain", "20s"]);
    let mut kept = webhook.connect();
    serves(&mut kept);
    let mut half = webhook.connect();
    let bytes = String::from_utf8(post().body(&body()).bytes()).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    half.write_all(first.as_bytes()).unwrap();
    half.flush().unwrap();
    webhook.process.signal("TERM");
    webhook.process.until("leaving", |process| process.said().contains("\"leaving\""));
    // Unready, and yet whoever comes is served, and told to look for another.
    assert_eq!(webhook.ask(&Ask::get("/readyz")).status, 503);
    assert_eq!(webhook.ask(&Ask::get("/healthz")).status, 200);
    assert_eq!(webhook.create(&pod(&proxy()))["allowed"], true);
    let answer = exchange(&mut kept, &post().body(&body()));
    assert_eq!((answer.word(1), answer.header("connection")), ("200", Some("close")));
    // A second signal ends the wait; what is in flight is answered all the same.
    webhook.process.signal("TERM");
    webhook.process.until("draining", |process| process.said().contains("\"draining\""));
    half.write_all(second.as_bytes()).unwrap();
    let answer = Message::read(&mut BufReader::new(&mut half), |_| true).unwrap().unwrap();
    assert_eq!((answer.word(1), &response(&answer.text())["allowed"]), ("200", &json!(true)));
    drop(half);
    assert_eq!(webhook.process.ended(), Some(0));
}

#[test]
fn who_announces_much_and_sends_nothing_is_in_nobodys_way() {
    let webhook = Webhook::start(&[]);
    let head = post().header("Content-Length", "3600000").bytes();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let mut connection = webhook.connect();
            connection.write_all(&head).unwrap();
            connection.flush().unwrap();
            connection
        })
        .collect();
    serves(&mut webhook.connect());
    drop(waiting);
}

/// Several large ones at once, a piece of each in turn: none waits for another's rest, and an ordinary one for none of them.
#[test]
fn large_reviews_come_to_their_end_beside_each_other_and_small_ones_pass_them() {
    let webhook = Webhook::start(&[]);
    let large = with(&pod(&proxy()), &[("/metadata/annotations/example.com~1note", json!("x".repeat(1_000_000)))]);
    let bytes = post().body(review(&large).to_string().as_bytes()).bytes();
    let (start, rest) = bytes.split_at(10_000);
    let mut connections: Vec<_> = (0..8).map(|_| webhook.connect()).collect();
    for connection in &mut connections {
        connection.write_all(start).unwrap();
    }
    serves(&mut webhook.connect());
    for connection in &mut connections {
        connection.write_all(rest).unwrap();
        let answer = Message::read(&mut BufReader::new(connection), |_| true).unwrap().unwrap();
        assert_eq!((answer.word(1), &response(&answer.text())["allowed"]), ("200", &json!(true)));
    }
}

#[test]
fn what_is_said_of_a_pod_is_bounded_in_the_log_too() {
    let webhook = Webhook::start(&[]);
    let port = json!([{"containerPort": 3000}]);
    let many: Vec<_> = (0..1000).map(|number| json!({"name": format!("{number}-{}", "x".repeat(50)), "image": "x:1", "ports": port})).collect();
    let response = webhook.create(&with(&pod(&proxy()), &[("/spec/containers", json!(many))]));
    assert_eq!(response["warnings"].as_array().unwrap().len(), 12);
    serves(&mut webhook.connect());
    let log = webhook.process.said();
    assert!(log.contains("declares port 3000") && log.len() < 20_000, "{}", log.len());
}

#[test]
fn who_says_nothing_is_let_go_and_who_stops_in_the_middle_is_told() {
    let webhook = Webhook::start(&[]);
    let review = post().body(&body()).bytes();
    let mut half = webhook.connect();
    half.write_all(&review[..review.len() - 100]).unwrap();
    half.flush().unwrap();
    let mut silent: Vec<_> = (0..100).map(|_| TcpStream::connect(("127.0.0.1", webhook.port)).unwrap()).collect();
    let answer = Message::read(&mut BufReader::new(&mut half), |_| true).unwrap().unwrap();
    assert_eq!((answer.word(1), answer.text().contains("did not come within ten seconds")), ("408", true), "{}", answer.text());
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "no TLS begins on it");
    }
    serves(&mut webhook.connect());
}
