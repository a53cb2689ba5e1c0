//! What a caller is told for each reason, written out a second time: the product must agree with this table, not this table with the product.

use super::case::Expect;

pub struct Told {
    pub status: u16,
    pub body: String,
    pub challenge: Option<String>,
}

const TABLE: &[(&str, u16, &str)] = &[
    ("no_credential", 401, r#"{"error":"unauthorized","message":"Missing or invalid token"}"#),
    ("invalid_credential", 401, r#"{"error":"unauthorized","message":"Missing or invalid token"}"#),
    ("wrong_credential", 401, r#"{"error":"unauthorized","message":"Missing or invalid token"}"#),
    ("ambiguous_credential", 400, r#"{"error":"invalid_request","message":"More than one credential"}"#),
    ("no_rule", 403, r#"{"error":"forbidden","message":"No rule allows this request"}"#),
    ("denied", 403, r#"{"error":"forbidden","message":"No rule allows this request"}"#),
    ("wrong_role", 403, r#"{"error":"forbidden","message":"No rule allows this request"}"#),
    ("wrong_tenant", 403, r#"{"error":"forbidden","message":"No rule allows this request"}"#),
    ("restricted", 403, r#"{"error":"forbidden","message":"No rule allows this request"}"#),
    ("unknown_tool", 403, r#"{"error":"forbidden","message":"No rule allows this request"}"#),
    ("step_up", 401, r#"{"error":"insufficient_user_authentication","message":"Multi-factor authentication required"}"#),
    ("profile_not_found", 404, r#"{"error":"profile_not_found","message":"Profile not found"}"#),
    ("ambiguous_path", 400, r#"{"error":"invalid_request","message":"Malformed or ambiguous path"}"#),
    ("empty_path", 400, r#"{"error":"invalid_request","message":"Malformed or ambiguous path"}"#),
    ("invalid_query", 400, r#"{"error":"invalid_request","message":"Malformed query"}"#),
    ("ambiguous_host", 400, r#"{"error":"invalid_request","message":"Malformed or ambiguous host"}"#),
    ("invalid_method", 400, r#"{"error":"invalid_request","message":"Malformed method"}"#),
    ("connect", 405, r#"{"error":"method_not_allowed","message":"CONNECT is not supported"}"#),
    ("ambiguous_header", 400, r#"{"error":"invalid_request","message":"Ambiguous header"}"#),
    ("invalid_body", 400, r#"{"error":"invalid_request","message":"Body is not an unambiguous JSON-RPC message"}"#),
    ("partial_body", 400, r#"{"error":"invalid_request","message":"Body cannot be inspected whole"}"#),
    ("no_http_attributes", 400, r#"{"error":"invalid_request","message":"No HTTP request to decide on"}"#),
    ("invalid_forwarded", 400, r#"{"error":"invalid_request","message":"Missing or ambiguous forwarded request"}"#),
    ("ambiguous_framing", 400, r#"{"error":"invalid_request","message":"Malformed or ambiguous message framing"}"#),
    ("invalid_upgrade", 400, r#"{"error":"invalid_request","message":"Malformed WebSocket upgrade"}"#),
    ("headers_too_large", 431, r#"{"error":"invalid_request","message":"Request headers are too large"}"#),
    ("too_many_headers", 431, r#"{"error":"invalid_request","message":"Too many request headers"}"#),
    ("target_too_long", 414, r#"{"error":"invalid_request","message":"Request target is too long"}"#),
    ("request_timeout", 408, r#"{"error":"invalid_request","message":"Request was not sent in time"}"#),
    ("not_ready", 503, r#"{"error":"temporarily_unavailable","message":"Not ready"}"#),
    ("credential_unavailable", 503, r#"{"error":"temporarily_unavailable","message":"Credential cannot be checked now"}"#),
];

pub fn told(expect: &Expect) -> Told {
    if expect.reason == "insufficient_scope" {
        let (scopes, any) = match (&expect.missing, &expect.missing_any) {
            (Some(all), None) => (all, ""),
            (None, Some(any)) => (any, "any of "),
            _ => panic!("`insufficient_scope` names `missing` or `missing_any`"),
        };
        let (listed, noun) = (scopes.replace(' ', ", "), if scopes.contains(' ') { "scopes" } else { "scope" });
        let body =
            format!("{{\"error\":\"insufficient_scope\",\"message\":\"Token does not have {any}{listed} {noun}\",\"required_scope\":\"{scopes}\"}}");
        let challenge = format!("Bearer realm=\"scopegate\", error=\"insufficient_scope\", scope=\"{scopes}\"");
        return Told { status: 403, body, challenge: Some(challenge) };
    }
    if let Some(max_age) = expect.max_age {
        let body =
            format!("{{\"error\":\"insufficient_user_authentication\",\"message\":\"Multi-factor authentication required\",\"max_age\":{max_age}}}");
        let challenge = format!(
            "Bearer realm=\"scopegate\", error=\"insufficient_user_authentication\", error_description=\"Multi-factor authentication required\", \
             max_age=\"{max_age}\""
        );
        return Told { status: 401, body, challenge: Some(challenge) };
    }
    let (_, status, body) = TABLE.iter().find(|(reason, ..)| *reason == expect.reason).unwrap_or_else(|| panic!("{} is no reason", expect.reason));
    let challenge = match (&*expect.reason, status) {
        ("no_credential", _) => Some(r#"Bearer realm="scopegate""#.to_owned()),
        (_, 401) => Some(r#"Bearer realm="scopegate", error="invalid_token""#.to_owned()),
        _ => None,
    };
    Told { status: *status, body: (*body).to_owned(), challenge }
}
