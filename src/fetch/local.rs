//! A small HTTP server of the tests, which answers as a test tells it and counts what it was asked.
//! Keeps no time: a test waits for a number of requests, and lets go of answers that are held back.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What a path answers with.
#[derive(Clone, Debug)]
pub enum Reply {
    Whole(u16, Vec<(&'static str, String)>, String),
    /// As `Whole` with 200 once the server is told to let go.
    Held(String),
    /// A head and one byte, then nothing ever.
    Stalled,
    /// Spaces without end, and without a length.
    Endless,
    /// A length beyond every bound, and no body.
    Announced(usize),
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub body: String,
}

#[derive(Debug)]
pub struct Local {
    pub base: String,
    replies: Arc<Mutex<Vec<(String, Reply)>>>,
    asked: watch::Sender<Vec<Asked>>,
    letting_go: watch::Sender<bool>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Local {
    pub async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = Arc::new(Self { base, replies: Arc::default(), asked: watch::Sender::default(), letting_go: watch::Sender::default() });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&serving);
                let service = service_fn(move |request| Arc::clone(&server).answer(request));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn reply(&self, path: &str, reply: Reply) {
        let mut replies = self.replies.lock().unwrap();
        replies.retain(|(known, _)| known != path);
        replies.push((path.into(), reply));
    }

    pub fn reply_with(&self, path: &str, body: &str) {
        self.reply(path, Reply::Whole(200, vec![], body.into()));
    }

    /// Every held answer goes out, from now on at once.
    pub fn let_go(&self) {
        self.letting_go.send_replace(true);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    pub fn count(&self, path: &str) -> usize {
        self.asked.borrow().iter().filter(|asked| asked.path == path).count()
    }

    /// Waits until `path` was asked for so many times.
    pub async fn wait(&self, path: &str, count: usize) {
        let enough = |asked: &Vec<Asked>| asked.iter().filter(|asked| asked.path == path).count() >= count;
        self.asked.subscribe().wait_for(enough).await.unwrap();
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.asked.send_modify(|list| list.push(Asked { path: path.clone(), authorization, body }));
        let reply = self.replies.lock().unwrap().iter().find(|(known, _)| *known == path).map(|(_, reply)| reply.clone());
        Ok(match reply.unwrap_or(Reply::Whole(404, vec![], String::new())) {
            Reply::Whole(status, headers, body) => {
                let response = headers.into_iter().fold(Response::builder().status(status), |response, (name, value)| response.header(name, value));
                response.body(whole(body)).unwrap()
            }
            Reply::Held(body) => {
                self.letting_go.subscribe().wait_for(|go| *go).await.unwrap();
                Response::new(whole(body))
            }
            Reply::Stalled => Response::new(parts(tokio_stream::StreamExt::chain(tokio_stream::once(" "), tokio_stream::pending()))),
            Reply::Endless => Response::new(parts(tokio_stream::iter(std::iter::repeat(SPACES)))),
            Reply::Announced(length) => Response::builder().header("content-length", length).body(parts(tokio_stream::pending())).unwrap(),
        })
    }
}

const SPACES: &str = match str::from_utf8(&[b' '; 4096]) {
    Ok(spaces) => spaces,
    Err(_) => "",
};

fn whole(body: String) -> Body {
    Full::new(Bytes::from(body)).boxed_unsync()
}

fn parts(stream: impl tokio_stream::Stream<Item = &'static str> + Send + 'static) -> Body {
    let frames = tokio_stream::StreamExt::map(stream, |part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
    StreamBody::new(frames).boxed_unsync()
}

/// Moves tokio's clock without letting it run away while sockets are waited for.
pub async fn leap(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
