//! `cors` of a tree into the origins whose pages may call.
//! Refuses what would never match or would let every page use a visitor's cookies.

use std::time::Duration;

use super::fault::Faults;
use super::quantity;
use super::tree::Node;
use crate::policy::cors::Cors;

const MAX_AGE: Duration = Duration::from_secs(600);
/// Chromium keeps none longer.
const MAX_MAX_AGE: Duration = Duration::from_secs(7200);

pub fn cors(tree: &Node, faults: &mut Faults) -> Option<Cors> {
    let node = tree.get("cors")?;
    let list = node.get("origins").map(Node::items).unwrap_or_default();
    if list.is_empty() {
        faults.at(node, "`cors` has no `origins`; name those of the pages that may call, such as `https://app.example.com`");
        return None;
    }
    let any = list.iter().any(|item| item.text() == Some("*"));
    let credentials = node.get("credentials").is_some_and(Node::is_true);
    if any && (credentials || list.len() > 1) {
        faults.at(node, "`cors.origins` has `*`, which stands alone and without `credentials`; name the origins");
    }
    let mut origins = Vec::new();
    for item in list.iter().filter(|item| item.text() != Some("*")) {
        match item.text().filter(|text| is_origin(text)) {
            Some(origin) => origins.push(origin.into()),
            None => faults.at(
                item,
                format!(
                    "`cors.origins` has {}; an origin is `https://host[:port]` in lower case, without path and without the scheme's own port",
                    item.quoted()
                ),
            ),
        }
    }
    let max_age = node.get("max_age").and_then(Node::text).and_then(quantity::duration).unwrap_or(MAX_AGE);
    if let (Some(said), true) = (node.get("max_age"), max_age > MAX_MAX_AGE) {
        faults.at(said, format!("`cors.max_age` is {}; browsers keep no answer for over `2h`", said.quoted()));
    }
    Some(Cors { origins: if any { Box::default() } else { origins.into() }, credentials, max_age: max_age.as_secs() })
}

/// As a browser serialises one (RFC 6454 §6.2).
pub fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-.".contains(&byte)) && !scheme.is_empty() && !authority.is_empty(),
    };
    let plain = authority.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]_".contains(&byte));
    let parsed = authority
        .parse::<http::uri::Authority>()
        .is_ok_and(|parsed| !parsed.host().is_empty() && (parsed.port_u16().is_some() || parsed.as_str() == parsed.host()));
    plain && parsed && !authority.ends_with(default_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_spelt_as_browsers_spell_it() {
        for good in
            ["https://app.example.com", "http://localhost:3000", "https://app.example.com:8443", "http://[::1]:8080", "chrome-extension://abc"]
        {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "null",
            "",
            "https://",
            "https://app.example.com/",
            "https://App.example.com",
            "https://a:443",
            "http://a:80",
            "https://*.example.com",
            "https://u@a",
            "a.example.com",
            "https://a:b",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
