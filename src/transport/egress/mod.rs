//! The service's own calls: a request on a local listener into the same request to one target, with a fresh credential.
//! Takes no credential from the caller, and sends its own to nobody but the target.

pub mod token;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{Either, Full};
use rustls::ClientConfig;

use super::connect::Tls;
use super::framing::{REFUSED, Refusal};
use super::leftover::Lent;
use super::proxy::flow::{Flow, Streamed};
use super::proxy::upstream::{Lease, Pool};
use super::{answer, headers};
use crate::config::settings::{Target as To, Upstream};
use crate::gate::{Gate, unix_now};
use crate::policy::Reason;
use crate::request::spelling;
use crate::telemetry::DecisionId;
use token::Token;

/// As for the proxy's own upstream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

const OWN_CREDENTIAL: &str = r#"{"error":"invalid_request","message":"This path adds its own credential; send none"}"#;
const BROWSER: &str = r#"{"error":"forbidden","message":"This path is for the service, not for browsers"}"#;
const NO_TOKEN: &str = r#"{"error":"temporarily_unavailable","message":"No credential can be added to this call"}"#;

/// Where the calls of one listener go, and what they carry.
#[derive(Debug)]
pub struct Target {
    upstream: Upstream,
    tls: Option<Tls>,
    /// As the URL has it.
    host: HeaderValue,
    token: Token,
}

/// One worker's side of a listener.
#[derive(Debug)]
pub struct Egress {
    target: Arc<Target>,
    gate: Arc<Gate>,
    pool: Pool,
}

/// One caller's connection, and the connection to the target that it keeps.
#[derive(Debug)]
pub struct Caller {
    egress: Rc<Egress>,
    lease: Lease,
}

/// Why a call was not made, or has no answer of the target's.
enum Refused {
    Reason(Reason),
    OwnCredential,
    Browser,
    NoToken,
}

impl Target {
    /// `Err` says what would be right. `roots` say whom to believe behind `https`.
    pub fn new(url: &Uri, roots: &Arc<ClientConfig>, token: Token) -> Result<Self, &'static str> {
        const RULE: &str = "it is `https://host` or `http://host:port`, without path, query and user";
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let (Some(scheme), Some(authority), true) = (url.scheme(), url.authority(), bare) else { return Err(RULE) };
        let port = port(authority).ok_or(RULE)?;
        let (port, tls) = if *scheme == Scheme::HTTPS {
            (port.unwrap_or(443), Some(Tls::new(roots, authority.host()).ok_or(RULE)?))
        } else if *scheme == Scheme::HTTP {
            (port.unwrap_or(80), None)
        } else {
            return Err(RULE);
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| RULE)?;
        let authority = format!("{}:{port}", authority.host());
        let target = if tls.is_some() { To::Https(authority) } else { To::Http(authority) };
        let upstream = Upstream { target, mark: None, connect_timeout: CONNECT_TIMEOUT, response_timeout: RESPONSE_TIMEOUT };
        Ok(Self { upstream, tls, host, token })
    }
}

/// The port, if one is named; `None` where what stands there is none, or where a user stands before the host.
fn port(authority: &Authority) -> Option<Option<u16>> {
    let named = authority.as_str() != authority.host();
    let port = authority.port_u16().filter(|port| *port != 0);
    (!authority.host().is_empty() && !authority.as_str().contains('@') && named == port.is_some()).then_some(port)
}

impl Egress {
    pub fn new(target: Arc<Target>, gate: Arc<Gate>) -> Self {
        let pool = Pool::new(target.upstream.clone(), target.tls.clone());
        Self { target, gate, pool }
    }
}

impl Caller {
    pub fn new(egress: Rc<Egress>) -> Self {
        let lease = egress.pool.lease(None, false);
        Self { egress, lease }
    }

    pub async fn answer(&self, request: Request<Lent>, refusal: &Refusal) -> Response<Flow> {
        self.call(request, refusal).await.unwrap_or_else(|refused| refused.response().map(Either::Right))
    }

    async fn call(&self, request: Request<Lent>, refusal: &Refusal) -> Result<Response<Flow>, Refused> {
        let Egress { target, gate, pool } = &*self.egress;
        if let (Some(reason), REFUSED) = (refusal.get(), request.method().as_str()) {
            gate.telemetry.metrics.refused(reason.as_str());
            return Err(Refused::Reason(reason));
        }
        let (mut parts, body) = request.into_parts();
        // A page in a browser on this machine is not the service.
        if parts.headers.get("sec-fetch-site").is_some_and(|site| site != "none") {
            return Err(Refused::Browser);
        }
        if parts.headers.keys().any(is_credential) {
            return Err(Refused::OwnCredential);
        }
        headers::remove_hop_by_hop(&mut parts.headers).map_err(Refused::Reason)?;
        let token = target.token.bearer(unix_now()).ok_or(Refused::NoToken)?;
        // Whatever authority the caller wrote: there is one target.
        parts.uri = parts.uri.path_and_query().cloned().map_or(Uri::from_static("/"), Uri::from);
        parts.version = Version::HTTP_11;
        parts.headers.insert(HOST, target.host.clone());
        parts.headers.insert(AUTHORIZATION, token);
        let body = Streamed::new(body, parts.version, &parts.headers);
        let mut response = pool.send(&self.lease, Request::from_parts(parts, Either::Left(body.into()))).await.map_err(Refused::Reason)?;
        if headers::remove_hop_by_hop(response.headers_mut()).is_err() {
            response.headers_mut().remove(CONNECTION);
        }
        Ok(response.map(|body| Either::Left(body.into())))
    }
}

/// `Authorization` and `Proxy-Authorization`, and the spellings that some servers take for the latter.
fn is_credential(name: &HeaderName) -> bool {
    ["authorization", "proxy-authorization"].iter().any(|own| spelling::same(name.as_str(), own))
}

impl Refused {
    fn response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Reason(reason) => answer::denied(&reason.into(), DecisionId::next()),
            Self::Browser => answer::problem(StatusCode::FORBIDDEN, BROWSER),
            Self::OwnCredential => answer::problem(StatusCode::BAD_REQUEST, OWN_CREDENTIAL),
            Self::NoToken => answer::problem(StatusCode::SERVICE_UNAVAILABLE, NO_TOKEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, &'static str> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let roots = Arc::new(versions.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
        Target::new(&url.parse().unwrap(), &roots, Token::file("/nowhere".into()))
    }

    #[test]
    fn a_targets_url_names_a_server_and_nothing_else() {
        for (url, authority, host, tls) in [
            ("https://catalog.internal", "catalog.internal:443", "catalog.internal", true),
            ("https://catalog.internal:8443/", "catalog.internal:8443", "catalog.internal:8443", true),
            ("http://127.0.0.1:7007", "127.0.0.1:7007", "127.0.0.1:7007", false),
            ("http://catalog", "catalog:80", "catalog", false),
            ("https://[::1]:8443", "[::1]:8443", "[::1]:8443", true),
            ("HTTPS://Catalog.Internal", "Catalog.Internal:443", "Catalog.Internal", true),
        ] {
            let target = target(url).unwrap();
            let to = if tls { To::Https(authority.into()) } else { To::Http(authority.into()) };
            assert_eq!((&target.upstream.target, target.host.to_str().unwrap(), target.tls.is_some()), (&to, host, tls), "{url}");
        }
        for url in [
            "https://a.test/api",
            "https://a.test/?x",
            "https://user@a.test",
            "https://a.test:0",
            "https://a.test:99999",
            "https://a.test:",
            "ftp://a.test",
            "//a.test",
            "/a",
            "a.test:80",
            "https://a_b..test",
        ] {
            assert!(url.parse::<Uri>().is_err() || target(url).is_err(), "{url}");
        }
    }
}
