//! `kind: jwt` and `kind: firebase` into rules for signed tokens and the keys that check them.
//! Refuses weak secrets, keys that none of the algorithms can use, and key URLs that anybody on the way could answer.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Desk, Keying, Way, secret};
use crate::config::tree::Node;
use crate::fetch::address::is_allowed;
use crate::jose::{Algorithm, Key, KeySet, Origin};
use crate::keys::Where;
use crate::principal::grant::{Grant, Paths};
use crate::principal::jwt::{MAX_LEEWAY, Preset, Rules};

/// Seconds by which clocks may differ where the operator says nothing.
const LEEWAY: i64 = 60;
const GOOGLE: &str = "https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com";
const FIREBASE_ISSUER: &str = "https://securetoken.google.com/";
const SOURCES: [&str; 7] = ["secret", "secret_file", "secret_base64", "public_key_file", "jwks_file", "jwks_url", "issuer_url"];

pub fn jwt(desk: &mut Desk<'_>) -> Option<Way> {
    let algorithms = algorithms(desk);
    let keys = keys(desk, &algorithms);
    let issuer = desk.text("issuer").or(desk.text("issuer_url")).map(Box::from);
    let rules = Rules {
        algorithms: algorithms.into(),
        typ: desk.text("typ").map(Box::from),
        issuer,
        audiences: desk.texts("audiences").into_iter().map(String::into_boxed_str).collect(),
        leeway: leeway(desk),
        max_lifetime: desk.seconds("max_lifetime"),
        preset: Preset::Plain,
    };
    let grant = grant(desk, Grant::default());
    Some(Way::Signed { rules, keys: keys?, grant })
}

pub fn firebase(desk: &mut Desk<'_>) -> Option<Way> {
    let project = desk.text("project_id").filter(|project| !project.is_empty()).map(str::to_owned);
    let Some(project) = project else {
        desk.fault(None, "has no `project_id`; it is the Firebase project's, such as `my-app-1234`");
        return None;
    };
    let emulator = (desk.env)("FIREBASE_AUTH_EMULATOR_HOST").is_some_and(|host| !host.is_empty());
    let unsigned = emulator && super::is_development(desk.env);
    match (emulator, unsigned) {
        (true, true) => desk.warn("takes the UNSIGNED tokens of the Firebase Auth emulator; unset SCOPEGATE_DEV_MODE in production"),
        (true, false) => desk.warn("ignores FIREBASE_AUTH_EMULATOR_HOST, which counts in development mode only"),
        (false, _) => {}
    }
    let said = desk.node.get("keys_url");
    let keys = match said {
        Some(node) => Where::Certificates(url(desk, node, "keys_url")?),
        None => Where::certificates(GOOGLE).ok()?,
    };
    let rules = Rules {
        algorithms: Box::new([Algorithm::Rs256]),
        typ: None,
        issuer: Some(format!("{FIREBASE_ISSUER}{project}").into()),
        audiences: Box::new([project.into()]),
        leeway: leeway(desk),
        max_lifetime: None,
        preset: Preset::Firebase { unsigned },
    };
    let usual = Grant { tenant: crate::principal::grant::paths(&["firebase.tenant", "tenant_id"]), ..Grant::default() };
    Some(Way::Signed { rules, keys: Keying::Remote(keys), grant: grant(desk, usual) })
}

/// The claims that the source names in place of the usual ones.
pub fn grant(desk: &mut Desk<'_>, usual: Grant) -> Grant {
    let claims = desk.node.get("claims");
    let paths = |name: &str, usual: Paths| match claims.and_then(|claims| claims.get(name)) {
        Some(node) => node.items().iter().filter_map(Node::text).map(Box::from).collect(),
        None => usual,
    };
    let (id, scopes, tenant) = (paths("id", usual.id), paths("scopes", usual.scopes), paths("tenant", usual.tenant));
    let (roles, email) = (paths("role", usual.roles), paths("email", usual.email));
    for (name, node) in claims.map(Node::entries).unwrap_or_default() {
        if node.items().iter().any(|item| item.text().is_none_or(str::is_empty)) {
            desk.fault(Some(node), &format!("has an empty path under `claims.{}`; it is a claim such as `sub` or `realm_access.roles`", name.text));
        }
    }
    if let Some(claim) = desk.node.get("profile").and_then(|profile| profile.get("claim")).filter(|claim| claim.text() == Some("")) {
        desk.fault(Some(claim), "has an empty `profile.claim`; it is the claim with the e-mail address, such as `email`");
    }
    let profile = desk.node.get("profile").map(|profile| profile.get("claim").and_then(Node::text).unwrap_or("email").into());
    let granted = desk.scopes(desk.node).into();
    Grant { id, scopes, tenant, roles, email, profile, granted, ..usual }
}

fn algorithms(desk: &mut Desk<'_>) -> Vec<Algorithm> {
    let known = || Algorithm::ALL.map(Algorithm::as_str).join(", ");
    let Some(list) = desk.node.get("algorithms").filter(|list| !list.items().is_empty()) else {
        desk.fault(None, &format!("has no `algorithms`; name those that its issuer uses, out of {}", known()));
        return Vec::new();
    };
    let mut algorithms = Vec::new();
    for item in list.items() {
        match Algorithm::parse(item.text().unwrap_or_default()) {
            Some(algorithm) => algorithms.push(algorithm),
            None => desk.fault(Some(item), &format!("has algorithm {}; known are {}", item.quoted(), known())),
        }
    }
    algorithms
}

fn leeway(desk: &mut Desk<'_>) -> i64 {
    let leeway = desk.seconds("leeway").unwrap_or(LEEWAY);
    if leeway > MAX_LEEWAY {
        desk.fault(desk.node.get("leeway"), "has a `leeway` of over five minutes; set the clocks and lower it");
    }
    leeway
}

/// An address that only its owner can answer: https, or this machine.
pub fn url(desk: &mut Desk<'_>, node: &Node, key: &str) -> Option<http::Uri> {
    match is_allowed(node.text().unwrap_or_default()) {
        Ok(url) => Some(url),
        Err(why) => {
            desk.fault(Some(node), &format!("has `{key}`{}, which {why}", shown(node)));
            None
        }
    }
}

/// The address, unless a password or a key could be in it.
fn shown(node: &Node) -> String {
    if node.text().is_some_and(|text| text.contains(['@', '?'])) { String::new() } else { format!(" {}", node.quoted()) }
}

fn keys(desk: &mut Desk<'_>, algorithms: &[Algorithm]) -> Option<Keying> {
    let said: Vec<&str> = SOURCES.into_iter().filter(|key| desk.node.get(key).is_some()).collect();
    let [key] = said.as_slice() else {
        let why = if said.is_empty() { "has no keys" } else { "has keys from more than one place" };
        desk.fault(None, &format!("{why}; set one of `{}`", SOURCES.join("`, `")));
        return None;
    };
    let node = desk.node.get(key)?;
    let set = match *key {
        "jwks_url" => return url(desk, node, key).map(Where::Jwks).map(Keying::Remote),
        "issuer_url" => return discovered(desk, node),
        "jwks_file" => {
            let bytes = secret::file_bytes(desk, node, key)?;
            KeySet::from_jwks(&bytes, Origin::Local).map(|(set, warnings)| {
                warnings.iter().for_each(|warning| desk.warn(warning));
                set
            })
        }
        "public_key_file" => {
            let bytes = secret::file_bytes(desk, node, key)?;
            Key::from_pem(&bytes).map(KeySet::single)
        }
        _ => {
            let bytes = shared(desk, node, key)?;
            if let Some(algorithm) = algorithms.iter().find(|algorithm| bytes.len() < algorithm.min_hmac()) {
                let message = format!(
                    "has a secret that is too short for {}; it is at least {} bytes (RFC 7518 §3.2)",
                    algorithm.as_str(),
                    algorithm.min_hmac()
                );
                desk.fault(Some(node), &message);
                return None;
            }
            Ok(KeySet::single(Key::hmac(&bytes)))
        }
    };
    let fits =
        |set: &KeySet| (0..set.len()).filter_map(|index| set.get(index)).any(|jwk| algorithms.iter().any(|algorithm| jwk.key.fits(*algorithm)));
    match set {
        Ok(set) if fits(&set) || algorithms.is_empty() => Some(Keying::Fixed(Arc::new(set))),
        Ok(_) => {
            desk.fault(Some(node), &format!("has `{key}` with no key that its `algorithms` can use; name the algorithm of the key"));
            None
        }
        Err(why) => {
            desk.fault(Some(node), &format!("has `{key}` that cannot be used: {why}"));
            None
        }
    }
}

fn discovered(desk: &mut Desk<'_>, node: &Node) -> Option<Keying> {
    match Where::discovery(node.text().unwrap_or_default()) {
        Ok(place) => Some(Keying::Remote(place)),
        Err(why) => {
            desk.fault(Some(node), &format!("has `issuer_url`{}, which {why}", shown(node)));
            None
        }
    }
}

fn shared(desk: &mut Desk<'_>, node: &Node, key: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = match key {
        "secret_base64" => decode(node.text().unwrap_or_default()),
        _ => secret::text(desk, desk.node, "secret").ok()?.map(|text| Zeroizing::new(text.as_bytes().to_vec())),
    };
    if bytes.as_ref().is_none_or(|bytes| bytes.is_empty()) {
        let what = if key == "secret_base64" { "that is not base64" } else { "with nothing in it" };
        desk.fault(Some(node), &format!("has `{key}` {what}; `openssl rand -base64 48` makes one"));
        return None;
    }
    bytes
}

/// Either alphabet of RFC 4648, with or without padding.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(text.replace('-', "+").replace('_', "/"));
    let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, padding).decode(text.as_bytes()).ok().map(Zeroizing::new)
}
