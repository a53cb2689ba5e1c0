//! What a route needs, in the terms of the judge: interned scopes, role names, sources.
//! An operator's text becomes one of these in `config`, and nowhere else.

use hashbrown::HashMap;

use super::cors::Preflights;
use crate::principal::SourceId;
use crate::principal::record::Rate;
use crate::request::path::Oddities;
use crate::scope::ScopeId;

/// A rule's number in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(pub usize);

#[derive(Debug)]
pub struct Rule {
    /// The pattern as the operator wrote it, or `default`.
    pub name: Box<str>,
    pub access: Access,
    pub allow_paths: Oddities,
    pub preflight: Preflights,
    /// Whether a query parameter may be a credential on any request, and not on the opening of a WebSocket alone.
    pub query_credentials: bool,
    /// Whether a WebSocket may be opened.
    pub websocket: bool,
    pub rate_limit: Option<RateLimit>,
    pub mode: Mode,
}

/// What becomes of a request that would be denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Enforce,
    /// It is recorded, and passes.
    Shadow,
}

/// At most so many requests, and who shares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub rate: Rate,
    pub per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Principal,
    Tenant,
    Ip,
    Route,
}

impl Per {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Tenant => "tenant",
            Self::Ip => "ip",
            Self::Route => "route",
        }
    }
}

impl Rule {
    /// With nothing beside `access`.
    pub fn new(name: &str, access: Access) -> Self {
        Self {
            name: name.into(),
            access,
            allow_paths: Oddities::default(),
            preflight: Preflights::default(),
            query_credentials: false,
            websocket: true,
            rate_limit: None,
            mode: Mode::Enforce,
        }
    }
}

#[derive(Debug)]
pub enum Access {
    /// No credential is evaluated.
    Public,
    Deny,
    /// A caller, and all that is named here.
    Needs(Needs),
}

#[derive(Debug, Default)]
pub struct Needs {
    pub all: Box<[ScopeId]>,
    /// One of these, where there are any.
    pub any: Box<[ScopeId]>,
    /// One of these, where there are any.
    pub roles: Box<[Box<str>]>,
    /// Only these sources, where there are any.
    pub credentials: Box<[SourceId]>,
    pub tools: Option<Tools>,
    /// Seconds since which the caller must have shown a second factor.
    pub mfa: Option<u32>,
}

/// JSON-RPC `tools/call` by `params.name`.
#[derive(Debug)]
pub struct Tools {
    pub scopes: HashMap<Box<str>, Box<[ScopeId]>>,
    /// Longest body that is inspected, in bytes.
    pub max_body: usize,
}
