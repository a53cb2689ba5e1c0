//! Envoy's side of the ext_authz door: builds checks in both header encodings and does with the answer what Envoy does.

use std::net::SocketAddr;

use scopegate::proto::attribute_context::{HttpRequest, Peer, Request};
use scopegate::proto::authorization_client::AuthorizationClient;
use scopegate::proto::check_response::HttpResponse;
use scopegate::proto::{AttributeContext, CheckRequest, CheckResponse, Entry, HeaderMap, HeaderValue, HeaderValueOption, value::Kind};
use tonic::transport::{Channel, Endpoint};

pub type Client = AuthorizationClient<Channel>;
pub type Header = (String, Vec<u8>);

pub async fn connect(address: SocketAddr) -> Client {
    Client::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

/// A request as Envoy saw it.
#[derive(Clone, Default)]
pub struct Asked {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub host: Vec<u8>,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    /// `encode_raw_headers: true`.
    pub raw: bool,
    pub extensions: Vec<(&'static str, &'static str)>,
    /// Who the proxy says the client's certificate names.
    pub source: Option<Peer>,
}

impl Asked {
    pub fn get(target: &str, token: Option<&str>) -> Self {
        let headers = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}").into_bytes())).into_iter().collect();
        Self { method: b"GET".to_vec(), target: target.into(), host: b"app.test".to_vec(), headers, ..Self::default() }
    }

    pub fn check(self) -> CheckRequest {
        let mut headers = self.headers;
        if !self.body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            headers.push(("content-length".into(), self.body.len().to_string().into_bytes()));
        }
        let mut http = HttpRequest { method: self.method.into(), path: self.target.into(), host: self.host.into(), ..Default::default() };
        if self.raw {
            http.raw_body = self.body.into();
            let header = |(name, value): Header| HeaderValue { key: name.into(), raw_value: value.into(), ..Default::default() };
            http.header_map = Some(HeaderMap { headers: headers.into_iter().map(header).collect() });
        } else {
            http.body = self.body.into();
            http.headers = joined(headers).into_iter().map(|(name, value)| Entry { key: name.into(), value: value.into() }).collect();
        }
        let entry = |(key, value): (&'static str, &'static str)| Entry { key: key.into(), value: value.into() };
        let context_extensions = self.extensions.into_iter().map(entry).collect();
        let attributes = AttributeContext { request: Some(Request { http: Some(http) }), source: self.source, context_extensions };
        CheckRequest { attributes: Some(attributes) }
    }

    pub async fn ask(self, client: &mut Client) -> CheckResponse {
        client.check(self.check()).await.expect("a decision is always gRPC OK").into_inner()
    }
}

/// Envoy's `headers` is a map: repeated lines arrive as one, joined by commas, under lower-case names.
fn joined(headers: Vec<Header>) -> Vec<Header> {
    let mut list: Vec<Header> = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        match list.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                known.push(b',');
                known.extend(value);
            }
            None => list.push((name, value)),
        }
    }
    list
}

/// 200 for an allow, else what the client would get.
pub fn status(response: &CheckResponse) -> u16 {
    let code = response.status.as_ref().map(|status| status.code);
    match &response.http_response {
        Some(HttpResponse::OkResponse(_)) if code == Some(0) => 200,
        Some(HttpResponse::DeniedResponse(denied)) if code != Some(0) => u16::try_from(denied.status.as_ref().unwrap().code).unwrap(),
        other => panic!("status {code:?} does not go with {other:?}"),
    }
}

/// A header of the denial.
pub fn denied_header(response: &CheckResponse, name: &str) -> Option<String> {
    match &response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => denied.headers.iter().find_map(|option| named(option, name)),
        _ => None,
    }
}

fn named(option: &HeaderValueOption, name: &str) -> Option<String> {
    let header = option.header.as_ref()?;
    (header.key == name.as_bytes()).then(|| String::from_utf8(header.value.to_vec()).unwrap())
}

pub fn reason(response: &CheckResponse) -> Option<String> {
    denied_header(response, "x-scopegate-reason")
}

/// A text or number of `dynamic_metadata`.
pub fn metadata(response: &CheckResponse, key: &str) -> Option<String> {
    let fields = &response.dynamic_metadata.as_ref()?.fields;
    fields.iter().find(|field| field.key == key.as_bytes()).map(|field| match field.value.as_ref().and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => String::from_utf8(text.to_vec()).unwrap(),
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::StructValue(_)) | None => String::new(),
    })
}

/// Target and headers as Envoy sends them on: overwrites first, removals last.
pub fn forwarded(asked: &Asked, response: &CheckResponse) -> (Vec<u8>, Vec<Header>) {
    let Some(HttpResponse::OkResponse(ok)) = &response.http_response else { panic!("not allowed") };
    let (mut target, mut headers) = (asked.target.clone(), asked.headers.clone());
    for option in &ok.headers {
        let header = option.header.as_ref().unwrap();
        assert!(!option.append.as_ref().unwrap().value && option.append_action == 2, "{header:?} would be appended");
        if header.key == b":path".as_slice() {
            target = header.value.to_vec();
            continue;
        }
        let name = String::from_utf8(header.key.to_vec()).unwrap();
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        headers.push((name, header.value.to_vec()));
    }
    let gone = |name: &str| ok.headers_to_remove.iter().any(|removed| removed.eq_ignore_ascii_case(name.as_bytes()));
    headers.retain(|(name, _)| !gone(name));
    (target, headers)
}
