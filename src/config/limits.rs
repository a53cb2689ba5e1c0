//! `rate_limit` of a route and `limits` of a tree into what is counted, and where.
//! Never quotes the address of a store: a password may be in it.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use zeroize::Zeroizing;

use super::credentials::secret_file;
use super::fault::Faults;
use super::quantity;
use super::tree::{Node, Value};
use crate::policy::rule::{Per, RateLimit};
use crate::principal::rate::RateFault;
use crate::principal::record::Rate;

const BACKEND: &str = "it is `memory`, `redis://[user:password@]host[:port][/database]` or `rediss://…`";
/// Envoy waits 200 ms by default for all of a check.
const TIMEOUT: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(10);

/// Where limits are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub backend: Backend,
    /// How long a request waits for Redis.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Memory,
    Redis(Redis),
}

/// An address that can be connected to. A password may be in it, so that it has no printable form.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis(Zeroizing<String>);

impl Default for Limits {
    fn default() -> Self {
        Self { backend: Backend::Memory, timeout: TIMEOUT }
    }
}

impl Redis {
    /// `None` where it is none, or one that gives up on checking certificates.
    pub fn parse(text: &str) -> Option<Self> {
        let known = text.starts_with("redis://") || text.starts_with("rediss://");
        let redis = Self(Zeroizing::new(text.to_owned()));
        let info = redis.info().filter(|_| known && !text.contains(['#', '?']))?;
        let named = match info.addr() {
            ConnectionAddr::Tcp(host, _) => !host.is_empty(),
            ConnectionAddr::TcpTls { host, insecure, .. } => !host.is_empty() && !insecure,
            ConnectionAddr::Unix(_) | _ => false,
        };
        named.then_some(redis)
    }

    pub fn info(&self) -> Option<ConnectionInfo> {
        self.0.as_str().into_connection_info().ok()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Redis(…)")
    }
}

pub fn limits(tree: &Node, base: &Path, faults: &mut Faults) -> Limits {
    let Some(node) = tree.get("limits") else { return Limits::default() };
    let timeout = quantity::said(node.get("timeout"), TIMEOUT);
    if let (Some(said), true) = (node.get("timeout"), timeout.is_zero() || timeout > LONGEST) {
        faults.at(said, format!("`limits.timeout` is {}; it is from `1ms` to `10s`", said.quoted()));
    }
    Limits { backend: backend(node, base, faults), timeout }
}

fn backend(node: &Node, base: &Path, faults: &mut Faults) -> Backend {
    let (said, text) = match (node.get("backend"), node.get("backend_file")) {
        (Some(_), Some(file)) => {
            faults.at(file, "`limits` has both `backend` and `backend_file`; keep one");
            return Backend::Memory;
        }
        (None, None) => return Backend::Memory,
        (Some(said), None) => (said, Zeroizing::new(said.text().unwrap_or_default().to_owned())),
        (None, Some(file)) => match secret_file(&base.join(file.text().unwrap_or_default())) {
            Ok(text) => (file, text),
            Err(why) => {
                faults.at(file, format!("`limits.backend_file` cannot be read: {why}"));
                return Backend::Memory;
            }
        },
    };
    if text.as_str() == "memory" {
        return Backend::Memory;
    }
    match Redis::parse(&text) {
        Some(redis) => Backend::Redis(redis),
        None => {
            faults.at(said, format!("`limits.backend` is no address of a Redis; {BACKEND}, without `?` and `#`"));
            Backend::Memory
        }
    }
}

/// `what` is the route as a fault names it.
pub fn rate_limit(route: &Node, what: &str, is_public: bool, faults: &mut Faults) -> Option<RateLimit> {
    let node = route.get("rate_limit")?;
    // What is of another shape is a fault already.
    let said = match (&node.value, node.get("rate")) {
        (Value::Map(_), None) => {
            faults.at(node, format!("{what}: `rate_limit` has no `rate`; it is a number and a unit such as `10/m`"));
            return None;
        }
        (_, Some(rate)) => rate,
        (_, None) => node,
    };
    let text = said.text()?;
    let burst = match node.get("burst").map(|burst| &burst.value) {
        Some(Value::Whole(burst @ 1..)) => Some(u32::try_from(*burst).unwrap_or(u32::MAX)),
        Some(Value::Whole(_) | Value::Null | Value::Bool(_) | Value::Float(_) | Value::Text(_) | Value::List(_) | Value::Map(_)) | None => None,
    };
    let rate = Rate::parse(text, burst);
    if let Err(fault) = rate {
        let at = node.get("burst").filter(|_| fault == RateFault::Burst).unwrap_or(said);
        faults.at(at, format!("{what}: `rate_limit` is {}; {fault}", at.quoted()));
    }
    let per = match node.get("per").and_then(Node::text) {
        Some("tenant") => Per::Tenant,
        Some("ip") => Per::Ip,
        Some("route") => Per::Route,
        Some(_) | None => Per::Principal,
    };
    if is_public && matches!(per, Per::Principal | Per::Tenant) {
        let at = node.get("per").unwrap_or(node);
        let per = per.as_str();
        faults.at(at, format!("{what} is public, so that no request has a {per}; its `rate_limit.per` is `ip` or `route`"));
    }
    Some(RateLimit { rate: rate.ok()?, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_redis_is_of_one_server_whose_certificate_counts() {
        for text in ["redis://localhost", "redis://127.0.0.1:6379/1", "rediss://user:secret@redis.internal:6380", "redis://[::1]:6379"] {
            let redis = Redis::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(format!("{redis:?}"), "Redis(…)");
        }
        for text in [
            "",
            "memory",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://host:port",
            "redis://host/x",
            "rediss://host/#insecure",
            "redis://host/?protocol=resp3",
            "unix:/run/redis.sock",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(Redis::parse(text).is_none(), "{text}");
        }
    }
}
