//! Where the doors listen, where the upstream is and how long things may take.
//! Fixed from start to stop: a reload that would change them is refused.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::egress::Egress;
use super::limits::Limits;
use super::store::StoreSettings;
use super::telemetry::Telemetry;

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

/// Where allowed requests go, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// HTTP/1.1 to `host:port`, resolved at each connect.
    Http(String),
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).
    H2c(String),
    /// TLS; HTTP/2 or HTTP/1.1 as the server chooses (RFC 7301).
    Https(String),
    /// HTTP/1.1 over a Unix socket.
    Unix(PathBuf),
    /// HTTP as the client speaks it, to where its connection was going before the system redirected it.
    Original,
}

impl Target {
    /// The host that a certificate must name.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Https(authority) => authority.rsplit_once(':').map(|(host, _)| host),
            Self::Http(_) | Self::H2c(_) | Self::Unix(_) | Self::Original => None,
        }
    }

    /// `host:port`, a path or, of a redirected connection, where that was going.
    pub fn server(&self, destination: Option<SocketAddr>) -> Cow<'_, str> {
        match self {
            Self::Http(authority) | Self::H2c(authority) | Self::Https(authority) => Cow::Borrowed(authority),
            Self::Unix(path) => path.to_string_lossy(),
            Self::Original => destination.map_or(Cow::Borrowed(""), |destination| Cow::Owned(destination.to_string())),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub target: Target,
    /// `SO_MARK` of connections to an original destination.
    pub mark: Option<u32>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
}

/// What a client of the proxy door may take; see the README for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub connections: usize,
    pub streams: u32,
    pub head: usize,
    pub headers: usize,
    pub target: usize,
    pub handshake_time: Duration,
    pub head_time: Duration,
    pub idle: Duration,
    pub body_idle: Duration,
    /// Bytes a second.
    pub body_rate: u64,
    pub send_idle: Duration,
    pub tunnel_idle: Duration,
    /// Frames a second.
    pub control_frames: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16_384,
            streams: 128,
            // Envoy's `max_request_headers_kb` and `max_headers_count`.
            head: 60 * 1024,
            headers: 100,
            // nginx's `large_client_header_buffers`.
            target: 8 * 1024,
            handshake_time: Duration::from_secs(10),
            // Envoy's `request_headers_timeout` in its advice for the edge.
            head_time: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body_idle: Duration::from_secs(30),
            body_rate: 100,
            // nginx's `send_timeout`.
            send_idle: Duration::from_secs(60),
            // HAProxy's `timeout tunnel` in its examples.
            tunnel_idle: Duration::from_secs(3600),
            control_frames: 100,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub listen: Listen,
    pub upstream: Option<Upstream>,
    pub trusted_proxies: Vec<IpNet>,
    pub telemetry: Telemetry,
    pub watch: bool,
    pub drain_timeout: Duration,
    pub lame_duck: Duration,
    pub reuse_port: bool,
    /// Whether the proxy door speaks TLS; with what is in the snapshot.
    pub tls: bool,
    pub proxy_protocol: bool,
    pub bounds: Bounds,
    /// Listeners for the service's own calls.
    pub egress: Vec<Egress>,
    /// Where copies of fetched key sets are kept.
    pub key_cache: Option<PathBuf>,
    /// Whether the management API is served at the proxy door too.
    pub expose: bool,
    /// Where `rate_limit` is counted.
    pub limits: Limits,
    /// Where managed keys and all that is granted by hand are kept; `None` where nothing needs it.
    pub store: Option<StoreSettings>,
}

impl Settings {
    /// Whether what a peer says of its client is believed. Whoever reaches a Unix socket was let in by its mode.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.trusted_proxies.iter().any(|network| network.contains(&peer)))
    }

    /// The keys in which `new` differs.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let Self { listen, upstream, trusted_proxies, telemetry, watch, drain_timeout, egress, key_cache, limits, .. } = self;
        let Self { lame_duck, reuse_port, tls, proxy_protocol, bounds, expose, store, .. } = self;
        [
            ("listen", *listen != new.listen),
            ("upstream", *upstream != new.upstream),
            ("trusted_proxies", *trusted_proxies != new.trusted_proxies),
            ("telemetry", *telemetry != new.telemetry),
            ("reload", *watch != new.watch),
            ("drain_timeout", *drain_timeout != new.drain_timeout),
            ("lame_duck", *lame_duck != new.lame_duck),
            ("reuse_port", *reuse_port != new.reuse_port),
            ("tls", *tls != new.tls),
            ("proxy_protocol", *proxy_protocol != new.proxy_protocol),
            ("bounds", *bounds != new.bounds),
            ("egress", *egress != new.egress),
            ("key_cache", *key_cache != new.key_cache),
            ("management", *expose != new.expose),
            ("limits", *limits != new.limits),
            ("store", *store != new.store),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}
