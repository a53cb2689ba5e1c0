//! One case at one door: how the request gets there, and what the door's client makes of the answer.

use std::collections::BTreeMap;

use scopegate::proto::{self, check_response::HttpResponse};
use serde::Deserialize;

use super::case::{Case, Expect, File, Peer, bytes};
use super::contract;
use super::outside::World;
use crate::harness::grpc::{self, Asked, Client, Header};
use crate::harness::wire::{Reply, value};
use crate::harness::{Gate, ask};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    Proxy,
    /// ext_authz with the `headers` map.
    Check,
    /// ext_authz with `header_map` and `raw_value`.
    CheckRaw,
    Envoy,
    Nginx,
    Traefik,
    Caddy,
}

impl Door {
    pub const ALL: [Self; 7] = [Self::Proxy, Self::Check, Self::CheckRaw, Self::Envoy, Self::Nginx, Self::Traefik, Self::Caddy];

    /// The `door` of its audit lines.
    pub fn of_the_gate(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Check | Self::CheckRaw => "ext_authz",
            Self::Envoy | Self::Nginx | Self::Traefik | Self::Caddy => "forward_auth",
        }
    }
}

pub struct Doors<'a> {
    gate: &'a Gate,
    file: &'a File,
    world: &'a World,
    checks: Client,
}

/// What a caller got, in the words of HTTP; `reply` where it came as such.
struct Answer {
    status: u16,
    headers: Vec<Header>,
    body: Vec<u8>,
}

/// What the upstream gets of an allowed request.
struct Forwarded {
    target: Vec<u8>,
    headers: Vec<Header>,
}

impl<'a> Doors<'a> {
    pub async fn open(gate: &'a Gate, file: &'a File, world: &'a World) -> Self {
        Self { gate, file, world, checks: grpc::connect(gate.ext_authz()).await }
    }

    /// Gives the id of the decision where the door tells it.
    pub async fn ask(&mut self, door: Door, case: &Case) -> Result<Option<String>, String> {
        let expect = case.expected(door);
        match door {
            Door::Proxy => self.proxy(case, &expect).await,
            Door::Check | Door::CheckRaw => self.check(case, &expect, door == Door::CheckRaw).await,
            Door::Envoy => self.envoy(case, &expect).await,
            Door::Nginx | Door::Traefik | Door::Caddy => self.described(door, case, &expect).await,
        }
    }

    async fn proxy(&self, case: &Case, expect: &Expect) -> Result<Option<String>, String> {
        self.gate.upstream.take();
        let reply = ask(self.gate.proxy(), request(case, Door::Proxy, (&case.method, &case.target), &[])).await;
        let mut seen = self.gate.upstream.take();
        if expect.status != 200 {
            if !seen.is_empty() {
                return Err(format!("the upstream got {}", seen[0].first));
            }
            return denied(expect, &reply.into(), case.method == "HEAD");
        }
        same("status", &reply.status, &200)?;
        same("requests at the upstream", &seen.len(), &1)?;
        let got = seen.remove(0);
        let target = got.head.split(|byte| *byte == b' ').nth(1).unwrap_or_default().to_vec();
        same("body at the upstream", &got.body, &bytes(case.body.as_deref().unwrap_or_default()))?;
        same("method at the upstream", &got.first.split(' ').next(), &Some(&*case.method))?;
        same("a header of the gate's in the answer", &reply.headers.iter().any(|(name, _)| name.starts_with("x-scopegate-")), &false)?;
        self.told(case, expect, &Forwarded { target, headers: got.headers })?;
        Ok(None)
    }

    async fn check(&mut self, case: &Case, expect: &Expect, raw: bool) -> Result<Option<String>, String> {
        let asked = Asked {
            method: bytes(&case.method),
            target: bytes(&case.target),
            host: if case.no_host { Vec::new() } else { bytes(&case.host) },
            headers: headers(case, if raw { Door::CheckRaw } else { Door::Check }),
            body: bytes(case.body.as_deref().unwrap_or_default()),
            raw,
            extensions: Vec::new(),
            source: case.peer.as_ref().map(|peer| self.peer(peer)),
        };
        let response = asked.clone().ask(&mut self.checks).await;
        same("status", &grpc::status(&response), &expect.status)?;
        // A malformed handshake is refused before any snapshot is asked.
        let generation = if expect.reason == "invalid_upgrade" { "0" } else { "1" };
        same("generation", &grpc::metadata(&response, "generation").as_deref(), &Some(generation))?;
        let id = grpc::metadata(&response, "decision");
        match &response.http_response {
            Some(HttpResponse::DeniedResponse(denial)) => {
                let header = |option: &proto::HeaderValueOption| {
                    let header = option.header.as_ref().unwrap();
                    (String::from_utf8(header.key.to_vec()).unwrap(), header.value.to_vec())
                };
                let headers = denial.headers.iter().map(header).collect();
                let told = denied(expect, &Answer { status: expect.status, headers, body: denial.body.to_vec() }, false)?;
                same("decision in header and metadata", &told, &id)?;
            }
            Some(HttpResponse::OkResponse(ok)) if ok.response_headers_to_add.iter().any(for_the_client) => {
                return Err("the client is told more than it has to know".into());
            }
            _ => {
                let (target, headers) = grpc::forwarded(&asked, &response);
                self.told(case, expect, &Forwarded { target, headers })?;
                same("id in the metadata", &grpc::metadata(&response, "id"), &expect.id)?;
                same("shadow in the metadata", &grpc::metadata(&response, "shadow"), &expect.shadow)?;
            }
        }
        Ok(id)
    }

    /// Envoy's HTTP mode: the request itself under a prefix; headers of the answer overwrite, and some are named for removal.
    async fn envoy(&self, case: &Case, expect: &Expect) -> Result<Option<String>, String> {
        let reply = ask(self.gate.forward_auth(), request(case, Door::Envoy, (&case.method, &format!("/envoy{}", case.target)), &[])).await;
        if expect.status != 200 {
            return denied(expect, &reply.into(), case.method == "HEAD");
        }
        same("status", &reply.status, &200)?;
        let removed = reply.header("x-envoy-auth-headers-to-remove").unwrap_or_default();
        let mut list = headers(case, Door::Envoy);
        for (name, value) in self.identity_of(&reply) {
            list.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            list.push((name, value));
        }
        list.retain(|(name, _)| !removed.split(',').any(|gone| gone.eq_ignore_ascii_case(name)));
        // This mode has no way to set a path: Envoy sends on what it normalised itself.
        let target = bytes(expect.upstream_target.as_deref().unwrap_or(&case.target));
        self.told(case, expect, &Forwarded { target, headers: list })?;
        same("x-scopegate-shadow", &reply.header("x-scopegate-shadow"), &expect.shadow)?;
        Ok(reply.header("x-scopegate-decision"))
    }

    /// nginx, Traefik and Caddy describe the request in headers and copy the identity headers of a 200, empty ones too.
    async fn described(&self, door: Door, case: &Case, expect: &Expect) -> Result<Option<String>, String> {
        let (path, method, target) = match door {
            Door::Nginx => ("/nginx", "x-original-method", "x-original-uri"),
            Door::Traefik => ("/traefik", "x-forwarded-method", "x-forwarded-uri"),
            Door::Caddy | Door::Proxy | Door::Check | Door::CheckRaw | Door::Envoy => ("/caddy", "x-forwarded-method", "x-forwarded-uri"),
        };
        let mut described = vec![(method, &*case.method), (target, &*case.target)];
        if !case.no_host {
            described.push(("x-forwarded-host", &*case.host));
        }
        let reply = ask(self.gate.forward_auth(), request(case, door, ("GET", path), &described)).await;
        if expect.status != 200 {
            return denied(expect, &reply.into(), false);
        }
        same("status", &reply.status, &200)?;
        let mut told: BTreeMap<String, String> = self.identity(expect);
        for name in ["x-scopegate-id", "x-scopegate-credential", "x-scopegate-scopes", "x-scopegate-tenant", "x-scopegate-roles"] {
            told.entry(name.into()).or_default();
        }
        let ours = |name: &str| name.starts_with("x-scopegate-") || self.configured(name);
        for (name, text) in told.iter().filter(|(name, _)| ours(name)) {
            same(name, &reply.header(name).as_ref(), &Some(text))?;
        }
        for name in expect.absent.iter().filter(|name| ours(name)) {
            same(name, &reply.header(name).as_deref(), &Some(""))?;
        }
        same("x-scopegate-shadow", &reply.header("x-scopegate-shadow"), &expect.shadow)?;
        self.left(case, expect, &reply)?;
        Ok(reply.header("x-scopegate-decision"))
    }

    /// What is for the proxy to put in the place of what came: the cookies and the target without their credentials.
    fn left(&self, case: &Case, expect: &Expect, reply: &Reply) -> Result<(), String> {
        let query = |target: &str| target.split_once('?').map(|(_, query)| query.to_owned());
        if let Some(left) = expect.upstream_target.as_ref().filter(|left| query(left) != query(&case.target)) {
            same("x-scopegate-target", &reply.header("x-scopegate-target").as_ref(), &Some(left))?;
        }
        if let Some(left) = expect.upstream.get("cookie") {
            same("cookie", &reply.header("cookie").as_ref(), &Some(left))?;
        }
        if expect.absent.iter().any(|name| name == "cookie") {
            same("cookie", &reply.header("cookie").as_deref(), &Some(""))?;
        }
        Ok(())
    }

    /// As Envoy writes it into a check.
    fn peer(&self, peer: &Peer) -> proto::attribute_context::Peer {
        let keys = &self.world.keys;
        let text = peer.certificate.strip_prefix("text:").map(|text| text.as_bytes().to_vec());
        let pem = text.or_else(|| (!peer.certificate.is_empty()).then(|| keys.files[&format!("{}.crt", peer.certificate)].clone()));
        let escaped = pem
            .unwrap_or_default()
            .into_iter()
            .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") });
        let certificate = escaped.collect::<String>().into();
        proto::attribute_context::Peer { principal: peer.principal.clone().into(), certificate, address: None }
    }

    /// Whether the file's `forward.headers` has the name.
    fn configured(&self, name: &str) -> bool {
        self.file.policy.to_ascii_lowercase().contains(&format!("{name}: "))
    }

    /// The identity headers that the upstream must get, and no others under the gate's prefix.
    fn identity(&self, expect: &Expect) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        if let Some(id) = &expect.id {
            told.insert("x-scopegate-id".to_owned(), id.clone());
            told.insert("x-scopegate-credential".to_owned(), expect.by.clone());
            let scopes = expect.scopes.clone().or_else(|| self.file.scopes_of(id)).unwrap_or_default();
            told.insert("x-scopegate-scopes".to_owned(), scopes);
        }
        told.extend(expect.upstream.iter().map(|(name, value)| (name.clone(), value.clone())));
        told
    }

    fn identity_of(&self, reply: &Reply) -> Vec<Header> {
        let for_the_proxy = ["x-scopegate-decision", "x-scopegate-target", "x-scopegate-shadow"];
        let ours = |name: &str| (name.starts_with("x-scopegate-") && !for_the_proxy.contains(&name)) || self.configured(name) || name == "cookie";
        reply.headers.iter().filter(|(name, _)| ours(name)).cloned().collect()
    }

    fn told(&self, case: &Case, expect: &Expect, forwarded: &Forwarded) -> Result<(), String> {
        let target = bytes(expect.upstream_target.as_deref().unwrap_or(&case.target));
        same("target at the upstream", &String::from_utf8_lossy(&forwarded.target), &String::from_utf8_lossy(&target))?;
        let told = self.identity(expect);
        for (name, text) in &told {
            // An empty value is no value to an upstream.
            same(name, &value(&forwarded.headers, name).as_ref(), &Some(text).filter(|text| !text.is_empty()))?;
        }
        for (name, _) in &forwarded.headers {
            let folded = name.to_ascii_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
            let told_by_us = told.contains_key(&name.to_ascii_lowercase());
            if (folded.starts_with("x-scopegate-") && !told_by_us) || expect.absent.contains(&folded) {
                return Err(format!("the upstream gets `{name}`"));
            }
        }
        let leaks = |token: &String| forwarded.headers.iter().any(|(_, value)| String::from_utf8_lossy(value).contains(&**token));
        same("a credential at the upstream", &self.file.clear_tokens().values().chain(&case.shown).any(leaks), &expect.forwards)
    }
}

fn denied(expect: &Expect, answer: &Answer, to_head: bool) -> Result<Option<String>, String> {
    let told = contract::told(expect);
    let header = |name: &str| value(&answer.headers, name);
    same("reason", &header("x-scopegate-reason").as_deref(), &Some(&*expect.reason))?;
    same("status", &answer.status, &expect.status)?;
    if ![told.status, 403].contains(&expect.status) {
        return Err(format!("the contract has {} for {}", told.status, expect.reason));
    }
    same("body", &String::from_utf8_lossy(&answer.body), &(if to_head { "" } else { &told.body }).into())?;
    same("challenge", &header("www-authenticate"), &told.challenge)?;
    same("content-type", &header("content-type").as_deref(), &Some("application/json"))?;
    same("cache-control", &header("cache-control").as_deref(), &Some("no-store"))?;
    let id = header("x-scopegate-decision");
    if id.as_ref().is_none_or(|id| id.len() != 16) {
        return Err(format!("decision is {id:?}"));
    }
    Ok(id)
}

/// Whether an answer that goes through is given a header of the gate's.
fn for_the_client(option: &proto::HeaderValueOption) -> bool {
    option.header.as_ref().is_some_and(|header| header.key.starts_with(b"x-scopegate-"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}

fn headers(case: &Case, door: Door) -> Vec<Header> {
    case.headers_at(door).into_iter().map(|(name, value)| (name, bytes(&value))).collect()
}

/// The bytes of an HTTP/1.1 request; `described` are headers about another one, which then has the host.
fn request(case: &Case, door: Door, (method, target): (&str, &str), described: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !described.is_empty() {
        head.push_str("host: gate.test\r\n");
    } else if !case.no_host {
        head.push_str(&format!("host: {}\r\n", case.host));
    }
    let own = case.headers_at(door);
    for (name, value) in described.iter().map(|(name, value)| (*name, *value)).chain(own.iter().map(|(name, value)| (&**name, &**value))) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // A sub-request of nginx has no body.
    let body = case.body.as_deref().filter(|_| !target.starts_with("/nginx") || described.is_empty());
    if let Some(body) = body {
        head.push_str(&format!("content-length: {}\r\n", body.chars().count()));
    }
    bytes(&format!("{head}\r\n{}", body.unwrap_or_default()))
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { status: reply.status, headers: reply.headers, body: reply.body }
    }
}
