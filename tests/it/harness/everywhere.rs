//! One request at every door. Where they do not all say the same, the test ends there.

use super::frames::UPGRADE;
use super::grpc::{self, Asked, Client, Header};
use super::wire::{Reply, Wire, value};
use super::{Gate, ask};

/// A request as a client means it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub websocket: bool,
}

impl Request {
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), websocket: false }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub fn websocket(target: impl Into<String>) -> Self {
        Self { websocket: true, ..Self::get(target) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// As bytes, with more lines.
    fn lines(&self, more: &str) -> String {
        self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>() + more
    }
}

pub struct Doors<'a> {
    gate: &'a Gate,
    checks: Client,
}

/// What all of the doors said.
#[derive(Clone, Debug)]
pub struct Said {
    /// 200 for an upgrade that was agreed on, too.
    pub status: u16,
    pub reason: Option<String>,
    forwarded: Vec<Forwarded>,
}

/// What goes on from a door: its name, target and headers. The forward-auth doors tell the headers that they set.
type Forwarded = (&'static str, String, Vec<Header>);

impl<'a> Doors<'a> {
    pub async fn open(gate: &'a Gate) -> Self {
        Self { gate, checks: grpc::connect(gate.ext_authz()).await }
    }

    pub async fn ask(&mut self, request: &Request) -> Said {
        let said = self.proxy(request).await;
        let mut all = said.clone();
        for (door, other) in [("ext_authz", self.check(request).await)].into_iter().chain(self.described(request).await) {
            // nginx passes no other status on than these two.
            let status = if door == "nginx" && said.status != 200 && said.status != 401 { 403 } else { said.status };
            assert_eq!((other.status, &other.reason), (status, &said.reason), "{door} and the proxy door differ on {request:?}");
            all.forwarded.extend(other.forwarded);
        }
        all
    }

    async fn proxy(&self, request: &Request) -> Said {
        self.gate.upstream.take();
        let head = format!("{} {} HTTP/1.1\r\nhost: app.test\r\n", request.method, request.target);
        let reply = if request.websocket {
            upgraded(self.gate, &format!("{head}{}\r\n", request.lines(UPGRADE))).await
        } else {
            ask(self.gate.proxy(), format!("{head}{}\r\n", request.lines("content-length: 0\r\n"))).await
        };
        let seen = self.gate.upstream.take();
        assert_eq!(seen.len(), usize::from(reply.status == 200), "{request:?}: {}", reply.status);
        let target = |first: &str| first.split(' ').nth(1).unwrap_or_default().to_owned();
        let forwarded = seen.into_iter().map(|seen| ("proxy", target(&seen.first), seen.headers)).collect();
        Said { status: reply.status, reason: reply.header("x-scopegate-reason"), forwarded }
    }

    async fn check(&mut self, request: &Request) -> Said {
        let mut headers: Vec<Header> = request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        if request.websocket {
            let lines = UPGRADE.lines().filter_map(|line| line.split_once(": "));
            headers.extend(lines.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
        }
        let asked = Asked { method: request.method.into(), headers, raw: true, ..Asked::get(&request.target, None) };
        let response = asked.clone().ask(&mut self.checks).await;
        let status = grpc::status(&response);
        let forwarded = (status == 200).then(|| grpc::forwarded(&asked, &response));
        let forwarded = forwarded.map(|(target, headers)| ("ext_authz", String::from_utf8(target).unwrap(), headers));
        Said { status, reason: grpc::reason(&response), forwarded: forwarded.into_iter().collect() }
    }

    async fn described(&self, request: &Request) -> Vec<(&'static str, Said)> {
        let (method, target) = (request.method, &request.target);
        // What a proxy passes along of an upgrade.
        let key = if request.websocket { "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n" } else { "" };
        let lines = request.lines(key);
        let described = format!("x-forwarded-method: {method}\r\nx-forwarded-uri: {target}\r\nx-forwarded-host: app.test\r\n");
        let original = format!("x-original-method: {method}\r\nx-original-uri: {target}\r\nx-forwarded-host: app.test\r\n");
        let mut said = Vec::new();
        for (door, first, more) in [
            ("envoy", format!("{method} /envoy{target}"), ""),
            ("traefik", "GET /traefik".to_owned(), &*described),
            ("caddy", "GET /caddy".to_owned(), &*described),
            ("nginx", "GET /nginx".to_owned(), &*original),
        ] {
            let reply = ask(self.gate.forward_auth(), format!("{first} HTTP/1.1\r\nhost: app.test\r\n{more}{lines}\r\n")).await;
            let left = reply.header("x-scopegate-target").unwrap_or_else(|| target.clone());
            let reason = reply.header("x-scopegate-reason");
            let forwarded = if reply.status == 200 { vec![(door, left, reply.headers)] } else { Vec::new() };
            said.push((door, Said { status: reply.status, reason, forwarded }));
        }
        said
    }
}

/// The answer to an upgrade; one that is agreed on counts as 200.
async fn upgraded(gate: &Gate, request: &str) -> Reply {
    let mut wire = Wire::connect(gate.proxy()).await;
    wire.send(request).await;
    let head = wire.response_head().await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let headers = head.lines().filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    Reply { status: if status == 101 { 200 } else { status }, headers, body: Vec::new() }
}

impl Said {
    pub fn is_denied(&self, status: u16, reason: &str) -> bool {
        (self.status, self.reason.as_deref()) == (status, Some(reason))
    }

    /// What the upstream is told under a name, the same from every door; an empty value is none.
    pub fn told(&self, name: &str) -> Option<String> {
        let mut values = self.forwarded.iter().map(|(door, _, headers)| (door, value(headers, name).filter(|value| !value.is_empty())));
        let (_, first) = values.next()?;
        values.for_each(|(door, other)| assert_eq!(other, first, "{door} tells another `{name}`"));
        first
    }

    /// The target that goes on, the same from every door.
    pub fn target(&self) -> &str {
        let (_, first, _) = &self.forwarded[0];
        self.forwarded.iter().for_each(|(door, other, _)| assert_eq!(other, first, "{door} sends another target on"));
        first
    }

    /// Whether this text is anywhere in what goes on, from any door.
    pub fn forwards(&self, text: &str) -> bool {
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        self.forwarded.iter().any(|(_, target, headers)| target.contains(text) || headers.iter().any(|(_, value)| has(value)))
    }
}
