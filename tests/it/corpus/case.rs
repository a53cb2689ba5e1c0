//! A corpus file: one policy, its tokens, and cases. In `target`, `host`, header values and `body`, a character up to U+00FF stands
//! for the byte of that number, so that a case can say any bytes.
//! `{key:NAME}`, `{previous:NAME}` and `{factor:NAME}` stand for what the file's `book` says.
//! A case with a `jwt` presents that token as a bearer, or wherever its header values or its target say `{jwt}`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::book::Book;
use super::doors::Door;
use super::mint::{Mint, Pen};
use super::outside::World;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(skip)]
    pub name: String,
    /// YAML; listen addresses, upstream and the token source are added.
    pub policy: String,
    /// JSON.
    pub tokens: String,
    /// Tokens of entries that have only their digest.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Whether the answers depend on bodies, which nginx never shows.
    #[serde(default)]
    pub inspects: bool,
    /// What is in the store.
    pub book: Option<Book>,
    /// Tokens that cases differ from.
    #[serde(default)]
    good: BTreeMap<String, Mint>,
    pub cases: Vec<Case>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default = "get")]
    pub method: String,
    pub target: String,
    #[serde(default = "host")]
    pub host: String,
    #[serde(default)]
    pub no_host: bool,
    /// Entry whose token goes into `Authorization: Bearer`.
    #[serde(rename = "as")]
    pub caller: Option<String>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    jwt: Option<Mint>,
    /// A second one, `{jwt2}`.
    jwt2: Option<Mint>,
    /// Whether the request opens a WebSocket.
    #[serde(default)]
    websocket: bool,
    /// What Envoy tells of the client's certificate; no other door is told.
    pub peer: Option<Peer>,
    /// Decided before a body is looked at, whatever the file says.
    #[serde(default)]
    before_body: bool,
    pub expect: Expect,
    #[serde(default)]
    skip: Vec<Skip>,
    #[serde(default)]
    differs: Vec<Differs>,
    /// Every token that the request shows, once it is made.
    #[serde(skip)]
    pub shown: Vec<String>,
    #[serde(skip)]
    pub inspects: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    pub principal: String,
    /// `ec` for that key's certificate, or `text:…`.
    pub certificate: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub status: u16,
    #[serde(default = "allowed")]
    pub reason: String,
    /// What an allowed request would be denied for, where it passes in shadow.
    pub shadow: Option<String>,
    /// Space-delimited scopes of an `insufficient_scope`.
    pub missing: Option<String>,
    /// The same where one of them would do.
    pub missing_any: Option<String>,
    /// Of a `step_up`.
    pub max_age: Option<u32>,
    /// `x-scopegate-id` that the upstream is told; none on a public route.
    pub id: Option<String>,
    /// The source that it comes from.
    #[serde(default = "tokens")]
    pub by: String,
    /// What the caller holds, where no token file says it.
    pub scopes: Option<String>,
    /// What the operator is told of a refused credential.
    pub cause: Option<String>,
    /// Further headers that the upstream gets.
    #[serde(default)]
    pub upstream: BTreeMap<String, String>,
    /// Headers that the upstream must not get, in any spelling.
    #[serde(default)]
    pub absent: Vec<String>,
    /// What is forwarded where it is not the target as sent.
    pub upstream_target: Option<String>,
    /// The upstream sees the credential.
    #[serde(default)]
    pub forwards: bool,
}

/// Doors at which the case cannot be put, and why not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    doors: Vec<Door>,
    why: String,
}

/// Doors whose own protocol makes another answer of the same request, and why. With 200, `reason` is what would be the denial's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differs {
    doors: Vec<Door>,
    status: u16,
    reason: String,
    why: String,
}

fn get() -> String {
    "GET".into()
}

fn host() -> String {
    "app.test".into()
}

fn allowed() -> String {
    "allowed".into()
}

fn tokens() -> String {
    "tokens".into()
}

/// As the proxy in front leaves it out where it asks over HTTP: there the key alone tells of a WebSocket.
const UPGRADE: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "websocket")];
const HANDSHAKE: [(&str, &str); 2] = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")];

impl File {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut file: Self = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let (clear, inspects) = (file.clear_tokens(), file.inspects);
        for case in &mut file.cases {
            case.inspects = inspects && !case.before_body;
            if let Some(id) = &case.caller {
                let token = clear.get(id).unwrap_or_else(|| panic!("{}: {}: no token of {id}", file.name, case.name)).clone();
                case.headers.insert(0, ("authorization".into(), format!("Bearer {token}")));
            }
            let reasons = case.skip.iter().map(|skip| &skip.why).chain(case.differs.iter().map(|differs| &differs.why));
            assert!(reasons.into_iter().all(|why| !why.is_empty()), "{}: why?", case.name);
        }
        file
    }

    /// Whether any of its tokens is made.
    pub fn mints(&self) -> bool {
        self.cases.iter().any(|case| case.jwt.is_some())
    }

    /// Every token that a case may present, by entry.
    pub fn clear_tokens(&self) -> BTreeMap<String, String> {
        let entries: Vec<serde_json::Value> = serde_json::from_str(&self.tokens).unwrap();
        let clear = entries.iter().filter_map(|entry| Some((entry["id"].as_str()?.to_owned(), entry["token"].as_str()?.to_owned())));
        clear.chain(self.secrets.clone()).collect()
    }

    pub fn scopes_of(&self, id: &str) -> Option<String> {
        let entries: Vec<serde_json::Value> = serde_json::from_str(&self.tokens).unwrap();
        let entry = entries.into_iter().find(|entry| entry["id"] == id)?;
        let scopes = entry["scopes"].as_array()?.iter().filter_map(|scope| scope.as_str());
        Some(scopes.collect::<Vec<_>>().join(" "))
    }
}

impl Case {
    pub fn skips(&self, door: Door) -> bool {
        let untold = self.peer.is_some() && !matches!(door, Door::Check | Door::CheckRaw);
        untold || self.skip.iter().any(|skip| skip.doors.contains(&door))
    }

    /// The case with its tokens made, at `now`.
    pub fn made(&self, file: &File, world: &World, now: i64) -> Self {
        let mut case = self.clone();
        let pen = Pen { world, now };
        for (mark, mint) in [("{jwt}", &self.jwt), ("{jwt2}", &self.jwt2)] {
            let Some(mint) = mint else { continue };
            let token = mint.token(&file.good, world, now);
            let values = |case: &Self| case.headers.iter().any(|(_, value)| value.contains(mark)) || case.target.contains(mark);
            if !values(&case) {
                case.headers.insert(0, ("authorization".into(), format!("Bearer {mark}")));
            }
            let headers = case.headers.iter_mut().map(|(_, value)| value);
            let told = case.expect.upstream.values_mut().chain(&mut case.expect.upstream_target).chain(&mut case.expect.id);
            for text in headers.chain(told).chain([&mut case.target]) {
                *text = pen.text(&text.replace(mark, &token));
            }
            case.shown.push(token);
        }
        if let Some(book) = &file.book {
            let told = case.headers.iter_mut().map(|(_, value)| value).chain([&mut case.target]);
            case.shown.extend(told.flat_map(|text| book.put_into(text, now)).collect::<Vec<_>>());
        }
        case
    }

    /// As a door gets them.
    pub fn headers_at(&self, door: Door) -> Vec<(String, String)> {
        let upgrade = UPGRADE.into_iter().filter(|_| !matches!(door, Door::Envoy | Door::Nginx | Door::Traefik | Door::Caddy));
        let opening = upgrade.chain(HANDSHAKE).filter(|_| self.websocket).map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.headers.iter().cloned().chain(opening).collect()
    }

    /// What this door must answer.
    pub fn expected(&self, door: Door) -> Expect {
        let mut expect = self.expect.clone();
        if let Some(differs) = self.differs.iter().find(|differs| differs.doors.contains(&door)) {
            (expect.status, expect.reason) = (differs.status, differs.reason.clone());
            (expect.missing, expect.missing_any) = (None, None);
            if expect.status == 200 && expect.reason != "allowed" {
                expect.shadow = Some(std::mem::replace(&mut expect.reason, allowed()));
            }
            return expect;
        }
        if door == Door::Nginx {
            if self.inspects && self.body.is_some() && ["allowed", "insufficient_scope", "unknown_tool", "invalid_body"].contains(&&*expect.reason) {
                // A sub-request of nginx has no body to inspect.
                (expect.status, expect.reason) = (400, "partial_body".into());
                (expect.missing, expect.missing_any) = (None, None);
            }
            if ![200, 401].contains(&expect.status) {
                expect.status = 403;
            }
        }
        expect
    }

    pub fn reason_at(&self, door: Door) -> &str {
        if door == Door::Nginx && self.expected(door).reason == "partial_body" {
            return "partial_body";
        }
        let own = self.expect.shadow.as_ref().unwrap_or(&self.expect.reason);
        self.differs.iter().find(|differs| differs.doors.contains(&door)).map_or(own, |differs| &differs.reason)
    }

    /// The `outcome` of the audit line.
    pub fn outcome_at(&self, door: Door) -> &'static str {
        let expect = self.expected(door);
        match (expect.status, expect.shadow) {
            (200, Some(_)) => "shadow",
            (200, None) => "allow",
            (_, _) => "deny",
        }
    }
}

/// The bytes that a text of the corpus stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap_or_else(|_| panic!("{char:?} is no byte"))).collect()
}
