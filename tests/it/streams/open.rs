//! One open stream of each kind, each through a gate to an upstream that keeps it open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::frames::{BINARY, CLOSE, UPGRADE, agreed, frame};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Message, Wire, value};
use crate::harness::{DEADLINE, Gate, until, write_secret};

/// How a stream ended, as its client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A Close frame with this code and reason.
    WebSocket(u16, String),
    /// The body is whole, by its framing.
    Events,
    /// `grpc-status` and `grpc-message` of the trailers.
    Call(String, String),
}

impl End {
    pub fn of_credential(message: &str) -> [Self; 3] {
        [Self::WebSocket(3000, message.into()), Self::Events, Self::Call("16".into(), message.into())]
    }

    pub fn of_scope() -> [Self; 3] {
        [Self::WebSocket(3003, "insufficient scope".into()), Self::Events, Self::Call("7".into(), "insufficient scope".into())]
    }
}

pub enum Stream {
    WebSocket(Wire),
    Events(Wire),
    Call { ask: h2::SendStream<Bytes>, answer: h2::RecvStream },
}

impl Stream {
    /// Proves that it carries something still.
    pub async fn is_open(&mut self) {
        match self {
            Self::WebSocket(wire) => {
                wire.send(frame(BINARY, b"ping", true)).await;
                assert_eq!(limited(wire.frame()).await, Some((BINARY, b"ping".to_vec(), false)));
            }
            // The upstream says something now and then.
            Self::Events(wire) => assert_eq!(limited(chunk(wire)).await.as_deref(), Some(EVENT)),
            Self::Call { ask, answer } => {
                ask.send_data(Bytes::from_static(EVENT), false).unwrap();
                assert_eq!(limited(answer.data()).await.unwrap().unwrap(), EVENT);
                answer.flow_control().release_capacity(EVENT.len()).unwrap();
            }
        }
    }

    pub async fn end(&mut self) -> End {
        match self {
            Self::WebSocket(wire) => {
                let (opcode, payload, masked) = limited(wire.frame()).await.expect("a Close frame");
                assert_eq!((opcode, masked), (CLOSE, false));
                wire.send(frame(CLOSE, &payload[..2], true)).await;
                assert!(wire.is_closed().await, "something came behind the Close frame");
                End::WebSocket(u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap())
            }
            Self::Events(wire) => {
                while let Some(event) = limited(chunk(wire)).await {
                    assert_eq!(event, EVENT);
                }
                End::Events
            }
            Self::Call { answer, .. } => {
                while let Some(data) = limited(answer.data()).await {
                    let _ = data.expect("no reset before the trailers");
                }
                let trailers = limited(answer.trailers()).await.unwrap().expect("trailers");
                let said = |name: &str| trailers[name].to_str().unwrap().to_owned();
                End::Call(said("grpc-status"), said("grpc-message"))
            }
        }
    }

    pub fn expired(&self) -> End {
        let [socket, events, call] = End::of_credential("credential expired");
        match self {
            Self::WebSocket(_) => socket,
            Self::Events(_) => events,
            Self::Call { .. } => call,
        }
    }
}

const EVENT: &[u8] = b"data: 1\n\n";

async fn limited<T>(waits: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, waits).await.expect("in time")
}

/// The next chunk of a body; `None` for the last.
async fn chunk(wire: &mut Wire) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(wire.bytes(1).await);
    }
    let size = usize::from_str_radix(str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut data = wire.bytes(size + 2).await;
    data.truncate(size);
    (size > 0).then_some(data)
}

/// Two gates with the same rules: one before an HTTP/1.1 upstream, one before one of HTTP/2.
pub struct House {
    one: Gate,
    two: Gate,
    heard: Arc<Mutex<Vec<&'static str>>>,
}

impl House {
    pub async fn open(config: &str, tokens: &str) -> Self {
        let heard = Arc::<Mutex<Vec<&str>>>::default();
        let book = Arc::clone(&heard);
        let upstream = Upstream::serving(move |wire: Wire, request: Message| serve(wire, request, Arc::clone(&book))).await;
        let one = Gate::before(upstream, config, tokens).await;
        let address = calls(Arc::clone(&heard)).await;
        let two = Gate::start(&format!("{config}upstream: h2c://{address}\n"), tokens).await;
        Self { one, two, heard }
    }

    pub fn gates(&self) -> [&Gate; 2] {
        [&self.one, &self.two]
    }

    /// Drains the first; the other goes on.
    pub async fn stop_first(self) {
        self.one.running.stop().await;
    }

    /// Both gates read these.
    pub async fn change(&self, config: &str, tokens: &str) {
        for gate in self.gates() {
            let path = gate.folder.path().join("scopegate.yaml");
            let old = std::fs::read_to_string(&path).unwrap();
            let upstream = old.lines().find(|line| line.starts_with("upstream:")).unwrap();
            gate.rewrite(&format!("{config}{upstream}\n"));
            write_secret(&gate.folder.path().join("tokens.json"), tokens);
            assert_eq!(gate.reload().await.status, 200);
        }
    }

    /// One of each kind, open.
    pub async fn streams(&self, token: &str) -> [Stream; 3] {
        let said = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let mut socket = Wire::connect(self.one.proxy()).await;
        socket.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{UPGRADE}{said}\r\n")).await;
        assert!(socket.response_head().await.starts_with("HTTP/1.1 101 "));
        let mut events = Wire::connect(self.one.proxy()).await;
        events.send(format!("GET /events HTTP/1.1\r\nhost: a\r\n{said}\r\n")).await;
        assert!(events.response_head().await.starts_with("HTTP/1.1 200 "));
        let mut list = [Stream::WebSocket(socket), Stream::Events(events), call(&self.two, token).await];
        for stream in &mut list {
            stream.is_open().await;
        }
        list
    }

    /// Events on a connection of HTTP/2, and as the answer to a request that had a body.
    pub async fn other_events(&self, token: &str) -> (h2::RecvStream, Stream) {
        let (mut client, connection) = h2::client::handshake(TcpStream::connect(self.one.proxy()).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a/events").header("authorization", format!("Bearer {token}")).body(()).unwrap();
        let answer = limited(client.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut wire = Wire::connect(self.one.proxy()).await;
        wire.send(format!("POST /events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 2\r\n\r\nhi")).await;
        assert!(wire.response_head().await.starts_with("HTTP/1.1 200 "));
        (answer.into_body(), Stream::Events(wire))
    }

    /// Whether the upstream's side of each was told of the end.
    pub async fn upstreams_heard(&self, names: &[&str]) -> bool {
        until("the upstream's side", async || {
            let heard = self.heard.lock().unwrap();
            names.iter().all(|name| heard.contains(name)).then_some(true)
        })
        .await
    }

    pub async fn told(&self) -> (String, [String; 2]) {
        (self.one.audit().await + &self.two.audit().await, [self.one.metrics().await, self.two.metrics().await])
    }

    /// Requests for a path, one after another until `done`; gives how many there were.
    pub fn load(&self, path: &'static str, done: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
        let address = self.one.proxy();
        tokio::spawn(async move {
            let (mut wire, mut count) = (Wire::connect(address).await, 0);
            while !done.load(Ordering::SeqCst) {
                wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
                assert_eq!(wire.reply(false).await.status, 200);
                count += 1;
            }
            count
        })
    }
}

/// A WebSocket that echoes, events without end, or `ok`.
async fn serve(mut wire: Wire, request: Message, heard: Arc<Mutex<Vec<&'static str>>>) -> Option<Wire> {
    if request.first.starts_with("GET /ws") {
        wire.send(agreed(&request)).await;
        while let Some((opcode, payload, masked)) = wire.frame().await {
            assert!(masked);
            if opcode == CLOSE {
                assert_eq!(payload, b"\x03\xe9going away");
                heard.lock().unwrap().push("ws");
            }
            wire.send(frame(opcode, &payload, false)).await;
        }
        return None;
    }
    if value(&request.headers, "host").is_some() && request.first.contains(" /events ") {
        wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let event = [b"9\r\n", EVENT, b"\r\n"].concat();
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = ticks.tick() => wire.send(&event).await,
                gone = wire.try_bytes(1) => {
                    assert_eq!(gone, None);
                    heard.lock().unwrap().push("events");
                    return None;
                }
            }
        }
    }
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    Some(wire)
}

/// An HTTP/2 server that sends back what it gets and ends nothing.
async fn calls(heard: Arc<Mutex<Vec<&'static str>>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let heard = Arc::clone(&heard);
                    tokio::spawn(async move {
                        let head = http::Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap();
                        let mut answer = respond.send_response(head, false).unwrap();
                        let mut asked = request.into_body();
                        while let Some(Ok(data)) = asked.data().await {
                            asked.flow_control().release_capacity(data.len()).unwrap();
                            let _ = answer.send_data(data, false);
                        }
                        // Both ends of it are over, or this would wait for ever.
                        if std::future::poll_fn(|context| answer.poll_reset(context)).await.is_ok() {
                            heard.lock().unwrap().push("call");
                        }
                    });
                }
            });
        }
    });
    address
}

async fn call(gate: &Gate, token: &str) -> Stream {
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(gate.proxy()).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("te", "trailers".parse().unwrap());
    if !token.is_empty() {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut request = Request::post("http://a/call").body(()).unwrap();
    *request.headers_mut() = headers;
    let (answer, ask) = client.send_request(request, false).unwrap();
    let answer = limited(answer).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().get("grpc-status")), (200, None));
    Stream::Call { ask, answer: answer.into_body() }
}
