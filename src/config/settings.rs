//! Where the doors listen, where the upstream is and how long things may take.
//! Fixed from start to stop: a reload that would change them is refused.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::egress::Egress;

/// Where a door listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// `None` is a closed door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub proxy: Option<Address>,
    pub ext_authz: Option<Address>,
    pub forward_auth: Option<Address>,
    pub admin: Option<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `host:port`, resolved at each connect.
    pub authority: String,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listen: Listen,
    pub upstream: Option<Upstream>,
    pub trusted_proxies: Vec<IpNet>,
    pub audit: bool,
    pub otlp: Option<String>,
    pub watch: bool,
    pub drain_timeout: Duration,
    /// Listeners for the service's own calls.
    pub egress: Vec<Egress>,
    /// Where copies of fetched key sets are kept.
    pub key_cache: Option<PathBuf>,
}

impl Settings {
    /// The keys in which `new` differs.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let Self { listen, upstream, trusted_proxies, audit, otlp, watch, drain_timeout, egress, key_cache } = self;
        [
            ("listen", *listen != new.listen),
            ("upstream", *upstream != new.upstream),
            ("trusted_proxies", *trusted_proxies != new.trusted_proxies),
            ("telemetry", *audit != new.audit || *otlp != new.otlp),
            ("reload", *watch != new.watch),
            ("drain_timeout", *drain_timeout != new.drain_timeout),
            ("egress", *egress != new.egress),
            ("key_cache", *key_cache != new.key_cache),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}
