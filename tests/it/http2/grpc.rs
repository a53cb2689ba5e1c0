//! A gRPC caller is refused in the words of gRPC (`PROTOCOL-HTTP2.md`): 200, trailers only.

use http::{HeaderMap, Request, StatusCode};

use crate::harness::upstream::Upstream;
use crate::harness::wire::Wire;
use crate::harness::{Gate, ask};

const POLICY: &str = "routes: {/open/: public, /app: app:use, /other: 'other:use'}\n";
const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;

async fn call(gate: &Gate, path: &str, fields: &[(&str, &str)]) -> (StatusCode, HeaderMap, bool) {
    let stream = tokio::net::TcpStream::connect(gate.proxy()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://a{path}"));
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = client.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.is_end_stream())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_is_200_with_its_status_in_the_trailers() {
    let gate = Gate::start(POLICY, TOKENS).await;
    let bearer = ("authorization", "Bearer token-of-the-app-1");
    for media in ["application/grpc", "application/grpc+proto", "application/grpc+json"] {
        for (path, fields, status, message, reason, challenged) in [
            ("/app", &[("content-type", media)][..], "16", "Missing or invalid token", "no_credential", true),
            ("/other", &[("content-type", media), bearer], "7", "Token does not have other:use scope", "insufficient_scope", true),
            ("/none", &[("content-type", media), bearer], "7", "No rule allows this request", "no_rule", false),
            ("/open//x", &[("content-type", media)], "13", "Malformed or ambiguous path", "ambiguous_path", false),
        ] {
            let (http, headers, ended) = call(&gate, path, fields).await;
            let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!((http, ended, said("content-type")), (StatusCode::OK, true, Some("application/grpc")), "{path}");
            assert_eq!(
                (said("grpc-status"), said("grpc-message"), said("x-scopegate-reason")),
                (Some(status), Some(message), Some(reason)),
                "{path}"
            );
            assert_eq!((said("www-authenticate").is_some(), said("x-scopegate-decision").is_some()), (challenged, true), "{path}");
            assert!(said("content-length").is_none(), "{path}");
        }
    }
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_upstream_is_gone_is_unavailable() {
    let upstream = Upstream::serving(async |_: Wire, _| None).await;
    let gate = Gate::before(upstream, POLICY, TOKENS).await;
    let (http, headers, ended) = call(&gate, "/open/x", &[("content-type", "application/grpc")]).await;
    assert_eq!((http, ended, headers["grpc-status"].to_str().unwrap()), (StatusCode::OK, true, "14"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_speak_grpc_gets_plain_http() {
    let gate = Gate::start(POLICY, TOKENS).await;
    for media in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text", "application/json"] {
        let (status, headers, ended) = call(&gate, "/app", &[("content-type", media)]).await;
        assert_eq!((status.as_u16(), ended, headers.contains_key("grpc-status")), (401, false, false), "{media}");
    }
    let reply = ask(gate.proxy(), "POST /app HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((reply.status, reply.header("grpc-status")), (401, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_upstream_is_its_own() {
    let answer = "HTTP/1.1 403 Forbidden\r\nx-scopegate-reason: no_rule\r\ncontent-length: 2\r\n\r\nno";
    let gate = Gate::before(Upstream::answering(answer).await, POLICY, TOKENS).await;
    let (status, headers, _) = call(&gate, "/open/x", &[("content-type", "application/grpc")]).await;
    assert_eq!((status.as_u16(), headers.contains_key("grpc-status"), headers.contains_key("x-scopegate-reason")), (403, false, false));
}
