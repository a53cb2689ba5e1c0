//! Any bytes that are a `CheckRequest` get an answer that Envoy can read: an allow only to a public route or to a known token.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use prost::Message;
use scopegate::config::{Input, load};
use scopegate::credential::digest::TagKey;
use scopegate::gate::Gate;
use scopegate::keys::Registry;
use scopegate::live::Live;
use scopegate::proto::check_response::HttpResponse;
use scopegate::proto::{CheckRequest, CheckResponse, OkHttpResponse};
use scopegate::request::NormalPath;
use scopegate::request::path::split_target;
use scopegate::telemetry::Telemetry;
use scopegate::transport::ext_authz::check;

use crate::count;

const TOKENS: [(&str, &str); 2] = [("reader", "sgt_0123456789abcdef-reader"), ("writer", "sgt_0123456789abcdef-writer")];

const CONFIGURATION: &str = r"
credentials: {tokens: {kind: static, file: TOKENS, from: [bearer, header:x-key]}}
forward: {headers: {x-user: '{{auth.id}} of {{auth.tenant}}'}}
routes:
  GET /public/{rest...}: public
  GET /read/{x}: a:read
  POST /write: {scopes: [a:read, a:write], allow_paths: [semicolon, empty_segment]}
  /any/: {any_scopes: [a:read, b:read], allow_paths: [encoded_slash]}
  POST /rpc: {authenticated: true, tools: {run: a:write, look: a:read}, max_body: 1KiB}
  h.com/: deny
";

fn gate() -> &'static Gate {
    static GATE: OnceLock<Gate> = OnceLock::new();
    GATE.get_or_init(|| {
        let file = std::env::temp_dir().join(format!("scopegate-fuzz-{}.json", std::process::id()));
        let entry = |(id, token): (&str, &str)| format!(r#"{{"id":"{id}","token":"{token}","scopes":["a:read","{id}:x"],"tenant":"t1"}}"#);
        std::fs::write(&file, format!("[{},{}]", entry(TOKENS[0]), entry(TOKENS[1]).replace("a:read", "a:*"))).unwrap();
        let text = CONFIGURATION.replace("TOKENS", &file.display().to_string());
        let loaded = load(&Input::Text { name: "fuzz.yaml", text }, &|_| None, &TagKey::new([7; 32]), &Registry::offline());
        std::fs::remove_file(&file).unwrap();
        let live = Live::default();
        live.swap(loaded.unwrap_or_else(|faults| panic!("{faults}")));
        Gate { live: Arc::new(live), telemetry: Arc::new(Telemetry::default()), limiter: Arc::default() }
    })
}

pub fn hold(data: &[u8]) {
    let Ok(request) = CheckRequest::decode(data) else { return };
    // No source of this configuration asks anybody outside, so that the answer is there at once.
    let mut asked = std::pin::pin!(check(gate(), &[], (&request, None)));
    let Poll::Ready(response) = asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!("it waits") };
    let bytes = response.encode_to_vec();
    assert_eq!(CheckResponse::decode(bytes.as_slice()).as_ref(), Ok(&response));
    let code = response.status.as_ref().map(|status| status.code);
    match &response.http_response {
        Some(HttpResponse::OkResponse(ok)) => {
            assert_eq!(code, Some(0));
            allowed(&request, ok);
        }
        Some(HttpResponse::DeniedResponse(denied)) => {
            assert!(code.is_some_and(|code| code != 0));
            assert!(denied.status.as_ref().is_some_and(|status| (400..600).contains(&status.code)));
            assert!(serde_json::from_slice::<serde_json::Value>(&denied.body).is_ok_and(|body| body.get("error").is_some()));
            let values = denied.headers.iter().filter_map(|header| header.header.as_ref());
            values.for_each(|header| assert!(header.value.iter().all(|byte| matches!(byte, b' '..=b'~'))));
        }
        None => panic!("an answer is an allow or a denial"),
    }
    // A token goes no further than the header that it came in.
    let http = request.attributes.as_ref().and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
    let shown = http.map(|http| [&http.path[..], &http.host[..], &http.method[..]].concat()).unwrap_or_default();
    let extensions = request.attributes.iter().flat_map(|attributes| &attributes.context_extensions);
    for (_, token) in TOKENS.iter().filter(|(_, token)| count(&shown, token.as_bytes()) == 0) {
        let echoed = extensions.clone().any(|entry| count(&entry.value, token.as_bytes()) > 0)
            || http.is_some_and(|http| http.headers.iter().any(|entry| count(&entry.key, token.as_bytes()) > 0))
            || http
                .and_then(|http| http.header_map.as_ref())
                .is_some_and(|map| map.headers.iter().any(|header| count(&header.key, token.as_bytes()) > 0));
        assert!(echoed || count(&bytes, token.as_bytes()) == 0);
    }
}

fn allowed(request: &CheckRequest, ok: &OkHttpResponse) {
    let http = request.attributes.as_ref().and_then(|attributes| attributes.request.as_ref()?.http.as_ref()).expect("an allow has a request");
    let (path, query) = split_target(&http.path);
    let path = NormalPath::parse(path).expect("an allowed path has one reading");
    let raw = http.header_map.iter().flat_map(|map| &map.headers).flat_map(|header| [&header.raw_value[..], &header.value[..]]);
    let values = raw.chain(http.headers.iter().map(|entry| &entry.value[..]));
    let shown = TOKENS.iter().find(|(_, token)| values.clone().any(|value| count(value, token.as_bytes()) > 0));
    let is_public = path.decoded().starts_with("/public/") && matches!(&http.method[..], b"GET" | b"HEAD");
    assert!(is_public || shown.is_some(), "allowed without a token");
    assert!(["/public/", "/read/", "/write", "/any/", "/rpc"].iter().any(|prefix| path.decoded().starts_with(prefix)));
    let set = |name: &str| ok.headers.iter().filter_map(|option| option.header.as_ref()).find(|header| header.key == name.as_bytes());
    for name in ["x-scopegate-id", "x-scopegate-scopes", "x-scopegate-tenant", "x-scopegate-roles", "x-user"] {
        let removed = ok.headers_to_remove.iter().any(|header| header == name.as_bytes());
        assert!(set(name).is_some() != removed, "{name} is either set or removed");
    }
    if let Some(id) = set("x-scopegate-id") {
        assert!(TOKENS.iter().any(|(known, _)| id.value == known.as_bytes()));
    }
    for option in &ok.headers {
        let header = option.header.as_ref().expect("a header has a name");
        assert!(!header.key.is_empty() && header.value.iter().all(|byte| matches!(byte, b' '..=b'~')), "{header:?}");
    }
    let forwarded = set(":path").map_or(&http.path, |header| &header.value);
    let (again, again_query) = split_target(forwarded);
    assert_eq!((again, again_query), (path.canonical().as_bytes(), query));
}
