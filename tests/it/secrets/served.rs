//! A running gate with every kind of credential: whatever is shown to it, wherever, nothing that it puts out has a secret.

use std::net::SocketAddr;

use super::{Outputs, outputs_of};
use crate::harness::collector::Collector;
use crate::harness::desk::{ALL, Desk, HOOK, Shown, VARIABLE};
use crate::harness::frames::UPGRADE;
use crate::harness::grpc::{self, Asked, Client};
use crate::harness::process::{Serving, run, scopegate};
use crate::harness::wire::{Reply, Wire, value};
use crate::harness::{ask, until};

/// The ways to show a token: target and header lines.
fn ways(shown: &Shown) -> Vec<(String, String)> {
    let token = &shown.text;
    if let Some(header) = shown.header {
        return vec![("/app".into(), format!("{header}: {token}\r\n"))];
    }
    vec![
        ("/app".into(), format!("authorization: Bearer {token}\r\n")),
        ("/app?r=1".into(), format!("x-jwt: {token}\r\nreferer: https://page.test/?b=2\r\n")),
        ("/app".into(), format!("cookie: a=1; session={token}; b=2\r\n")),
        ("/app?x=1".into(), format!("cookie: session={token}\r\n")),
        (format!("/query?x=1&token={token}&y=2"), String::new()),
        (format!("/query?key={token}"), String::new()),
        (format!("/app?a=1&key={token}"), UPGRADE.into()),
        (format!("/app?token={token}"), UPGRADE.into()),
    ]
}

struct Doors {
    proxy: SocketAddr,
    forward_auth: SocketAddr,
    admin: SocketAddr,
    checks: Client,
}

impl Doors {
    async fn of(serving: &Serving) -> Self {
        let checks = grpc::connect(serving.address("ext_authz")).await;
        Self { proxy: serving.address("proxy"), forward_auth: serving.address("forward_auth"), admin: serving.address("admin"), checks }
    }

    /// Shows a token at every door in one way; gives the statuses.
    async fn show(&mut self, (target, lines): &(String, String), name: &str, outputs: &mut Outputs) -> Vec<u16> {
        let mut statuses = Vec::new();
        let mut told = |door: &str, status: u16, text: String| {
            outputs.add(format!("{door} {name}"), text);
            statuses.push(status);
        };
        let mut wire = Wire::connect(self.proxy).await;
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{lines}\r\n")).await;
        let head = wire.response_head().await;
        told("proxy", head[9..12].parse().unwrap(), head + &String::from_utf8_lossy(&if lines == UPGRADE { wire.rest().await } else { Vec::new() }));
        for (path, described) in
            [("/traefik", "x-forwarded-method: GET\r\nx-forwarded-uri"), ("/nginx", "x-original-method: GET\r\nx-original-uri"), ("/envoy", "")]
        {
            let described = if described.is_empty() { String::new() } else { format!("{described}: {target}\r\nx-forwarded-host: a\r\n") };
            let inner = if described.is_empty() { target } else { "" };
            // What a proxy keeps of an upgrade is the key.
            let lines = lines.replace("connection: Upgrade\r\nupgrade: websocket\r\n", "");
            let reply = ask(self.forward_auth, format!("GET {path}{inner} HTTP/1.1\r\nhost: a\r\n{described}{lines}\r\n")).await;
            told(path, reply.status, format!("{:?} {}", seen(&reply), reply.text()));
        }
        for raw in [false, true] {
            let headers = lines.split("\r\n").filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.into()));
            let asked = Asked { headers: headers.collect(), raw, ..Asked::get(target, None) };
            let response = asked.ask(&mut self.checks).await;
            told("ext_authz", grpc::status(&response), format!("{response:?}"));
        }
        statuses
    }

    async fn get(&self, path: &str) -> String {
        ask(self.admin, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.text()
    }
}

fn seen(reply: &Reply) -> String {
    reply.headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value))).collect()
}

/// The ports of the listeners for calls, as the log tells them.
fn egress(serving: &Serving) -> Vec<SocketAddr> {
    let log = serving.log();
    let list = log.split_once("egress: [").unwrap().1.split_once(']').unwrap().0;
    list.split("Tcp(").skip(1).map(|text| text.split_once(')').unwrap().0.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_gate_puts_out_has_a_key_or_a_token() {
    let (collector, otlp) = Collector::start();
    let desk = Desk::new(&format!("telemetry: {{otlp: 'http://{otlp}'}}\n")).await;
    let environment = [("SCOPEGATE_LOG", "trace"), ("JWT_SECRET", VARIABLE)];
    let mut serving = Serving::start(&desk.config(), &environment).await;
    let mut doors = Doors::of(&serving).await;
    let mut outputs = outputs_of(&desk);
    let settled = async || {
        let text = doors.get("/readyz").await;
        (text.contains("\"keys\":1") && text.contains("`500`")).then_some(())
    };
    until("key sets", settled).await;
    for shown in &desk.shown {
        for way in ways(shown) {
            for status in doors.show(&way, shown.name, &mut outputs).await {
                let denied = shown.status >= 400;
                let expected = if denied && status != shown.status { 403 } else { shown.status };
                // nginx is told 401 or 403; an upgrade's answer is 101; a target has a bound of its own.
                let beyond = status == 414 && shown.text.len() > 8 * 1024;
                assert!(
                    status == expected || beyond || (!denied && status == 101),
                    "{} at {}: {status}",
                    shown.name,
                    way.0.split('?').next().unwrap()
                );
            }
        }
        let explained = format!(r#"{{"method":"GET","path":"/query?token={0}","headers":{{"authorization":"Bearer {0}"}}}}"#, shown.text);
        let request = format!("POST /explain HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{explained}", explained.len());
        outputs.add(format!("/explain {}", shown.name), ask(doors.admin, request).await.text());
    }
    for message in desk.upstream.take() {
        assert_eq!(value(&message.headers, "x-user").is_some(), value(&message.headers, "x-scopegate-id").is_some());
        if message.first.contains("/app?r=1 ") {
            assert_eq!(value(&message.headers, "referer").as_deref(), Some("https://page.test/?b=2"), "what is no credential goes on");
        }
        let cookie = value(&message.headers, "cookie");
        assert!(cookie.is_none() || cookie.as_deref() == Some("a=1; b=2"), "{cookie:?}");
        outputs.add("the upstream's request", String::from_utf8_lossy(&message.head));
    }
    for (index, address) in egress(&serving).into_iter().enumerate() {
        assert_eq!(ask(address, "GET /calls HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
        let called = desk.upstream.take().remove(0);
        let token = value(&called.headers, "authorization").unwrap().replace("Bearer ", "");
        if index == 0 {
            outputs.never_token(&token);
        }
        assert!(!called.first.contains(&token));
        for lines in [format!("authorization: Bearer {token}"), format!("sec-fetch-site: cross-site\r\nx: {token}")] {
            let reply = ask(address, format!("GET /?{token} HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\n")).await;
            outputs.add("egress", format!("{} {}", seen(&reply), reply.text()));
        }
    }
    std::fs::remove_file(desk.path("bearer")).unwrap();
    outputs.add("egress without a file", ask(egress(&serving)[1], "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.text());
    // The configuration cannot be read any more, and says so.
    for (name, text) in [("hmac.secret", "short"), ("service.secret", "no base64!"), ("client.secret", "")] {
        let before = std::fs::read(desk.path(name)).unwrap();
        std::fs::write(desk.path(name), text).unwrap();
        let reply = ask(doors.admin, "POST /reload HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(reply.status, 422, "{}", reply.text());
        outputs.add("/reload", reply.text());
        outputs.add("/readyz", doors.get("/readyz").await);
        std::fs::write(desk.path(name), before).unwrap();
    }
    outputs.add("/metrics", doors.get("/metrics").await);
    let kept = until("a copy of the keys", async || std::fs::read_dir(desk.path("kept")).ok()?.find_map(|entry| Some(entry.ok()?.path()))).await;
    outputs.add("the name of a kept key set", kept.display().to_string());
    outputs.add("a kept key set", std::fs::read_to_string(&kept).unwrap());
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
    let log = serving.logged("\"message\":\"stopped\"").await;
    for said in ["gives no answer", "reload refused", "no credential for outgoing calls", "no newer key set", "\"level\":\"DEBUG\""] {
        assert!(log.contains(said), "the log does not say {said:?}");
    }
    outputs.add("the log", log);
    let audit = serving.audit();
    assert!(audit.contains("\"credential\":\"published\"") && audit.contains("\"cause\":\"inactive\""), "{audit}");
    outputs.add("the audit lines", audit);
    assert!(collector.text().contains("scopegate.decision"));
    outputs.add("the traces", collector.text());
    assert!(outputs.list.len() > 1000, "{}", outputs.list.len());
    outputs.have_no_secret();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_puts_out_a_key_or_a_token() {
    let desk = Desk::new("").await;
    let mut outputs = outputs_of(&desk);
    let mut command = |args: &[&str]| {
        let mut command = scopegate();
        command.env("SCOPEGATE_CONFIG", desk.config()).env("SCOPEGATE_LOG", "trace").env("JWT_SECRET", VARIABLE);
        let (_, out, err) = run(command.args(args));
        outputs.add(args[..2.min(args.len())].join(" "), out + &err);
    };
    command(&["check"]);
    command(&["check", "--json"]);
    for shown in &desk.shown {
        command(&["explain", "GET", "/app", "--header", &format!("authorization: Bearer {}", shown.text)]);
        command(&["explain", "GET", &format!("/query?token={}", shown.text), "--json"]);
    }
    for secret in ALL {
        command(&["explain", "GET", "/app", "--header", &format!("x-jwt: {secret}")]);
        command(&["explain", "GET", "/app", "--header", secret]);
    }
    for (name, text) in [("hmac.secret", "short"), ("service.secret", "no base64!"), ("client.secret", "")] {
        std::fs::write(desk.path(name), text).unwrap();
        command(&["check"]);
        command(&["serve"]);
    }
    outputs.have_no_secret();
}

/// A frame of RFC 9113 §4.1.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_library_cannot_read_is_not_printed_either() {
    let desk = Desk::new("").await;
    let mut serving = Serving::start(&desk.config(), &[("SCOPEGATE_LOG", "trace,h2=trace,h2::server=trace"), ("JWT_SECRET", VARIABLE)]).await;
    let mut outputs = outputs_of(&desk);
    let field = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    for (path, authority) in [(format!("/a?token={HOOK} "), "a".to_owned()), ("/a".to_owned(), format!("{HOOK}@a b"))] {
        // RFC 7541: `:method: GET` and `:scheme: http` by their numbers, `:authority` and `:path` by their names' numbers.
        let head = [&[0x82, 0x86][..], &field(1, &authority), &field(4, &path)].concat();
        let mut wire = Wire::connect(serving.address("ext_authz")).await;
        wire.send([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &frame(1, 5, 1, &head)].concat()).await;
        // RST_STREAM tells that it was read.
        loop {
            let head = wire.bytes(9).await;
            wire.bytes(usize::from(head[1]) << 8 | usize::from(head[2])).await;
            if head[3] == 3 {
                break;
            }
        }
    }
    serving.signal("TERM");
    assert_eq!(serving.end().await, 0);
    outputs.add("the log", serving.logged("\"message\":\"stopped\"").await);
    outputs.have_no_secret();
}
