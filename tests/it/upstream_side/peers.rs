//! HTTP/2 on either side of the gate: an upstream that answers as a test asks, over TLS or without, and a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, client};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::DEADLINE;

pub type Asked = Request<RecvStream>;
pub type Reply = SendResponse<Bytes>;

/// An HTTP/2 upstream, and how often it was connected to.
pub struct Peer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    /// Hands each request to `answer`.
    pub async fn serving<F, A>(answer: F) -> Self
    where
        F: Fn(Asked, Reply) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::with(None, Builder::new(), answer).await
    }

    /// Over TLS, and with settings of its own.
    pub async fn with<F, A>(tls: Option<Arc<ServerConfig>>, builder: Builder, answer: F) -> Self
    where
        F: Fn(Asked, Reply) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (counted, answer) = (Arc::clone(&connections), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                let (tls, builder, answer) = (tls.clone(), builder.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, builder, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                serve(stream, builder, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn serve<S, F, A>(stream: S, builder: Builder, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Asked, Reply) -> A + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, reply))) = connection.accept().await {
        tokio::spawn(answer(request, reply));
    }
}

/// Answers with `200`, the whole body that came, and the trailers that came with it.
pub async fn echo(request: Asked, mut reply: Reply) {
    let (parts, mut body) = request.into_parts();
    let mut response = Response::new(());
    for (name, value) in parts.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-") || *name == "te" || *name == "host") {
        response.headers_mut().insert(format!("seen-{name}").parse::<http::HeaderName>().unwrap(), value.clone());
    }
    response.headers_mut().insert("seen-target", parts.uri.to_string().parse().unwrap());
    let mut stream = reply.send_response(response, false).unwrap();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        if stream.send_data(data, false).is_err() {
            return;
        }
    }
    match body.trailers().await {
        Ok(Some(trailers)) => drop(stream.send_trailers(trailers)),
        Ok(None) => drop(stream.send_data(Bytes::new(), true)),
        Err(_) => stream.send_reset(h2::Reason::INTERNAL_ERROR),
    }
}

/// A client's connection to the gate.
pub async fn dial(address: SocketAddr) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

pub fn post(gate: SocketAddr, path: &str) -> Request<()> {
    Request::post(format!("http://{gate}{path}")).body(()).unwrap()
}

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

/// All of a body and its trailers, or the fault that it broke off with.
pub async fn whole(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = soon(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, soon(body.trailers()).await?))
}
