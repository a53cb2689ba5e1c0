//! Clients of a gateway that ask again and again, each on one connection that is never to break, over HTTP/1.1 and HTTP/2.
//! Retries nothing: whatever is not answered as decided ends the test.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::fleet::Fleet;
use crate::application::{Application, BODY};
use crate::client::Ask;
use crate::message::Message;
use crate::process::until;

pub const READER: &str = "token-of-the-reader-1";
pub const WRITER: &str = "token-of-the-writer-1";

/// Of each version.
const CLIENTS: usize = 3;
/// Requests of one HTTP/2 client at a time.
const AT_ONCE: usize = 3;

/// What the clients ask in turn, by the token they show; whether with a body; and what that is answered.
const ASKED: [(&str, &str, Option<&str>, bool, u16); 6] = [
    ("GET", "/orders", Some(READER), false, 200),
    ("POST", "/orders", Some(WRITER), true, 200),
    ("GET", "/orders", None, false, 401),
    ("GET", "/orders", Some(WRITER), false, 403),
    ("POST", "/orders", Some(READER), true, 403),
    ("GET", "/open", None, false, 200),
];

#[derive(Debug)]
pub struct Load {
    state: Arc<State>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    done: AtomicBool,
    /// Of each client.
    answers: [AtomicUsize; CLIENTS * 2],
}

impl State {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

impl Load {
    pub fn start(fleet: &Fleet) -> Self {
        let (state, port): (Arc<State>, _) = (Arc::default(), fleet.port);
        // Envoy's workers hear a little later of what its main thread says.
        until("an answer", || Ask::get("/open").send(port).status == 200);
        let client = |number: usize| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || if number < CLIENTS { one(port, number, &state) } else { two(port, number, &state) })
        };
        let clients = (0..CLIENTS * 2).map(client).collect();
        let load = Self { state, clients };
        load.goes_on();
        load
    }

    /// Waits until every client was answered a few times more.
    pub fn goes_on(&self) {
        let counts = || self.state.answers.each_ref().map(|count| count.load(Ordering::SeqCst));
        let before = counts();
        until("answers", || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client went home");
            counts().iter().zip(&before).all(|(now, before)| *now >= before + 2 * ASKED.len())
        });
    }

    /// Ends it. What was to arrive has arrived once, and nothing else has.
    pub fn stop(self, application: &Application) {
        self.goes_on();
        self.state.done.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().unwrap();
        }
        let mut arrived: HashMap<String, usize> = HashMap::new();
        for request in application.take().into_iter().filter(|request| request.word(0) == "POST") {
            assert_eq!(request.header("x-scopegate-id"), Some("writer"));
            *arrived.entry(request.text()).or_default() += 1;
        }
        assert_eq!(arrived.iter().find(|(_, times)| **times != 1), None);
        let posted = |count: &AtomicUsize| (0..count.load(Ordering::SeqCst)).filter(|round| round % ASKED.len() == 1).count();
        assert_eq!(arrived.len(), self.state.answers.iter().map(posted).sum::<usize>());
    }
}

/// A client of HTTP/1.1.
fn one(port: u16, number: usize, state: &State) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut from = BufReader::new(stream.try_clone().unwrap());
    for round in 0.. {
        let (method, path, token, has_body, status) = ASKED[round % ASKED.len()];
        let what = format!("{method} {path} of client {number}, round {round}");
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n");
        request.extend(token.map(|token| format!("Authorization: Bearer {token}\r\n")));
        let body = if has_body { format!("{number}-{round}") } else { String::new() };
        if has_body && number.is_multiple_of(2) {
            request += &format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        } else if has_body {
            request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        } else {
            request += "\r\n";
        }
        stream.write_all(request.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let answer = Message::read(&mut from, |_| true).unwrap_or_else(|error| panic!("{what}: {error}"));
        let answer = answer.unwrap_or_else(|| panic!("{what}: the connection ended"));
        judged(&what, answer.word(1).parse().unwrap(), status, &answer.text());
        state.answers[number].fetch_add(1, Ordering::SeqCst);
        if state.is_done() {
            return;
        }
    }
}

/// A client of HTTP/2, by prior knowledge, with several requests at once.
fn two(port: u16, number: usize, state: &State) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let running = tokio::spawn(connection);
        let mut round = 0;
        while !state.is_done() {
            let asked = (round..round + AT_ONCE).map(|round| {
                let mut client = client.clone();
                tokio::spawn(async move {
                    let (method, path, token, has_body, status) = ASKED[round % ASKED.len()];
                    let what = format!("{method} {path} of client {number} by HTTP/2, round {round}");
                    let mut request = http::Request::builder().method(method).uri(format!("http://shop.test{path}"));
                    if let Some(token) = token {
                        request = request.header("authorization", format!("Bearer {token}"));
                    }
                    let body = if has_body { Bytes::from(format!("{number}-{round}")) } else { Bytes::new() };
                    let request = request.body(Full::new(body)).unwrap();
                    let answer = client.send_request(request).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                    let answered = answer.status().as_u16();
                    let body = answer.into_body().collect().await.unwrap_or_else(|error| panic!("{what}: {error}")).to_bytes();
                    judged(&what, answered, status, &String::from_utf8_lossy(&body));
                })
            });
            for asked in asked.collect::<Vec<_>>() {
                asked.await.unwrap();
                state.answers[number].fetch_add(1, Ordering::SeqCst);
            }
            round += AT_ONCE;
        }
        drop(client);
        running.await.unwrap().unwrap();
    });
}

fn judged(what: &str, status: u16, wanted: u16, body: &str) {
    assert_eq!(status, wanted, "{what}: {body}");
    assert_eq!(body == BODY, wanted == 200, "{what}: {status} {body}");
}
