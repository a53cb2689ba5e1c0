//! An operator's address into one small document, within one time limit: key sets, discovery, introspection.
//! Follows nobody to another origin, unpacks nothing, and repeats nothing of what it sent or read.

pub mod address;
#[cfg(test)]
pub mod local;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

pub use address::is_allowed;

/// From the look-up of the name to the last byte, redirects included.
pub const TIME: Duration = Duration::from_secs(3);
/// Of a body; a key set of 64 keys has a tenth of it.
pub const BODY: usize = 512 * 1024;
const HEAD: usize = 64 * 1024;
const REDIRECTS: usize = 3;
/// Below the five seconds after which common servers hang up on an idle connection, perhaps while we write.
const IDLE: Duration = Duration::from_secs(4);
const IDLE_CONNECTIONS: usize = 8;

/// The only client of the process for these documents. HTTP/1.1: a pooled HTTP/2 connection that died quietly
/// would fail every attempt until the system gives it up.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer 200.
pub struct Document {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Address(&'static str),
    Connect(String),
    BrokenOff(String),
    TooSlow,
    TooLarge,
    Status(u16),
    Redirect,
}

impl Client {
    /// Reads the system's roots. `Err` where TLS cannot be had at all.
    pub fn new() -> Result<Self, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1().wrap_connector(http);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(HEAD)
            .build(connector);
        Ok(Self { inner })
    }

    pub async fn get(&self, address: &Uri) -> Result<Document, Fault> {
        tokio::time::timeout(TIME, self.follow(address)).await.unwrap_or(Err(Fault::TooSlow))
    }

    /// Never redirected: the form is meant for the one who was asked.
    pub async fn post_form(&self, address: &Uri, authorization: &HeaderValue, form: Bytes) -> Result<Document, Fault> {
        let mut request = request(Method::POST, address, form);
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let exchange = async { document(self.send(request).await?).await };
        tokio::time::timeout(TIME, exchange).await.unwrap_or(Err(Fault::TooSlow))
    }

    async fn follow(&self, address: &Uri) -> Result<Document, Fault> {
        let mut at = address.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(request(Method::GET, &at, Bytes::new())).await?;
            if !is_redirect(response.status()) {
                return document(response).await;
            }
            let location = response.headers().get(LOCATION).ok_or(Fault::Redirect)?;
            at = address::redirected(&at, location.as_bytes()).ok_or(Fault::Redirect)?;
        }
        Err(Fault::Redirect)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        address::obeys(request.uri()).map_err(Fault::Address)?;
        self.inner.request(request).await.map_err(|error| match error.is_connect() {
            true => Fault::Connect(cause(&error)),
            false => Fault::BrokenOff(cause(&error)),
        })
    }
}

/// Whom to believe behind `https`: the roots of Mozilla and of the system.
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!("some certificates of the system's roots cannot be read: {error}");
    }
    roots.add_parsable_certificates(native.certs);
    roots
}

pub fn tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| format!("TLS cannot be had: {error}"))?;
    Ok(versions.with_root_certificates(roots()).with_no_client_auth())
}

fn request(method: Method, address: &Uri, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = address.clone();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("scopegate"));
    request
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn document(response: Response<Incoming>) -> Result<Document, Fault> {
    let (head, mut body) = response.into_parts();
    if is_redirect(head.status) {
        return Err(Fault::Redirect);
    }
    if head.status != StatusCode::OK {
        return Err(Fault::Status(head.status.as_u16()));
    }
    // What `content-length` announces.
    if body.size_hint().lower() > BODY as u64 {
        return Err(Fault::TooLarge);
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::BrokenOff(cause(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > BODY {
            return Err(Fault::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Document { headers: head.headers, body: whole.into() })
}

/// The innermost reason, which names no URL; short, because a peer has a say in some.
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().chars().filter(|letter| !letter.is_control()).take(200).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(rule) => out.write_str(rule),
            Self::Connect(cause) => write!(out, "cannot connect: {cause}"),
            Self::BrokenOff(cause) => write!(out, "the exchange broke off: {cause}"),
            Self::TooSlow => write!(out, "no whole answer within {} s", TIME.as_secs()),
            Self::TooLarge => write!(out, "the answer is longer than {} KiB", BODY / 1024),
            Self::Status(status) => write!(out, "the answer is `{status}` instead of 200"),
            Self::Redirect => write!(out, "redirected to another origin, or more than {REDIRECTS} times"),
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Document(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::local::{Local, Reply, leap};
    use super::*;

    async fn get(server: &Local, path: &str) -> Result<String, Fault> {
        let document = Client::new().unwrap().get(&is_allowed(&server.url(path)).unwrap()).await?;
        Ok(String::from_utf8(document.body.to_vec()).unwrap())
    }

    fn to(location: impl Into<String>) -> Reply {
        Reply::Whole(302, vec![("location", location.into())], String::new())
    }

    #[tokio::test]
    async fn a_document_comes_back_whole() {
        let server = Local::start().await;
        server.reply_with("/keys", "x");
        assert_eq!(get(&server, "/keys").await.unwrap(), "x");
        assert_eq!(get(&server, "/other").await, Err(Fault::Status(404)));
        let largest = " ".repeat(BODY);
        server.reply_with("/largest", &largest);
        assert_eq!(get(&server, "/largest").await.unwrap(), largest);
    }

    #[tokio::test]
    async fn too_long_a_body_is_not_read_to_its_end() {
        let server = Local::start().await;
        server.reply("/announced", Reply::Announced(2 << 30));
        server.reply("/endless", Reply::Endless);
        server.reply_with("/long", &" ".repeat(BODY + 1));
        for path in ["/announced", "/endless", "/long"] {
            assert_eq!(get(&server, path).await, Err(Fault::TooLarge), "{path}");
        }
    }

    #[tokio::test]
    async fn a_stalled_answer_ends_with_the_time_limit() {
        let server = Local::start().await;
        server.reply("/stalled", Reply::Stalled);
        server.reply("/held", Reply::Held(String::new()));
        for path in ["/stalled", "/held"] {
            let time = async {
                server.wait(path, 1).await;
                leap(TIME).await;
            };
            assert_eq!(tokio::join!(get(&server, path), time).0, Err(Fault::TooSlow), "{path}");
        }
    }

    #[tokio::test]
    async fn redirects_are_followed_within_the_origin_and_not_for_ever() {
        let (server, other) = tokio::join!(Local::start(), Local::start());
        server.reply_with("/keys", "x");
        other.reply_with("/keys", "evil");
        server.reply("/1", to("/keys"));
        server.reply("/2", to(server.url("/1")));
        server.reply("/3", to("/2"));
        server.reply("/4", to("/3"));
        server.reply("/loop", to("/loop"));
        server.reply("/away", to(other.url("/keys")));
        server.reply("/nowhere", Reply::Whole(302, vec![], String::new()));
        assert_eq!(get(&server, "/3").await.unwrap(), "x");
        for path in ["/4", "/loop", "/away", "/nowhere"] {
            assert_eq!(get(&server, path).await, Err(Fault::Redirect), "{path}");
        }
        assert_eq!(server.count("/loop"), REDIRECTS + 1);
        assert_eq!(other.count("/keys"), 0);
    }

    #[tokio::test]
    async fn a_form_is_never_redirected() {
        let server = Local::start().await;
        server.reply("/ask", to("/keys"));
        server.reply_with("/keys", "x");
        let authorization = HeaderValue::from_static("Basic x");
        let address = is_allowed(&server.url("/ask")).unwrap();
        let answer = Client::new().unwrap().post_form(&address, &authorization, "token=t".into()).await;
        assert_eq!(answer.err(), Some(Fault::Redirect));
        assert_eq!((server.count("/ask"), server.count("/keys")), (1, 0));
        assert_eq!((&*server.asked()[0].body, server.asked()[0].authorization.as_deref()), ("token=t", Some("Basic x")));
    }

    #[tokio::test]
    async fn an_address_that_config_would_refuse_is_not_asked() {
        let plain: Uri = "http://idp.example/keys".parse().unwrap();
        assert!(matches!(Client::new().unwrap().get(&plain).await, Err(Fault::Address(_))));
    }

    #[tokio::test]
    async fn a_fault_names_neither_query_nor_body() {
        let server = Local::start().await;
        server.reply("/keys", Reply::Whole(500, vec![], "body-secret".into()));
        let told = get(&server, "/keys?key=query-secret").await.unwrap_err().to_string();
        assert_eq!(told, "the answer is `500` instead of 200");
    }
}
