//! A tonic client and a tonic server with the gate between them: one message or many, in each direction.
//! The service is written by hand, without generated code; its messages are texts.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::gate::{Desk, Gate};

const TOKEN: &str = "token-of-the-caller-1";
const OTHER: &str = "token-of-the-other-1";

type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// The server: a method is what becomes of the texts that come in.
#[derive(Clone)]
struct Words;

#[derive(Clone, Copy)]
enum Method {
    /// One in, one out, aloud.
    Shout,
    /// Many in, one out.
    Join,
    /// One in, its letters out.
    Spell,
    /// Each comes back as it came, and the call ends with a status.
    Talk,
}

impl NamedService for Words {
    const NAME: &'static str = "words.Words";
}

impl Service<http::Request<tonic::body::Body>> for Words {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let method = match request.uri().path() {
            "/words.Words/Shout" => Method::Shout,
            "/words.Words/Join" => Method::Join,
            "/words.Words/Spell" => Method::Spell,
            "/words.Words/Talk" => Method::Talk,
            other => panic!("no {other}"),
        };
        Box::pin(async move { Ok(tonic::server::Grpc::new(codec()).streaming(method, request).await) })
    }
}

impl Service<Request<Streaming<String>>> for Method {
    type Response = Response<Texts>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let who = request.metadata().get("x-scopegate-id").map_or_else(String::new, |id| id.to_str().unwrap().to_owned());
        let (out, answer) = mpsc::channel(4);
        tokio::spawn(serve(*self, request.into_inner(), out, who));
        ready(Ok(Response::new(Box::pin(ReceiverStream::new(answer)))))
    }
}

async fn serve(method: Method, mut texts: Streaming<String>, out: mpsc::Sender<Result<String, Status>>, who: String) {
    match method {
        Method::Shout => {
            let text = texts.message().await.unwrap().unwrap();
            let _ = out.send(Ok(format!("{} for {who}", text.to_uppercase()))).await;
        }
        Method::Join => {
            let mut all = Vec::new();
            while let Some(text) = texts.message().await.unwrap() {
                all.push(text);
            }
            let _ = out.send(Ok(all.join(" "))).await;
        }
        Method::Spell => {
            for letter in texts.message().await.unwrap().unwrap().chars() {
                let _ = out.send(Ok(letter.into())).await;
            }
        }
        Method::Talk => {
            while let Some(text) = texts.message().await.unwrap() {
                let _ = out.send(Ok(text)).await;
            }
            let _ = out.send(Err(Status::resource_exhausted("said enough"))).await;
        }
    }
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

/// The gate before a server of the test's own.
async fn gate() -> Gate {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(Words).serve_with_incoming(incoming));
    let entry = |id: &str, token: &str, scope: &str| json!({"id": id, "token": token, "scopes": [scope]});
    let config = json!({
        "upstream": format!("h2c://{address}"),
        "credentials": {"tokens": {"kind": "static", "file": "tokens.json"}},
        "routes": {"POST /words.Words/{method}": "words:say"},
    });
    let tokens = json!([entry("caller", TOKEN, "words:say"), entry("other", OTHER, "words:hear")]).to_string();
    tokio::task::spawn_blocking(move || Desk::new().file("tokens.json", &tokens).serve(&config)).await.unwrap()
}

async fn client(gate: &Gate) -> tonic::client::Grpc<Channel> {
    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{}", gate.door())).unwrap().connect().await.unwrap();
    tonic::client::Grpc::new(channel)
}

fn by<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/words.Words/{method}").parse().unwrap()
}

async fn all(mut texts: Streaming<String>) -> (Vec<String>, Option<Status>) {
    let mut all = Vec::new();
    loop {
        match texts.message().await {
            Ok(Some(text)) => all.push(text),
            Ok(None) => return (all, None),
            Err(status) => return (all, Some(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_streams_in_both_directions_go_through_the_gate() {
    let gate = gate().await;
    let mut client = client(&gate).await;
    let texts = || tokio_stream::iter(["one", "two", "three"].map(str::to_owned));
    client.ready().await.unwrap();
    let answer = client.unary(by(Some(TOKEN), "hello".to_owned()), path("Shout"), codec()).await.unwrap();
    assert_eq!(answer.into_inner(), "HELLO for caller");
    client.ready().await.unwrap();
    let answer = client.client_streaming(by(Some(TOKEN), texts()), path("Join"), codec()).await.unwrap();
    assert_eq!(answer.into_inner(), "one two three");
    client.ready().await.unwrap();
    let answer = client.server_streaming(by(Some(TOKEN), "hey".to_owned()), path("Spell"), codec()).await.unwrap();
    let (letters, status) = all(answer.into_inner()).await;
    assert_eq!((letters, status.is_none()), (["h", "e", "y"].map(str::to_owned).to_vec(), true));
    // The next text goes out once the last has come back.
    let (said, say) = mpsc::channel(1);
    client.ready().await.unwrap();
    let answer = client.streaming(by(Some(TOKEN), ReceiverStream::new(say)), path("Talk"), codec()).await.unwrap();
    let mut back = answer.into_inner();
    for word in ["one", "two", "three"] {
        said.send(word.to_owned()).await.unwrap();
        assert_eq!(back.next().await.unwrap().unwrap(), word);
    }
    drop(said);
    let end = back.next().await.unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::ResourceExhausted, "said enough"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_a_status_with_its_reason() {
    let gate = gate().await;
    let mut client = client(&gate).await;
    let (unauthenticated, denied) = ("Missing or invalid token", "Token does not have words:say scope");
    for (token, code, message) in [
        (None, Code::Unauthenticated, unauthenticated),
        (Some("nobodys"), Code::Unauthenticated, unauthenticated),
        (Some(OTHER), Code::PermissionDenied, denied),
    ] {
        client.ready().await.unwrap();
        let status = client.unary(by(token, "hello".to_owned()), path("Shout"), codec()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message), "one message");
        // Its client goes on talking; the refusal does not wait for the end.
        let (_said, say) = mpsc::channel(1);
        client.ready().await.unwrap();
        let status = client.streaming(by(token, ReceiverStream::new(say)), path("Talk"), codec()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message), "a stream");
    }
}
