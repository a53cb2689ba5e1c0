//! `from` of a credential into the places that are read for it, in order.
//! Refuses headers that mean something to the hop or to the gate.

use super::Desk;
use crate::config::tree::Node;
use crate::credential::Place;

pub fn places(desk: &mut Desk<'_>, kind: &str) -> Vec<Place> {
    let said = desk.node.get("from");
    if kind == "mtls" {
        if said.is_some() {
            desk.fault(said, "is of kind `mtls`, which is read from the connection; remove `from`");
        }
        return vec![Place::Certificate];
    }
    if let Some(node) = desk.node.get("header") {
        if said.is_some() {
            desk.fault(said, "has both `header` and `from`; `header: NAME` is `from: [header:NAME]`");
        }
        let place = header(node.text().unwrap_or_default());
        if place.is_none() {
            desk.fault(Some(node), &format!("has `header` {}, which cannot carry a key; use a name such as `x-api-key`", node.quoted()));
        }
        return place.into_iter().collect();
    }
    let Some(list) = said else { return vec![if kind == "api_key" { Place::Header("x-api-key".into()) } else { Place::Bearer }] };
    let places: Vec<Place> = list.items().iter().filter_map(|item| place(desk, item)).collect();
    if list.items().is_empty() {
        desk.fault(Some(list), "is read from nowhere; `from` is a list of `bearer`, `header:NAME`, `cookie:NAME` and `query:NAME`");
    }
    places
}

fn place(desk: &mut Desk<'_>, node: &Node) -> Option<Place> {
    let text = node.text().unwrap_or_default();
    let place = match text.split_once(':') {
        None if text == "bearer" => Some(Place::Bearer),
        Some(("header", name)) => header(name),
        // RFC 6265 §4.1.1: a cookie's name is a token.
        Some(("cookie", name)) => is_token(name).then(|| Place::Cookie(name.into())),
        Some(("query", name)) => is_word(name).then(|| Place::Query(name.into())),
        None | Some(_) => None,
    };
    if place.is_none() {
        desk.fault(Some(node), &format!("place {} is unknown; it is `bearer`, `header:NAME`, `cookie:NAME` or `query:NAME`", node.quoted()));
    }
    place
}

fn header(name: &str) -> Option<Place> {
    let name = name.to_ascii_lowercase();
    let taken = ["authorization", "cookie", "host", "connection", "content-length", "transfer-encoding", "te", "upgrade"];
    let usable = is_token(&name) && !taken.contains(&name.as_str()) && !name.starts_with(crate::identity::PREFIX);
    usable.then(|| Place::Header(name.into()))
}

fn is_token(name: &str) -> bool {
    http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}
