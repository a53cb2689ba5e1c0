//! The kinds of credential that carry no claims of their own: token files, one webhook token, certificates; and tokens that only their issuer can read.
//! Refuses a token that could be guessed and an identity that says nothing.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Desk, Listed, Way, jwt, secret};
use crate::config::quantity;
use crate::config::tokens::{self, Context, MAX_FILE};
use crate::config::tree::Node;
use crate::credential::key_format::{self, Format};
use crate::introspection;
use crate::principal::Introspected;
use crate::principal::certificate::{Identity, Name};
use crate::principal::grant::Grant;
use crate::principal::roles::Roles;
use crate::principal::roster::{Roster, Secret, Window};
use crate::scope::{ScopeSet, ScopeSets, Universe};

/// How long an answer of the issuer counts, and how long a request waits for it.
const CACHE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_millis(100);
/// Longer answers would outlive a revocation (RFC 7662 §4).
const MAX_CACHE: Duration = Duration::from_secs(300);

pub fn file(desk: &mut Desk<'_>) -> Option<Way> {
    let Some(file) = desk.text("file").map(str::to_owned) else {
        desk.fault(None, "has no `file`; name its token file");
        return None;
    };
    let max_size = desk.text("max_size").and_then(quantity::size).unwrap_or(MAX_FILE);
    Some(Way::File { path: desk.path(&file), max_size })
}

pub fn webhook(desk: &mut Desk<'_>) -> Option<Way> {
    let said = secret::text(desk, desk.node, "token").ok()?;
    let token = Zeroizing::new(said.as_deref().map_or("", |text| without_scheme(text)).to_owned());
    if token.is_empty() {
        desk.fault(None, "has no token; set `token` or `token_file`, with or without the leading `Bearer `");
        return None;
    }
    if let Some(fault) = tokens::token_fault(&token) {
        desk.fault(desk.node.get("token"), fault);
        return None;
    }
    let scopes = desk.scopes(desk.node);
    Some(Way::Token(Listed { id: desk.name.to_owned(), token, scopes, roles: Vec::new(), tenant: None, restricted: false }))
}

fn without_scheme(text: &str) -> &str {
    match text.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") && (rest.is_empty() || rest.starts_with(' ')) => rest.trim_start_matches(' '),
        Some(_) | None => text,
    }
}

/// A roster of one.
pub fn roster(listed: &Listed, context: Context<'_>) -> Roster {
    let Context { key, universe, roles, .. } = context;
    let mut roster = Roster::new(key, ScopeSets::new(universe.clone()), 1);
    let (role_set, granted) = roles.assign(listed.roles.clone());
    let scopes = roster.sets().intern_with_roles(listed.scopes.clone(), granted);
    let entry = roster.add(&listed.id, scopes, role_set, listed.tenant.as_deref());
    if listed.restricted {
        roster.restrict(entry);
    }
    // A fresh roster holds no other secret to clash with.
    let _ = roster.add_secret(entry, Secret::Clear(&listed.token), Window::default());
    roster
}

pub fn api_key(desk: &mut Desk<'_>) -> Way {
    let format = desk.text("format").and_then(Format::parse).unwrap_or(Format::Scopegate);
    let environment = desk.text("environment").unwrap_or("live").to_owned();
    if !key_format::is_environment(&environment) {
        desk.fault(desk.node.get("environment"), "has an odd `environment`; it is up to 16 lower-case letters and digits, such as `live`");
    }
    if let (Some(node), Format::Uuid) = (desk.node.get("environment"), format) {
        desk.fault(Some(node), "has an `environment`, and keys of `format: uuid` have no place for it; remove it");
    }
    Way::Managed { format, environment }
}

pub fn mtls(desk: &mut Desk<'_>) -> Way {
    let mut identities = Vec::new();
    let list = desk.node.get("identities").map(Node::items).unwrap_or_default();
    if list.is_empty() {
        desk.fault(None, "has no `identities`; name one such as `{spiffe: spiffe://cluster.local/ns/a/sa/b, id: b, scopes: [orders:read]}`");
    }
    for node in list {
        let text = |key: &str| node.get(key).and_then(Node::text).filter(|text| !text.is_empty());
        let names: Vec<Name> = [
            text("spiffe").map(|uri| Name::Spiffe(uri.into())),
            text("dns").map(|name| Name::Dns(name.into())),
            text("subject").map(|name| Name::Subject(name.into())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let [name] = names.as_slice() else {
            desk.fault(Some(node), "has an identity that is not told by one of `spiffe`, `dns` and `subject`; say which one of them");
            continue;
        };
        if matches!(name, Name::Spiffe(uri) if !uri.contains("://")) {
            desk.fault(Some(node), "has an identity whose `spiffe` is no URI such as `spiffe://cluster.local/ns/a/sa/b`");
        }
        let Some(id) = text("id").map(str::to_owned) else {
            desk.fault(Some(node), "has an identity without an `id`; give it one");
            continue;
        };
        let roles = node.get("roles").map(Node::items).unwrap_or_default().iter().filter_map(Node::text).map(str::to_owned).collect();
        let scopes = desk.scopes(node);
        identities.push((
            name.clone(),
            Listed { id, token: Zeroizing::default(), scopes, roles, tenant: text("tenant").map(str::to_owned), restricted: false },
        ));
    }
    Way::Certificates(identities)
}

pub fn identity(name: Name, listed: Listed, universe: &Universe, roles: &mut Roles) -> Identity {
    let (roles, granted) = roles.assign(listed.roles);
    let scopes = ScopeSet::with_roles(listed.scopes, granted, universe);
    Identity { name, id: listed.id.into(), scopes, roles, tenant: listed.tenant.map(String::into_boxed_str) }
}

pub fn introspection(desk: &mut Desk<'_>) -> Option<Way> {
    let url = match desk.node.get("url") {
        Some(node) => jwt::url(desk, node, "url"),
        None => {
            desk.fault(None, "has no `url`; it is the issuer's introspection endpoint (RFC 7662)");
            None
        }
    };
    let client_id = desk.text("client_id").map(str::to_owned);
    let client_secret = secret::text(desk, desk.node, "client_secret");
    let has_none = client_secret.as_ref().is_ok_and(|secret| secret.as_ref().is_none_or(|secret| secret.is_empty()));
    if client_id.is_none() || has_none {
        desk.fault(None, "has no `client_id` or no `client_secret`; RFC 7662 §2.1 lets nobody else ask");
    }
    let duration = |key: &str| desk.text(key).and_then(quantity::duration);
    let (cache, timeout) = (duration("cache").unwrap_or(CACHE), duration("timeout").unwrap_or(TIMEOUT));
    if cache > MAX_CACHE {
        desk.fault(desk.node.get("cache"), "has a `cache` of over five minutes, in which a revoked token would go on; lower it");
    }
    let issuer = introspection::Settings { url: url?, client_id: client_id?, client_secret: client_secret.ok()??.to_string(), cache, timeout };
    let rules = Introspected {
        issuer: desk.text("issuer").map(Box::from),
        audiences: desk.texts("audiences").into_iter().map(String::into_boxed_str).collect(),
        grant: jwt::grant(desk, Grant { id: crate::principal::grant::paths(&["sub", "username", "client_id"]), ..Grant::default() }),
    };
    Some(Way::Introspection { issuer, rules })
}
