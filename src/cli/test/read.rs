//! The text of a file of cases into cases, or every fault of it with its place.
//! Takes nothing for granted: a key that is not known is a fault, and so is a case that expects nothing.

use std::path::Path;

use super::case::{Case, Expect, File, Made, Request, Who};
use super::shape::FILE;
use crate::cli::input;
use crate::config::tree::{self, Node, Value};
use crate::config::{Faults, check, quantity};
use crate::policy::Reason;
use crate::request::Method;

pub fn read(path: &Path) -> Result<File, Faults> {
    let mut faults = Faults::of(path);
    let tree = match input::utf8(path) {
        Ok(text) => tree::parse(&text).map_err(|(message, place)| (format!("the file is not YAML or JSON: {message}"), Some(place))),
        Err(why) => Err((format!("the file {why}"), None)),
    };
    let tree = match tree {
        Ok(tree) => tree,
        Err((message, place)) => {
            match place {
                Some(place) => faults.at_place(place, message),
                None => faults.whole(message),
            }
            return Err(faults);
        }
    };
    check::check(&tree, &FILE, "", &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let now = instant(tree.get("now"), &mut faults);
    let list = tree.get("cases").map(Node::items).unwrap_or_default();
    if list.is_empty() {
        faults.whole("there are no cases; name some, such as `cases: [{request: GET /orders, expect: 401}]`");
    }
    let cases = list.iter().filter_map(|node| case(node, now, &mut faults)).collect();
    let config = tree.get("config").and_then(Node::text).map(str::to_owned);
    faults.into_result().map(|()| File { path: path.to_owned(), config, cases })
}

fn case(node: &Node, now: Option<i64>, faults: &mut Faults) -> Option<Case> {
    let request = match node.get("request") {
        Some(said) => request(said, faults),
        None => {
            faults.at(node, "the case has no `request`; it is a text such as `GET /orders?x=1`, or a mapping with `path`");
            None
        }
    };
    let who = match (node.get("as"), node.get("caller")) {
        (Some(said), Some(_)) => {
            faults.at(said, "`as` names a credential and `caller` makes somebody up; keep one of them");
            Who::Shown
        }
        (Some(id), None) => Who::As(id.text().unwrap_or_default().to_owned()),
        (None, Some(caller)) => Who::Made(made(caller)),
        (None, None) => Who::Shown,
    };
    let expect = match node.get("expect") {
        Some(said) => expect(said, faults),
        None => {
            faults.at(node, "the case has no `expect`; it is `allow`, `deny`, a status such as `403`, or a mapping such as `{reason: no_rule}`");
            None
        }
    };
    let now = instant(node.get("now"), faults).or(now);
    let request = request?;
    let name = text(node, "name").unwrap_or_else(|| request.line());
    Some(Case { name, place: node.place, request, who, now, expect: expect? })
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::text).map(str::to_owned)
}

fn texts(node: &Node, key: &str) -> Vec<String> {
    node.get(key).map(Node::items).unwrap_or_default().iter().filter_map(Node::text).map(str::to_owned).collect()
}

fn pairs(node: &Node, key: &str) -> Vec<(String, String)> {
    let list = node.get(key).map(Node::entries).unwrap_or_default().iter();
    list.map(|(name, value)| (name.text.to_ascii_lowercase(), value.text().unwrap_or_default().to_owned())).collect()
}

fn request(node: &Node, faults: &mut Faults) -> Option<Request> {
    let (method, target) = match node.text() {
        Some(line) => match line.split_once(' ') {
            Some((method, target)) => (method.to_owned(), target.trim().to_owned()),
            None => {
                faults.at(node, "`request` is one word; it is a method and a path, such as `GET /orders?x=1`");
                return None;
            }
        },
        None => {
            let Some(path) = text(node, "path") else {
                faults.at(node, "`request` has no `path`; it is a text such as `/orders?x=1`");
                return None;
            };
            (text(node, "method").unwrap_or_else(|| "GET".into()), path)
        }
    };
    if Method::parse(method.as_bytes()).is_none() {
        faults.at(node.get("method").unwrap_or(node), "the method is no HTTP token; it is one such as `GET`");
    }
    if !target.starts_with('/') || target.contains(' ') {
        faults
            .at(node.get("path").unwrap_or(node), "the path is none of a request line; it begins with `/` and has no spaces, such as `/orders?x=1`");
    }
    Some(Request {
        method,
        target,
        host: text(node, "host").unwrap_or_else(|| "localhost".into()),
        headers: pairs(node, "headers"),
        body: text(node, "body").unwrap_or_default(),
        websocket: node.get("websocket").is_some_and(Node::is_true),
    })
}

fn made(node: &Node) -> Made {
    let age = node.get("mfa_age").and_then(Node::text).and_then(quantity::duration);
    Made {
        place: node.place,
        id: text(node, "id").unwrap_or_else(|| "somebody".into()),
        credential: text(node, "credential"),
        scopes: texts(node, "scopes"),
        roles: texts(node, "roles"),
        tenant: text(node, "tenant"),
        mfa_age: age.and_then(|age| i64::try_from(age.as_secs()).ok()),
    }
}

const DECISIONS: [&str; 3] = ["allow", "deny", "preflight"];

fn expect(node: &Node, faults: &mut Faults) -> Option<Expect> {
    if let Value::Whole(_) = node.value {
        return Some(Expect { status: status(node, faults), ..Expect::default() });
    }
    if let Some(word) = node.text() {
        if !DECISIONS.contains(&word) {
            let found = node.quoted();
            faults.at(
                node,
                format!(
                    "`expect` is {found}; it is `allow`, `deny`, `preflight`, a status such as `403`, or a mapping such as `{{reason: no_rule}}`"
                ),
            );
        }
        return Some(Expect { decision: Some(word.to_owned()), ..Expect::default() });
    }
    if node.entries().is_empty() {
        faults.at(node, "`expect` says nothing; name at least one key, such as `decision: allow`");
    }
    for key in ["reason", "shadow"] {
        let said = node.get(key).filter(|said| !said.text().unwrap_or_default().is_empty());
        if let Some(said) = said.filter(|said| !Reason::ALL.iter().any(|reason| Some(reason.as_str()) == said.text())) {
            let known: Vec<_> = Reason::ALL.iter().map(|reason| format!("`{}`", reason.as_str())).collect();
            faults.at(said, format!("`expect.{key}` is {}; it is one of {}", said.quoted(), known.join(", ")));
        }
    }
    let mut missing = node.get("missing_scopes").map(|_| texts(node, "missing_scopes"));
    if let Some(missing) = &mut missing {
        // One text may name several, as the answer does.
        *missing = missing.iter().flat_map(|text| text.split(' ')).filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        missing.sort();
    }
    Some(Expect {
        decision: text(node, "decision"),
        status: node.get("status").and_then(|said| status(said, faults)),
        reason: text(node, "reason"),
        rule: text(node, "rule"),
        missing_scopes: missing,
        id: text(node, "id"),
        tenant: text(node, "tenant"),
        headers: pairs(node, "headers"),
        shadow: text(node, "shadow"),
    })
}

fn status(node: &Node, faults: &mut Faults) -> Option<u16> {
    let said = match node.value {
        Value::Whole(number) => u16::try_from(number).ok().filter(|number| (100..600).contains(number)),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    };
    if said.is_none() {
        faults.at(node, format!("the status is {}; it is one of HTTP, such as `403`", node.quoted()));
    }
    said
}

/// Seconds since 1970.
fn instant(node: Option<&Node>, faults: &mut Faults) -> Option<i64> {
    let node = node?;
    let parsed = node.text().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    if parsed.is_none() {
        faults.at(node, format!("`now` is {}; it is an instant such as `2027-01-31T00:00:00Z`", node.quoted()));
    }
    parsed.map(jiff::Timestamp::as_second)
}
