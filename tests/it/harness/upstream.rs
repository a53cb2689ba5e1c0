//! The service behind the proxy door: writes down every request byte for byte and answers as a test asks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::wire::{Message, Wire};

#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Answers every request with `200` and `ok`.
    pub async fn start() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await
    }

    /// Answers every request with these bytes, HEAD with their head; where they say `connection: close`, it closes.
    pub async fn answering(response: &'static str) -> Self {
        Self::serving(async move |mut wire, message: Message| {
            let end = if message.first.starts_with("HEAD ") { response.find("\r\n\r\n").unwrap() + 4 } else { response.len() };
            wire.send(&response[..end]).await;
            (!response.contains("connection: close")).then_some(wire)
        })
        .await
    }

    /// Hands each request and its connection to `answer`, which gives the connection back or closes it.
    pub async fn serving<F, A>(answer: F) -> Self
    where
        F: Fn(Wire, Message) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Wire>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (book, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, answer) = (Arc::clone(&book), Arc::clone(&answer));
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let mut wire = Wire::new(stream);
                    while let Some(message) = wire.request().await {
                        book.lock().unwrap().push(message.clone());
                        match answer(wire, message).await {
                            Some(kept) => wire = kept,
                            None => break,
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// As [`Self::serving`], with each request as soon as its head is there; its connection serves no other.
    pub async fn heads<F, A>(answer: F) -> Self
    where
        F: Fn(Wire, String) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (book, answer) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, answer) = (Arc::clone(&book), Arc::clone(&answer));
                stream.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let mut wire = Wire::new(stream);
                    if let Some(head) = wire.try_head().await {
                        let first = head.lines().next().unwrap_or_default().to_owned();
                        book.lock().unwrap().push(Message { first, head: head.clone().into_bytes(), headers: Vec::new(), body: Vec::new() });
                        answer(wire, head).await;
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// What came since it was last asked.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}
