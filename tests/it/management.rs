//! The management API from outside, on a SQLite store: what each call answers, and that whatever it refuses has changed nothing.

mod frame;
mod office;
mod profiles;
mod revocation;
mod roles;
mod tenants;

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::ask;
use crate::harness::wire::Reply;

/// One call with a bearer token, if any, and a JSON body, if any.
pub async fn call(address: SocketAddr, line: &str, token: &str, body: Option<&Value>) -> Reply {
    let mut request = format!("{line} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n");
    if !token.is_empty() {
        request.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    match body {
        Some(body) => {
            let body = body.to_string();
            request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
        None => request.push_str("content-length: 0\r\n\r\n"),
    }
    ask(address, request).await
}

pub fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&reply.body)))
}
