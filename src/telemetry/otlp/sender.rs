//! Batches of one signal into exports over gRPC (OTLP 1.x), each with all its attempts within one time limit.
//! Keeps nothing that a collector did not take in that time, counts it, and tells the log of an outage once.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::uri::{PathAndQuery, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tonic::client::Grpc;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Request, Status};
use tonic_prost::ProstDecoder;

use super::variables::{Signal, Target};
use super::wire::{bytes, message, piece};
use crate::telemetry::instrument::Counter;

/// Before the second attempt; twice as much before each that follows.
const PAUSE: Duration = Duration::from_secs(1);
/// An idle connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(20);

pub struct Sender {
    signal: Signal,
    grpc: Grpc<Client<HttpsConnector<HttpConnector>, tonic::body::Body>>,
    endpoint: Uri,
    headers: MetadataMap,
    timeout: Duration,
    /// What all of it is of, and what made it.
    resource: Vec<u8>,
    dropped: Counter,
    /// How many were dropped since the collector last took some.
    outage: Option<u64>,
}

/// What a collector says to any export: of so many items it took none.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial: Option<Partial>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected: i64,
}

impl fmt::Debug for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sender").field("signal", &self.signal).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Sender {
    /// Connects to nobody yet. What is lost is counted in `dropped`.
    pub fn new(target: Target, (resource, tls): (&[u8], ClientConfig), dropped: Counter) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(target.timeout));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http2().wrap_connector(http);
        let mut client = Client::builder(TokioExecutor::new());
        client.http2_only(true).timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        client.http2_keep_alive_interval(PING).http2_keep_alive_timeout(PING);
        let Target { signal, endpoint, headers, timeout } = target;
        let headers = MetadataMap::from_headers(headers.into_iter().collect());
        let grpc = Grpc::with_origin(client.build(connector), endpoint.clone());
        Self { signal, grpc, endpoint, headers, timeout, resource: resource.to_vec(), dropped, outage: None }
    }

    /// `items` are of the list of the signal's scope: spans, metrics or lines of the log, `count` of them.
    pub async fn send(&mut self, items: &[u8], count: u64) {
        let export = Bytes::from(self.export(items));
        let mut last = None;
        match tokio::time::timeout(self.timeout, self.attempts(export, &mut last)).await {
            Ok(Ok(rejected)) => {
                self.dropped.add(rejected);
                if let Some(lost) = self.outage.take() {
                    tracing::info!("{} reach the collector at {} again; {lost} did not", self.signal.as_str(), self.endpoint);
                }
            }
            Ok(Err(status)) => self.lost(count, &told(&status)),
            Err(_) => self.lost(count, &last.map_or_else(|| "no answer in time".into(), |status| told(&status))),
        }
    }

    fn lost(&mut self, count: u64, why: &str) {
        self.dropped.add(count);
        match &mut self.outage {
            Some(lost) => *lost += count,
            None => {
                tracing::warn!("{} do not reach the collector at {}: {why}; until they do, they are dropped", self.signal.as_str(), self.endpoint);
                self.outage = Some(count);
            }
        }
    }

    /// Tries until the collector takes it, or says that it never will; gives how many items of it were refused.
    async fn attempts(&mut self, export: Bytes, last: &mut Option<Status>) -> Result<u64, Status> {
        let mut pause = PAUSE;
        loop {
            let status = match self.attempt(export.clone()).await {
                Ok(answer) => return Ok(answer.partial.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0))),
                Err(status) => status,
            };
            if !is_passing(&status) {
                return Err(status);
            }
            *last = Some(status);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn attempt(&mut self, export: Bytes) -> Result<Answer, Status> {
        let request = Request::from_parts(self.headers.clone(), Extensions::default(), export);
        self.grpc.ready().await.map_err(|error| Status::unavailable(cause(&error)))?;
        let path = PathAndQuery::from_static(match self.signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        });
        self.grpc.unary(request, path, Written).await.map(tonic::Response::into_inner)
    }

    /// `ExportTraceServiceRequest { resource_spans = 1: { resource = 1: { attributes = 1 }, scope_spans = 2: { scope = 1: { name = 1 },
    /// spans = 2 } } }`; the other two have other names and the same numbers.
    fn export(&self, items: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(items.len() + self.resource.len() + 64);
        message(&mut out, piece(1), |out| {
            bytes(out, piece(1), &self.resource);
            message(out, piece(2), |out| {
                message(out, piece(1), |out| bytes(out, piece(1), b"scopegate"));
                out.extend_from_slice(items);
            });
        });
        out
    }
}

/// What OTLP says to try again (OTLP 1.x, "Failures"), and a connection that is not to be had.
fn is_passing(status: &Status) -> bool {
    use Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, Unavailable, Unknown};
    let code = status.code();
    matches!(code, Cancelled | DeadlineExceeded | Aborted | OutOfRange | Unavailable | DataLoss) || (code == Unknown && status.source().is_some())
}

/// What the connection or the collector says, cut to a line.
fn told(status: &Status) -> String {
    let said = status.source().map_or_else(|| format!("{:?}: {}", status.code(), status.message()), cause);
    said.chars().map(|char| if char.is_control() { ' ' } else { char }).take(200).collect()
}

/// The innermost cause says most.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

/// An export is written already; its answer is not read yet.
struct Written;

impl Codec for Written {
    type Encode = Bytes;
    type Decode = Answer;
    type Encoder = Self;
    type Decoder = ProstDecoder<Answer>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for Written {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, export: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(export);
        Ok(())
    }
}
