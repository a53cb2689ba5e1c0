//! One call of a gate that runs: a request over TCP, TLS or a Unix socket into its JSON answer.
//! Sends the token to nobody but who was named, and in clear to this machine alone.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use zeroize::Zeroizing;

use super::input::contents;
use super::token::without_line_end;
use crate::fetch;

/// Longer than the gate waits for its store.
const PATIENCE: Duration = Duration::from_secs(30);
/// A page of a thousand keys has a quarter of it.
const LONGEST: usize = 8 * 1024 * 1024;

#[derive(Clone, Args)]
pub struct Service {
    /// The operator door or, where the management API is exposed, the proxy door: https, or this machine, or unix:/path
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9190")]
    url: String,
    /// A file with the bearer token; else it is read from standard input
    #[arg(long, value_name = "FILE", env = "SCOPEGATE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// What is asked.
pub struct Call<'c> {
    pub method: Method,
    pub path: &'c str,
    pub body: Option<&'c Value>,
    /// The same for every try of one create.
    pub once: Option<&'c str>,
}

/// One line each: what the service says against it.
pub type Refusal = String;

impl Service {
    /// The token, from where the caller keeps it.
    pub fn token(&self) -> Result<Zeroizing<String>, String> {
        let file = self.token_file.clone().unwrap_or_else(|| PathBuf::from("-"));
        let bytes = contents(&file)?;
        let text = str::from_utf8(&bytes).map(without_line_end).unwrap_or_default();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("there is no token; name a file with --token-file or SCOPEGATE_TOKEN_FILE, or write it to standard input".into());
        }
        Ok(Zeroizing::new(text.to_owned()))
    }

    /// The token, where a file is named: this machine's own operator door asks for none.
    pub fn named_token(&self) -> Result<Option<Zeroizing<String>>, String> {
        self.token_file.as_ref().map(|_| self.token()).transpose()
    }

    /// `Ok(Err(…))` where it answers, and refuses.
    pub fn ask(&self, token: Option<&str>, call: &Call<'_>) -> Result<Result<Value, Refusal>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let asked = async {
            match self.exchange(token, call).await {
                // It may have been done and the answer lost; the same key gets the same answer.
                Err(_) if call.once.is_some() => self.exchange(token, call).await,
                answered => answered,
            }
        };
        let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        let (status, body) = answered.map_err(|_| format!("{} does not answer", self.url))??;
        let said: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or_default() };
        if status.is_success() {
            return Ok(Ok(said));
        }
        Ok(Err(refusal(status, &said)))
    }

    async fn exchange(&self, token: Option<&str>, call: &Call<'_>) -> Result<(StatusCode, Bytes), String> {
        let broken = |why: String| format!("{} cannot be asked: {why}; is a gate running there? --url names its operator's door", self.url);
        let (stream, host) = self.connect().await.map_err(broken)?;
        let request = request(call, token, &host).map_err(|error| broken(error.to_string()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST).collect().await.map_err(|error| broken(error.to_string()))?;
        Ok((head.status, body.to_bytes()))
    }

    async fn connect(&self) -> Result<(Box<dyn Stream>, String), String> {
        if let Some(path) = self.url.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
            return Ok((Box::new(stream), "localhost".into()));
        }
        let url = fetch::is_allowed(&self.url).map_err(|why| format!("{why}; it is https://host, http on this machine, or unix:/path"))?;
        let (Some(authority), Some(host)) = (url.authority(), url.host()) else { return Err("it names no host".into()) };
        let is_tls = url.scheme_str() == Some("https");
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((name, port)).await.map_err(|error| error.to_string())?;
        if !is_tls {
            return Ok((Box::new(stream), authority.to_string()));
        }
        let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(fetch::tls()?));
        let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let stream = tls.connect(server, stream).await.map_err(|error| error.to_string())?;
        Ok((Box::new(stream), authority.to_string()))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn request(call: &Call<'_>, token: Option<&str>, host: &str) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(call.method.clone()).uri(call.path).header(HOST, host);
    if let Some(token) = token {
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))?;
        bearer.set_sensitive(true);
        request = request.header(AUTHORIZATION, bearer);
    }
    if let Some(once) = call.once {
        request = request.header(HeaderName::from_static("idempotency-key"), once);
    }
    match call.body {
        Some(body) => request.header(CONTENT_TYPE, "application/json").body(Full::new(body.to_string().into())),
        None => request.body(Full::default()),
    }
}

/// What an answer says that is no result.
fn refusal(status: StatusCode, said: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = vec![format!("{}: {}", status.as_u16(), text(said, "message"))];
    for fault in said.get("faults").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("  {} {}", text(fault, "path"), text(fault, "message")));
    }
    lines.join("\n")
}

impl std::fmt::Debug for Service {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Service").field("url", &self.url).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Call({} {})", self.method, self.path)
    }
}
