//! Shared caches: no caller's answer is handed to another, whatever place the credential came from.

use crate::harness::grpc::{self, Asked};
use crate::harness::upstream::Upstream;
use crate::harness::{Gate, ask};
use scopegate::proto::check_response::HttpResponse;

const TOKENS: &str = r#"[{"id": "app", "token": "token-of-the-app-1", "scopes": ["app:use"]}]"#;
const CONFIG: &str = "\
credentials:
  app: {kind: static, file: tokens.json, from: [header:x-api-key, cookie:sid, query:key, bearer]}
routes: {/use: {scopes: [app:use], query_credentials: true}, /open: public}
";

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_other_credentials_than_authorization_are_private() {
    for (answer, own, kept) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", None, "private"),
        ("HTTP/1.1 200 OK\r\ncache-control: max-age=5\r\ncontent-length: 2\r\n\r\nok", Some("max-age=5"), "max-age=5"),
    ] {
        let gate = Gate::before(Upstream::answering(answer).await, CONFIG, TOKENS).await;
        for (target, field, control, vary) in [
            ("/use", "x-api-key: token-of-the-app-1", Some(kept), Some("x-api-key")),
            ("/use", "cookie: sid=token-of-the-app-1", Some(kept), Some("cookie")),
            ("/use?key=token-of-the-app-1", "accept: */*", Some("private, no-store"), None),
            ("/use", "authorization: Bearer token-of-the-app-1", own, None),
            ("/open", "x-api-key: token-of-the-app-1", own, None),
        ] {
            let reply = ask(gate.proxy(), format!("GET {target} HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n")).await;
            let told = (reply.header("cache-control"), reply.header("vary"));
            assert_eq!((reply.status, told.0.as_deref(), told.1.as_deref()), (200, control, vary), "{target} {field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_told_the_same() {
    let gate = Gate::start(CONFIG, TOKENS).await;
    let mut client = grpc::connect(gate.ext_authz()).await;
    for (target, header, expected) in [
        ("/use", ("x-api-key", "token-of-the-app-1"), vec![("cache-control", "private", 1), ("vary", "x-api-key", 0)]),
        ("/use?key=token-of-the-app-1", ("accept", "*/*"), vec![("cache-control", "private, no-store", 2)]),
        ("/use", ("authorization", "Bearer token-of-the-app-1"), vec![]),
    ] {
        let mut asked = Asked::get(target, None);
        asked.headers = vec![(header.0.to_owned(), header.1.into())];
        let response = asked.ask(&mut client).await;
        let Some(HttpResponse::OkResponse(allowed)) = &response.http_response else { panic!("{response:?}") };
        let added = allowed.response_headers_to_add.iter().map(|option| {
            let header = option.header.as_ref().unwrap();
            (str::from_utf8(&header.key).unwrap(), str::from_utf8(&header.value).unwrap(), option.append_action)
        });
        assert_eq!(added.collect::<Vec<_>>(), expected, "{target}");
    }
}
