//! `upstream`, `tls` and `bounds` into what the proxy door is served with.
//! Guesses no port, no path and no scheme.

use std::path::Path;
use std::time::Duration;

use http::uri::Authority;

use super::fault::Faults;
use super::quantity;
use super::settings::{Bounds, Target, Upstream};
use super::tree::{Node, Value};

const URL: &str = "`http://host:port`, `https://host`, `h2c://host:port`, `unix:/path` or `original_destination`, without path, query and user";
/// What hyper's HTTP/1 parser takes without a heap, and far beyond any real request.
const MAX_HEAD: usize = 1024 * 1024;
/// Some less than the `http` crate takes.
const MAX_TARGET: usize = 60 * 1024;

pub fn upstream(node: &Node, faults: &mut Faults) -> Option<Upstream> {
    let (url, options) = match node.text() {
        Some(_) => (node, None),
        None => match node.get("url") {
            Some(url) => (url, Some(node)),
            None => {
                faults.at(node, format!("`upstream` has no `url`; it is {URL}"));
                return None;
            }
        },
    };
    let Some(target) = url.text().and_then(target) else {
        faults.at(url, format!("`upstream` is {}; it is {URL}", url.quoted()));
        return None;
    };
    let timeout = |name: &str, default| quantity::said(options.and_then(|node| node.get(name)), Duration::from_secs(default));
    let mark = options.and_then(|node| node.get("mark")).and_then(|node| mark(node, &target, faults));
    Some(Upstream { target, mark, connect_timeout: timeout("connect_timeout", 2), response_timeout: timeout("response_timeout", 60) })
}

fn mark(node: &Node, target: &Target, faults: &mut Faults) -> Option<u32> {
    if *target != Target::Original {
        faults.at(node, "`upstream.mark` is for `url: original_destination` alone; leave it out");
        return None;
    }
    let mark = match node.value {
        Value::Whole(mark) => u32::try_from(mark).ok(),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => return None,
    };
    if mark.is_none() {
        faults.at(node, format!("`upstream.mark` is {}; it is from 1 to 0xFFFFFFFF", node.quoted()));
    }
    mark
}

fn target(text: &str) -> Option<Target> {
    if text == "original_destination" {
        return Some(Target::Original);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| Target::Unix(Path::new(path).to_owned()));
    }
    let (scheme, rest) = text.split_once("://")?;
    let authority: Authority = rest.strip_suffix('/').unwrap_or(rest).parse().ok()?;
    // What stands behind the host is a port, or the connection would go to another one than was meant.
    let port = authority.port_u16().filter(|port| *port != 0);
    if authority.host().is_empty() || authority.as_str().contains('@') || (authority.as_str() != authority.host()) != port.is_some() {
        return None;
    }
    let at = |default| format!("{}:{}", authority.host(), port.unwrap_or(default));
    match scheme {
        "http" => Some(Target::Http(at(80))),
        "h2c" => Some(Target::H2c(at(80))),
        "https" => Some(Target::Https(at(443))),
        _ => None,
    }
}

pub fn bounds(node: Option<&Node>, faults: &mut Faults) -> Bounds {
    let default = Bounds::default();
    let said = |key: &str| node.and_then(|node| node.get(key));
    let count = |key: &str, default: usize| match said(key).map(|node| &node.value) {
        Some(Value::Whole(count)) => usize::try_from(*count).unwrap_or(default),
        _ => default,
    };
    let small = |key: &str, default: u32| u32::try_from(count(key, 0)).ok().filter(|count| *count > 0).unwrap_or(default);
    let size = |key: &str, default: usize| said(key).and_then(Node::text).and_then(quantity::size).unwrap_or(default);
    let time = |key: &str, default: Duration| quantity::said(said(key), default);
    for (key, most, told) in [("head", MAX_HEAD, "1MiB"), ("target", MAX_TARGET, "60KiB")] {
        if let Some(node) = said(key).filter(|node| node.text().and_then(quantity::size).is_some_and(|size| !(256..=most).contains(&size))) {
            faults.at(node, format!("`bounds.{key}` is {}; it is from `256B` to `{told}`", node.quoted()));
        }
    }
    Bounds {
        connections: count("connections", default.connections),
        streams: small("streams", default.streams),
        head: size("head", default.head),
        headers: count("headers", default.headers),
        target: size("target", default.target),
        handshake_time: time("handshake_time", default.handshake_time),
        head_time: time("head_time", default.head_time),
        idle: time("idle", default.idle),
        body_idle: time("body_idle", default.body_idle),
        body_rate: size("body_rate", 100) as u64,
        send_idle: time("send_idle", default.send_idle),
        tunnel_idle: time("tunnel_idle", default.tunnel_idle),
        control_frames: small("control_frames", default.control_frames),
    }
}
