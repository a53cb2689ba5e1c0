//! `kind: backstage` into its ways of proof: the shared-secret tokens, those of other plugins, and Backstage's own `externalAccess`.
//! Refuses keys that are the same once decoded, and restrictions that it does not know.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Desk, Keying, Listed, Way, jwt, secret};
use crate::config::tree::Node;
use crate::jose::{Algorithm, Jwk, Key, KeySet};
use crate::keys::Where;
use crate::principal::backstage::{GOOD_SECRET, decode_secret};
use crate::principal::grant::{Grant, paths};
use crate::principal::jwt::{BACKSTAGE_SUB, Preset, Rules};
use crate::scope::Scope;

/// The lifetime that Backstage gives its tokens, in seconds.
const LIFETIME: i64 = 3600;
/// Shortest static token that Backstage takes; here it is that of every static token.
const LEEWAY: i64 = 60;

pub fn backstage(desk: &mut Desk<'_>) -> Vec<Way> {
    let scopes = desk.scopes(desk.node);
    if desk.node.get("noop").is_some_and(Node::is_true) {
        return noop(desk, scopes);
    }
    let lifetime = desk.seconds("max_lifetime").unwrap_or(LIFETIME);
    let mut ways = shared(desk, lifetime, &scopes);
    ways.extend(plugins(desk, &scopes));
    for node in desk.node.get("external_access").map(Node::items).unwrap_or_default() {
        ways.extend(external(desk, node, &scopes));
    }
    if ways.is_empty() && desk.faults.is_empty() {
        desk.fault(None, "has no `keys`; set at least one `{secret: ${BACKEND_SECRET}}` for production, or `plugins`, or `external_access`");
    }
    ways
}

fn noop(desk: &mut Desk<'_>, scopes: Vec<Scope>) -> Vec<Way> {
    if !super::is_development(desk.env) {
        desk.fault(desk.node.get("noop"), "has `noop: true`, which lets everybody in; it counts in development mode only");
        return Vec::new();
    }
    desk.warn("has `noop: true`: EVERY request passes for Backstage's; unset SCOPEGATE_DEV_MODE in production");
    let id = BACKSTAGE_SUB.to_owned();
    vec![Way::Noop(Listed { id, token: Zeroizing::default(), scopes, roles: Vec::new(), tenant: None, restricted: false })]
}

fn rules(algorithms: Box<[Algorithm]>, preset: Preset) -> Rules {
    Rules { algorithms, typ: None, issuer: None, audiences: Box::default(), leeway: LEEWAY, max_lifetime: None, preset }
}

fn legacy(keys: Vec<Key>, names: Vec<Option<Box<str>>>, lifetime: i64, scopes: &[Scope]) -> Way {
    let keys = keys.into_iter().map(|key| Jwk { kid: None, alg: None, key }).collect();
    // Backstage itself allows clocks no difference here.
    let rules = Rules { leeway: 0, max_lifetime: Some(lifetime), ..rules(Box::new([Algorithm::Hs256]), Preset::BackstageServer) };
    let grant = Grant { names: names.into(), ..granting(scopes) };
    Way::Signed { rules, keys: Keying::Fixed(Arc::new(KeySet::of(keys))), grant }
}

/// A token of Backstage's says who calls, and nothing of what that caller may do.
fn granting(scopes: &[Scope]) -> Grant {
    let none = || paths(&[]);
    Grant { scopes: none(), tenant: none(), roles: none(), granted: scopes.into(), ..Grant::default() }
}

/// Each key is tried, so that there may be no more than are tried.
const MAX_KEYS: usize = 8;

fn shared(desk: &mut Desk<'_>, lifetime: i64, scopes: &[Scope]) -> Vec<Way> {
    let list = desk.node.get("keys").map(Node::items).unwrap_or_default();
    let mut secrets: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    let mut names = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let Some(bytes) = key(desk, node, index) else { continue };
        if let Some(first) = secrets.iter().position(|known| *known == bytes) {
            desk.fault(Some(node), &format!("has keys {} and {} that are the same bytes once base64 is decoded; make another", first + 1, index + 1));
        }
        secrets.push(bytes);
        names.push(node.get("id").and_then(Node::text).map(Box::from));
    }
    if list.len() > MAX_KEYS {
        desk.fault(
            desk.node.get("keys"),
            &format!("has {} keys; each would be tried on every unknown token, so that {MAX_KEYS} are the most", list.len()),
        );
    }
    let nothing = ["keys", "plugins", "external_access"].iter().all(|key| desk.node.get(key).is_none());
    if nothing && super::is_development(desk.env) {
        let mut random = Zeroizing::new(vec![0; 32]);
        if getrandom::fill(&mut random).is_ok() {
            desk.warn("has no keys and got a TEMPORARY one, for development only: tokens of other processes will not pass");
            return vec![legacy(vec![Key::hmac(&random)], Vec::new(), lifetime, scopes)];
        }
    }
    if secrets.is_empty() {
        return Vec::new();
    }
    vec![legacy(secrets.iter().map(|bytes| Key::hmac(bytes)).collect(), names, lifetime, scopes)]
}

fn key(desk: &mut Desk<'_>, node: &Node, index: usize) -> Option<Zeroizing<Vec<u8>>> {
    let Some(text) = secret::text(desk, node, "secret").ok()?.filter(|text| !text.is_empty()) else {
        desk.fault(Some(node), &format!("has no `secret` in key {}; set `secret` or `secret_file`, base64", index + 1));
        return None;
    };
    decoded(desk, node, &text, &format!("key {}", index + 1))
}

fn decoded(desk: &mut Desk<'_>, node: &Node, text: &str, what: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (bytes, dangling) = match decode_secret(text) {
        Ok(decoded) => decoded,
        Err(_) => {
            desk.fault(Some(node), &format!("has a {what} that is not base64; `openssl rand -base64 32` makes one"));
            return None;
        }
    };
    if bytes.is_empty() {
        desk.fault(Some(node), &format!("has a {what} of no bytes; `openssl rand -base64 32` makes one"));
        return None;
    }
    if dangling {
        desk.warn(&format!("has a {what} whose last character counts for nothing, as in Node; it is not whole base64"));
    }
    if bytes.len() < GOOD_SECRET {
        desk.warn(&format!(
            "has a {what} of {} bytes, which can be guessed; Backstage's manual makes {GOOD_SECRET}, RFC 7518 §3.2 asks for 32",
            bytes.len()
        ));
    }
    Some(bytes)
}

fn plugins(desk: &mut Desk<'_>, scopes: &[Scope]) -> Vec<Way> {
    let ours = desk.text("plugin").map(str::to_owned);
    let mut ways = Vec::new();
    for (name, node) in desk.node.get("plugins").map(Node::entries).unwrap_or_default() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if name.text.is_empty() || !name.text.bytes().all(plain) {
            desk.fault(Some(node), &format!("has plugin `{}`; an id is lower case letters, digits, `-` and `_`", name.text.escape_debug()));
            continue;
        }
        let Some(ours) = &ours else {
            desk.fault(
                desk.node.get("plugins"),
                "has `plugins` and no `plugin`; name the plugin behind this gate, to which their tokens must be addressed",
            );
            break;
        };
        let base = node.text().unwrap_or_default().trim_end_matches('/');
        let place = Node { value: crate::config::tree::Value::Text(format!("{base}/.backstage/auth/v1/jwks.json")), ..node.clone() };
        let Some(url) = jwt::url(desk, &place, &format!("plugins.{}", name.text)) else { continue };
        let preset = Preset::BackstagePlugin { subject: name.text.as_str().into() };
        let rules = Rules {
            typ: Some("vnd.backstage.plugin".into()),
            audiences: Box::new([ours.as_str().into()]),
            max_lifetime: Some(LIFETIME),
            ..rules(Box::new([Algorithm::Es256]), preset)
        };
        let grant = Grant { prefix: "plugin:".into(), ..granting(scopes) };
        ways.push(Way::Signed { rules, keys: Keying::Remote(Where::Jwks(url)), grant });
    }
    ways
}

/// One entry of `externalAccess`, in Backstage's own words.
fn external(desk: &mut Desk<'_>, node: &Node, scopes: &[Scope]) -> Option<Way> {
    let options = node.get("options").unwrap_or(node);
    let (scopes, restricted) = restrictions(desk, node, scopes);
    let subject = options.get("subject").and_then(Node::text).filter(|text| is_word(text)).map(str::to_owned);
    let kind = node.get("type").and_then(Node::text).unwrap_or_default();
    if subject.is_none() && kind != "jwks" {
        desk.fault(Some(options), "has an external access without a `subject`; it is one word such as `ci`");
        return None;
    }
    match kind {
        "static" => {
            let token = secret::text(desk, options, "token").ok()?.unwrap_or_default();
            if let Some(fault) = crate::config::tokens::token_fault(&token) {
                desk.fault(Some(options), fault);
                return None;
            }
            let id = subject.unwrap_or_default();
            Some(Way::Token(Listed { id, token, scopes, roles: Vec::new(), tenant: None, restricted }))
        }
        "legacy" => {
            let text = secret::text(desk, options, "secret").ok()?.filter(|text| is_word(text));
            let Some(text) = text else {
                desk.fault(Some(options), "has a legacy access without a `secret`; it is base64");
                return None;
            };
            let bytes = decoded(desk, options, &text, "legacy secret")?;
            let way = legacy(vec![Key::hmac(&bytes)], vec![subject.map(String::into_boxed_str)], LIFETIME, &scopes);
            Some(with_restriction(way, restricted))
        }
        _ => published(desk, options, &scopes).map(|way| with_restriction(way, restricted)),
    }
}

fn with_restriction(way: Way, restricted: bool) -> Way {
    match way {
        Way::Signed { rules, keys, grant } => Way::Signed { rules, keys, grant: Grant { restricted, ..grant } },
        other @ (Way::File { .. }
        | Way::Development
        | Way::Token(_)
        | Way::Certificates(_)
        | Way::Introspection { .. }
        | Way::Managed { .. }
        | Way::Noop(_)) => other,
    }
}

fn published(desk: &mut Desk<'_>, options: &Node, scopes: &[Scope]) -> Option<Way> {
    let texts = |key: &str| -> Vec<&str> {
        let items = options.get(key).map(Node::items).unwrap_or_default().iter().filter_map(Node::text);
        items.flat_map(|text| text.split([',', ' '])).filter(|text| !text.is_empty()).collect()
    };
    let Some(node) = options.get("url") else {
        desk.fault(Some(options), "has a jwks access without a `url`; it is that of the key set");
        return None;
    };
    let url = jwt::url(desk, node, "external_access.url")?;
    let algorithms: Vec<Algorithm> = texts("algorithm").into_iter().filter_map(Algorithm::parse).filter(|algorithm| !algorithm.is_hmac()).collect();
    if algorithms.is_empty() || algorithms.len() != texts("algorithm").len() {
        desk.fault(Some(options), "has a jwks access without a usable `algorithm`; name those of its issuer, such as `RS256`");
    }
    let issuers = texts("issuer");
    if issuers.len() > 1 {
        desk.fault(Some(options), "has a jwks access with several issuers; write one access each");
    }
    let prefix = options.get("subjectPrefix").and_then(Node::text);
    let rules = Rules {
        issuer: issuers.first().map(|issuer| Box::from(*issuer)),
        audiences: texts("audience").into_iter().map(Box::from).collect(),
        ..rules(algorithms.into(), Preset::BackstageExternal)
    };
    let prefix = prefix.map_or_else(|| "external:".to_owned(), |prefix| format!("external:{prefix}:"));
    let grant = Grant { prefix: prefix.into(), ..granting(scopes) };
    Some(Way::Signed { rules, keys: Keying::Remote(Where::Jwks(url)), grant })
}

/// What `accessRestrictions` leave: the scopes, and whether the plugin behind this gate is not among them. A restriction to permissions
/// leaves those permissions as scopes, one to an action leaves `plugin:action`.
fn restrictions(desk: &mut Desk<'_>, node: &Node, scopes: &[Scope]) -> (Vec<Scope>, bool) {
    let Some(list) = node.get("accessRestrictions") else { return (scopes.to_vec(), false) };
    let ours = desk.text("plugin").map(str::to_owned);
    if ours.is_none() {
        desk.fault(Some(list), "has `accessRestrictions` and no `plugin`; name the plugin behind this gate");
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut left = None;
    for item in list.items() {
        let plugin = item.get("plugin").and_then(Node::text).unwrap_or_default();
        if plugin.is_empty() || seen.contains(&plugin) {
            desk.fault(Some(item), "has an access restriction without a `plugin`, or the second one for it; there is one each");
        }
        seen.push(plugin);
        let actions = words(item.get("permissionAttribute").and_then(|attribute| attribute.get("action")));
        if actions.iter().any(|action| !["create", "read", "update", "delete"].contains(&action.as_str())) {
            desk.fault(Some(item), "has an access restriction with another `action` than `create`, `read`, `update` and `delete`");
        }
        if ours.as_deref() != Some(plugin) {
            continue;
        }
        let mut narrowed = words(item.get("permission"));
        narrowed.extend(actions.iter().map(|action| format!("{plugin}:{action}")));
        let parsed = narrowed.iter().filter_map(|text| Scope::parse(text).ok()).collect();
        left = Some(if narrowed.is_empty() { scopes.to_vec() } else { parsed });
    }
    let restricted = left.is_none();
    (left.unwrap_or_default(), restricted)
}

/// A list, or one text with commas or spaces between its words.
fn words(node: Option<&Node>) -> Vec<String> {
    let items = node.map(Node::items).unwrap_or_default().iter().filter_map(Node::text);
    items.flat_map(|text| text.split([',', ' '])).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_whitespace)
}
