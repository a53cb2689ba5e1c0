//! The application behind the gate: says 200 to everything, or 101 and then an echo, and remembers what it was asked, byte for byte.
//! Knows nothing of tokens.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::message::Message;
use crate::websocket;

pub const BODY: &str = "from the application";

#[derive(Debug)]
pub struct Application {
    pub port: u16,
    seen: Arc<Mutex<Vec<Message>>>,
    /// Whether answers at `/long` wait between their halves.
    held: Arc<AtomicBool>,
}

impl Application {
    pub fn start() -> Self {
        Self::at(TcpListener::bind(("127.0.0.1", 0)).unwrap())
    }

    pub fn at(listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let held: Arc<AtomicBool> = Arc::default();
        let (all, holding) = (Arc::clone(&seen), Arc::clone(&held));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, held) = (Arc::clone(&all), Arc::clone(&holding));
                std::thread::spawn(move || serve(&stream, &all, &held));
            }
        });
        Self { port, seen, held }
    }

    /// Whether answers at `/long` are to stop after their first half, from now on.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    /// What came in since the last call.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Message>>, held: &AtomicBool) {
    let mut from = BufReader::new(stream);
    while let Ok(Some(request)) = Message::read(&mut from, |_| true) {
        let key = request.header("upgrade").and_then(|_| request.header("sec-websocket-key")).map(str::to_owned);
        let body = if request.word(0) == "HEAD" { "" } else { BODY };
        let is_long = request.word(1) == "/long";
        // Remembered before it is answered, so that whoever has the answer finds it.
        seen.lock().unwrap().push(request);
        if let Some(key) = key {
            return websocket::echo(&mut from, stream, &key);
        }
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nX-Scopegate-Reason: forged\r\n\r\n{body}", BODY.len());
        let (first, rest) = answer.split_at(if is_long { answer.len() - BODY.len() / 2 } else { answer.len() });
        let mut sent = (&*stream).write_all(first.as_bytes());
        while is_long && held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        sent = sent.and_then(|()| (&*stream).write_all(rest.as_bytes()));
        if sent.is_err() {
            return;
        }
    }
}
