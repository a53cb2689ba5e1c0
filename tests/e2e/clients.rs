//! Clients that others wrote, at the proxy door: curl, nghttp, h2load, and Python's `h2`; by HTTP/1.0, 1.1 and 2, with TLS and without.
//! Says nothing of what they do by themselves; what counts is what they were answered and what arrived.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::application::BODY;
use crate::gate::{Desk, Gate};
use crate::process::tool;
use crate::tokens::Minter;

const READER: &str = "token-of-the-reader-1";
const WRITER: &str = "token-of-the-writer-1";

/// The same gate twice: without TLS, and with it.
struct House {
    plain: Gate,
    tls: Gate,
}

impl House {
    fn open() -> Self {
        let certifier = Minter::start("mint.py");
        let ca = certifier.text("pem", &json!({"op": "certificate", "key": "ca", "authority": true}));
        let server = certifier.ask(&json!({"op": "certificate", "key": "server", "issuer": "ca", "dns": ["shop.test"]}));
        let text = |member: &str| server[member].as_str().unwrap();
        let desk = Desk::new().file("ca.pem", &ca).file("server.pem", text("pem")).file("server.key", text("private"));
        Self { plain: serve(Desk::new(), &json!({})), tls: serve(desk, &json!({"tls": {"cert": "server.pem", "key": "server.key"}})) }
    }

    fn ca(&self) -> PathBuf {
        self.tls.desk.path("ca.pem")
    }

    /// What a program printed; `http://door` stands for the plain door, `https://door` for the other.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let [plain, tls] = [&self.plain, &self.tls].map(Gate::door);
        let place = |argument: &&str| {
            let argument = argument.replace("http://door", &format!("http://127.0.0.1:{plain}"));
            argument.replace("https://door", &format!("https://shop.test:{tls}")).replace("TLS", &tls.to_string())
        };
        let mut command = Command::new(tool(program));
        command.args(arguments.iter().map(place)).env_clear().env("PATH", "/usr/bin:/bin").current_dir(self.tls.desk.path(""));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// curl's account of an exchange: status, version, and the length of the answer.
    fn curl(&self, arguments: &[&str]) -> String {
        let common = ["-q", "-s", "-S", "-o", "answer", "-w", "%{http_code} %{http_version} %{size_download}", "--max-time", "60", "--noproxy", "*"];
        let trust = ["--cacert", "ca.pem", "--resolve", "shop.test:TLS:127.0.0.1"];
        self.run("curl", &[&common, &trust[..], arguments].concat())
    }
}

fn serve(desk: Desk, more: &Json) -> Gate {
    let entry = |id: &str, token: &str, scope: &str| json!({"id": id, "token": token, "scopes": [scope]});
    let tokens = json!([entry("reader", READER, "orders:read"), entry("writer", WRITER, "orders:write")]);
    let mut config = json!({
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "routes": {"/open": "public", "GET /orders": "orders:read", "POST /orders": "orders:write", "PUT /orders": "orders:write"},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    desk.file("tokens.json", &tokens.to_string()).serve(&config)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn curl_is_answered_in_every_version_it_speaks() {
    let house = House::open();
    let token = bearer(READER);
    let whole = BODY.len();
    for (version, target, spoken) in [
        (&["--http1.0"][..], "http://door", "1.0"),
        (&["--http1.1"], "http://door", "1.1"),
        (&["--http2-prior-knowledge"], "http://door", "2"),
        // By an upgrade that the gate leaves alone.
        (&["--http2"], "http://door", "1.1"),
        (&["--http2"], "https://door", "2"),
        (&["--http1.1"], "https://door", "1.1"),
        (&["--no-alpn"], "https://door", "1.1"),
    ] {
        let target = format!("{target}/orders");
        let (asked, what) = (|more: &[&str]| house.curl(&[version, more, &[&target]].concat()), format!("{version:?} {target}"));
        let answered = asked(&["-H", &token]);
        // The version of the answer is the server's own (RFC 9110 section 6.2).
        let spoken = if spoken == "1.0" { answered.split(' ').nth(1).unwrap() } else { spoken };
        assert_eq!(answered, format!("200 {spoken} {whole}"), "{what}");
        assert!(asked(&[]).starts_with(&format!("401 {spoken} ")), "{what}");
        assert!(asked(&["-H", &bearer(WRITER)]).starts_with(&format!("403 {spoken} ")), "{what}");
        assert_eq!(asked(&["-H", &token, "-I"]), format!("200 {spoken} 0"), "{what}, HEAD");
        let seen = [&house.plain, &house.tls].map(|gate| gate.application.take()).concat();
        assert_eq!(seen.iter().map(|request| request.word(0)).collect::<Vec<_>>(), ["GET", "HEAD"], "{what}");
        assert!(seen.iter().all(|request| request.header("x-scopegate-id") == Some("reader") && request.header("upgrade").is_none()), "{what}");
    }
}

#[test]
fn curl_uploads_what_it_announces_and_keeps_what_is_not_wanted() {
    let house = House::open();
    let upload = (0..3_000_000_u32).map(|number| b"0123456789abcdef"[(number.wrapping_mul(2_654_435_761) >> 28) as usize]).collect::<Vec<_>>();
    std::fs::write(house.tls.desk.path("upload"), &upload).unwrap();
    let token = bearer(WRITER);
    for (version, target) in [
        (&["--http1.1"][..], "http://door"),
        (&["--http1.0"], "http://door"),
        (&["--http2-prior-knowledge"], "http://door"),
        (&["--http2"], "https://door"),
    ] {
        for more in [&[][..], &["-H", "Expect: 100-continue"], &["-H", "Transfer-Encoding: chunked"]] {
            if version[0] == "--http1.0" && more.contains(&"Transfer-Encoding: chunked") {
                continue;
            }
            let target = format!("{target}/orders");
            let asked = |token: &str| house.curl(&[version, more, &["-T", "upload", "-H", token, &target]].concat());
            assert!(asked(&token).starts_with("200 "), "{version:?} {more:?}");
            let seen = [&house.plain, &house.tls].map(|gate| gate.application.take()).concat();
            let [seen] = &seen[..] else { panic!("{} requests", seen.len()) };
            assert!(seen.word(0) == "PUT" && seen.body == upload, "{version:?} {more:?}: {} bytes", seen.body.len());
            // By HTTP/2, curl before 8.2 loses an answer that comes before all is sent (RFC 9113 section 8.1); nghttp does not.
            if version[0].starts_with("--http1") {
                assert!(asked(&bearer(READER)).starts_with("403 "), "{version:?} {more:?}");
            }
        }
    }
}

#[test]
fn nghttp_gets_every_answer_of_one_connection() {
    let house = House::open();
    for target in ["http://door/orders", "https://door/orders"] {
        // It resolves no names of ours; the name only has to be the certificate's for those who check.
        let target = target.replace("https://door", "https://127.0.0.1:TLS");
        for (token, status) in [(Some(READER), 200), (None, 401), (Some(WRITER), 403)] {
            let header = format!("authorization: Bearer {}", token.unwrap_or_default());
            let header = if token.is_some() { &["-H", &*header][..] } else { &[] };
            let said = house.run("nghttp", &[&["-n", "-v", "-y", "-m", "60"], header, &[&target]].concat());
            assert_eq!(said.matches(&format!(":status: {status}\n")).count(), 60, "{target}: {said}");
        }
    }
    std::fs::write(house.tls.desk.path("upload"), vec![b'x'; 3_000_000]).unwrap();
    let said = house.run("nghttp", &["-n", "-v", "-d", "upload", "http://door/orders"]);
    assert!(said.contains(":status: 401\n") && !said.contains("INTERNAL_ERROR"), "an answer before all is sent: {said}");
}

#[test]
fn h2load_loses_none_of_two_thousand_requests() {
    let house = House::open();
    let token = bearer(READER);
    for target in ["http://door/orders", "https://door/orders"] {
        let target = target.replace("https://door", "https://127.0.0.1:TLS");
        for (token, codes) in [(&["-H", &*token][..], "2000 2xx, 0 3xx, 0 4xx, 0 5xx"), (&[], "0 2xx, 0 3xx, 2000 4xx, 0 5xx")] {
            let said = house.run("h2load", &[&["-n", "2000", "-c", "10", "-m", "20"], token, &[&target]].concat());
            assert!(said.contains(&format!("status codes: {codes}")), "{target}: {said}");
            assert!(said.contains("2000 total, 2000 started, 2000 done,") && said.contains("0 errored, 0 timeout"), "{target}: {said}");
        }
        let seen = [&house.plain, &house.tls].map(|gate| gate.application.take()).concat();
        assert_eq!(seen.len(), 2000, "{target}");
    }
}

#[test]
fn the_h2_package_is_answered_with_prior_knowledge_and_by_alpn() {
    let house = House::open();
    let client = Minter::start_in::<&str>("tests/e2e/clients", "http2.py", &[]);
    for (gate, ca) in [(&house.plain, Json::Null), (&house.tls, json!(house.ca()))] {
        let requests = [
            (json!({"path": "/open"}), 200, None),
            (json!({"path": "/orders", "token": READER}), 200, None),
            (json!({"path": "/orders"}), 401, Some("no_credential")),
            (json!({"path": "/orders", "token": "somebody-elses"}), 401, Some("invalid_credential")),
            (json!({"path": "/orders", "token": WRITER}), 403, Some("insufficient_scope")),
            (json!({"path": "/orders", "token": WRITER, "body": "one more"}), 200, None),
            (json!({"path": "/none", "token": WRITER}), 200, None),
        ];
        let all = requests.iter().map(|(request, ..)| request).collect::<Vec<_>>();
        let answers = client.ask(&json!({"op": "ask", "port": gate.door(), "ca": ca, "requests": all}));
        for ((request, status, reason), answer) in requests.iter().zip(answers["answers"].as_array().unwrap()) {
            assert_eq!(answer["status"], *status, "{request}: {answer}");
            assert_eq!(answer["headers"]["x-scopegate-reason"].as_str(), *reason, "{request}: {answer}");
            assert_eq!(answer["body"] == BODY, *status == 200, "{request}: {answer}");
        }
        let mut bodies = gate.application.take().iter().map(crate::message::Message::text).collect::<Vec<_>>();
        bodies.sort();
        assert_eq!(bodies, ["", "", "", "one more"]);
    }
}
