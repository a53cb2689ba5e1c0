//! What was decided, and the answer that every door gives for it: status, body, challenge, reason.
//! Says to a caller no more than the contract's table; the cause of a refused credential stays inside.

use std::borrow::Cow;

use super::cors::{Preflight, Share};
use super::judge::Allowed;
use super::rule::{Mode, Rule};
use crate::principal::world::Wait;
use crate::principal::{Caller, Cause, Named};
use crate::scope::ScopeId;

/// One decision. Built by the judge, or by a door that cannot even ask.
#[derive(Debug)]
pub struct Decision<'s> {
    pub outcome: Outcome,
    /// `None` where the request has no canonical reading.
    pub rule: Option<&'s Rule>,
    pub caller: Option<Caller<'s>>,
    /// Who a refused credential would have been, and why it was refused.
    pub refused: Option<(Cause, Option<Named<'s>>)>,
    /// Whether the page in a browser that asks may read the answer.
    pub share: Share<'s>,
    /// What an allowed request would have been denied for, where its rule, its credential or the whole gate only watches.
    pub shadow: Option<Denial>,
    /// What the tools that the body calls need, and the caller holds.
    pub tools: Vec<ScopeId>,
}

#[derive(Debug)]
pub enum Outcome {
    Allow(Allowed),
    Deny(Denial),
    /// The answer depends on the first `limit` bytes of the body: ask again with them.
    Inspect {
        limit: usize,
    },
    /// A browser asks what it may ask: 204, and nothing goes on.
    Preflight(Preflight),
    /// The answer depends on somebody outside: ask again once that is settled.
    Wait(Wait),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub reason: Reason,
    /// Space-delimited, for [`Reason::InsufficientScope`].
    pub missing: Option<Missing>,
    /// Seconds, for [`Reason::StepUp`].
    pub max_age: Option<u32>,
    /// The numbers, for [`Reason::TooMany`].
    pub limited: Option<Limited>,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Who shares it.
    pub policy: &'static str,
    /// So many are to be had in `window` seconds.
    pub quota: u64,
    pub window: u64,
    /// Seconds until there is one again, from 1.
    pub wait: u64,
    /// The second since 1970 at which there is.
    pub at: i64,
}

/// Scopes that the caller lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    All(String),
    AnyOf(String),
}

impl Missing {
    pub fn scopes(&self) -> &str {
        match self {
            Self::All(scopes) | Self::AnyOf(scopes) => scopes,
        }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self { reason, missing: None, max_age: None, limited: None }
    }
}

impl<'s> Decision<'s> {
    /// A refusal that no rule was asked about.
    pub fn refuse(reason: Reason) -> Self {
        Self::of(Outcome::Deny(reason.into()))
    }

    /// An outcome, and nothing else yet.
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { outcome, rule: None, caller: None, refused: None, share: Share::Off, shadow: None, tools: Vec::new() }
    }

    /// Who calls, or who a refused credential would have been.
    pub fn principal(&self) -> Option<&str> {
        let refused = || self.refused.as_ref().and_then(|(_, id)| id.as_ref().map(Named::as_str));
        self.caller.as_ref().map(Caller::id).or_else(refused)
    }

    pub fn denial(&self) -> Option<&Denial> {
        match &self.outcome {
            Outcome::Deny(denial) => Some(denial),
            Outcome::Allow(_) | Outcome::Inspect { .. } | Outcome::Wait(_) | Outcome::Preflight(_) => None,
        }
    }

    /// What speaks against the request, whether it was denied for that or let through in shadow.
    pub fn objection(&self) -> Option<&Denial> {
        self.denial().or(self.shadow.as_ref())
    }

    /// Whether the service behind may still check credentials itself, and so gets them as they came.
    pub fn keeps_credentials(&self) -> bool {
        self.shadow.is_some() || self.rule.is_some_and(|rule| rule.mode == Mode::Shadow)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $text:literal $status:literal $error:literal $message:literal;)*) => {
        /// Why a request was refused: the closed set of `x-scopegate-reason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant),* }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status),* }
            }

            /// The body, but for [`Self::InsufficientScope`], which names scopes.
            fn body(self) -> &'static str {
                match self { $(Self::$variant => concat!("{\"error\":\"", $error, "\",\"message\":\"", $message, "\"}")),* }
            }

            pub fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),* }
            }
        }
    };
}

reasons! {
    /// Nothing was presented.
    NoCredential "no_credential" 401 "unauthorized" "Missing or invalid token";
    InvalidCredential "invalid_credential" 401 "unauthorized" "Missing or invalid token";
    /// Valid, and not of a source that the route accepts.
    WrongCredential "wrong_credential" 401 "unauthorized" "Missing or invalid token";
    /// RFC 6750 §3.1: more than one.
    AmbiguousCredential "ambiguous_credential" 400 "invalid_request" "More than one credential";
    InsufficientScope "insufficient_scope" 403 "insufficient_scope" "";
    /// `default: deny`.
    NoRule "no_rule" 403 "forbidden" "No rule allows this request";
    /// A route that says `deny`.
    Denied "denied" 403 "forbidden" "No rule allows this request";
    WrongRole "wrong_role" 403 "forbidden" "No rule allows this request";
    /// `x-tenant-id` names another tenant than the credential.
    WrongTenant "wrong_tenant" 403 "forbidden" "No rule allows this request";
    /// A page of another site opens a WebSocket (RFC 6455 §10.2).
    WrongOrigin "wrong_origin" 403 "forbidden" "Origin is not allowed";
    /// A route that says `websocket: false`.
    WebSocketDenied "websocket_denied" 403 "forbidden" "No rule allows this request";
    /// Good for other services than this one (Backstage's `accessRestrictions`).
    Restricted "restricted" 403 "forbidden" "No rule allows this request";
    /// A JSON-RPC tool that the route does not list.
    UnknownTool "unknown_tool" 403 "forbidden" "No rule allows this request";
    /// RFC 9470: good, and without a second factor that was shown of late.
    StepUp "step_up" 401 "insufficient_user_authentication" "Multi-factor authentication required";
    /// A good token, and nobody's of the store's.
    ProfileNotFound "profile_not_found" 404 "profile_not_found" "Profile not found";
    AmbiguousPath "ambiguous_path" 400 "invalid_request" "Malformed or ambiguous path";
    EmptyPath "empty_path" 400 "invalid_request" "Malformed or ambiguous path";
    InvalidQuery "invalid_query" 400 "invalid_request" "Malformed query";
    AmbiguousHost "ambiguous_host" 400 "invalid_request" "Malformed or ambiguous host";
    InvalidMethod "invalid_method" 400 "invalid_request" "Malformed method";
    /// RFC 9110 §9.3.6: a tunnel has no path to decide on.
    Connect "connect" 405 "method_not_allowed" "CONNECT is not supported";
    /// One of two readings that differ, such as two `x-tenant-id`.
    AmbiguousHeader "ambiguous_header" 400 "invalid_request" "Ambiguous header";
    /// Not one JSON-RPC message or batch.
    InvalidBody "invalid_body" 400 "invalid_request" "Body is not an unambiguous JSON-RPC message";
    /// A body that had to be inspected was cut short, too long or not sent to this door.
    PartialBody "partial_body" 400 "invalid_request" "Body cannot be inspected whole";
    /// A check without HTTP attributes, as of a TCP filter.
    NoHttpAttributes "no_http_attributes" 400 "invalid_request" "No HTTP request to decide on";
    /// The forward-auth headers of the dialect are absent or doubled, or the peer is not trusted to set them.
    Forwarded "invalid_forwarded" 400 "invalid_request" "Missing or ambiguous forwarded request";
    /// HTTP/1.1 framing that two readers could read in two ways (RFC 9112 §6.3).
    Framing "ambiguous_framing" 400 "invalid_request" "Malformed or ambiguous message framing";
    /// RFC 6455 §4.2.1: a WebSocket upgrade without its one key, of another version or with a body.
    Handshake "invalid_upgrade" 400 "invalid_request" "Malformed WebSocket upgrade";
    HeadersTooLarge "headers_too_large" 431 "invalid_request" "Request headers are too large";
    /// `upstream: original_destination`, and no rule of the system redirected the connection.
    NoDestination "no_destination" 421 "invalid_request" "Connection was not redirected here";
    TooManyHeaders "too_many_headers" 431 "invalid_request" "Too many request headers";
    TargetTooLong "target_too_long" 414 "invalid_request" "Request target is too long";
    /// A head or a body that did not come in its time.
    /// A `rate_limit` is used up.
    TooMany "too_many_requests" 429 "too_many_requests" "Rate limit exceeded";
    RequestTimeout "request_timeout" 408 "invalid_request" "Request was not sent in time";
    /// No configuration is loaded.
    NotReady "not_ready" 503 "temporarily_unavailable" "Not ready";
    /// The key set or the issuer of a credential is out of reach.
    Unavailable "credential_unavailable" 503 "temporarily_unavailable" "Credential cannot be checked now";
    BadGateway "bad_gateway" 502 "bad_gateway" "Upstream is out of reach";
    GatewayTimeout "gateway_timeout" 504 "gateway_timeout" "Upstream did not answer in time";
}

/// A denial in the words of HTTP, the same at every door.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// JSON in the key order of the contract, no newline at its end.
    pub body: Cow<'static, str>,
    /// `WWW-Authenticate`, on every 401 and on scope denials.
    pub challenge: Option<Cow<'static, str>>,
    pub reason: &'static str,
    /// What the status asks for: `Allow` (RFC 9110 §15.5.6), `Retry-After`, the numbers of a limit.
    pub extra: Vec<(&'static str, Cow<'static, str>)>,
}

impl Denial {
    pub fn answer(&self) -> Answer {
        let reason = self.reason;
        let (body, challenge) = match (&self.missing, self.max_age, &self.limited) {
            (Some(missing), _, _) => (scope_body(missing).into(), Some(scope_challenge(missing).into())),
            (None, Some(max_age), _) => (step_up_body(reason, max_age).into(), Some(format!(r#"{STEP_UP}, max_age="{max_age}""#).into())),
            (None, None, Some(limited)) => (limited.body().into(), None),
            (None, None, None) => (reason.body().into(), plain_challenge(reason).map(Into::into)),
        };
        let extra = match (reason.status(), &self.limited) {
            (_, Some(limited)) => limited.headers(),
            (405, None) => vec![("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".into())],
            (503, None) => vec![("retry-after", "1".into())],
            _ => Vec::new(),
        };
        Answer { status: reason.status(), body, challenge, reason: reason.as_str(), extra }
    }
}

/// RFC 9470 §3.
const STEP_UP: &str =
    r#"Bearer realm="scopegate", error="insufficient_user_authentication", error_description="Multi-factor authentication required""#;

fn step_up_body(reason: Reason, max_age: u32) -> String {
    let body = reason.body();
    format!(r#"{},"max_age":{max_age}}}"#, body.strip_suffix('}').unwrap_or(body))
}

impl Limited {
    fn body(&self) -> String {
        format!(r#"{{"error":"too_many_requests","message":"Rate limit exceeded","retryAfter":{}}}"#, self.wait)
    }

    /// draft-ietf-httpapi-ratelimit-headers-10 §3 and §4, and the older names.
    fn headers(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        let Self { policy, quota, window, wait, at } = self;
        vec![
            ("retry-after", wait.to_string().into()),
            ("ratelimit-policy", format!(r#""{policy}";q={quota};w={window}"#).into()),
            ("ratelimit", format!(r#""{policy}";r=0;t={wait}"#).into()),
            ("x-ratelimit-limit", quota.to_string().into()),
            ("x-ratelimit-remaining", "0".into()),
            ("x-ratelimit-reset", at.to_string().into()),
        ]
    }
}

/// RFC 6750 §3: no `error` where nothing was presented.
fn plain_challenge(reason: Reason) -> Option<&'static str> {
    match (reason, reason.status()) {
        (Reason::NoCredential, _) => Some(r#"Bearer realm="scopegate""#),
        (Reason::StepUp, _) => Some(STEP_UP),
        (_, 401) => Some(r#"Bearer realm="scopegate", error="invalid_token""#),
        _ => None,
    }
}

/// Scopes hold no character that JSON or a quoted string would escape (RFC 6749 §3.3), but for those of a peer's `context_extensions`.
fn scope_body(missing: &Missing) -> String {
    let any = if matches!(missing, Missing::AnyOf(_)) { "any of " } else { "" };
    let required = plain(missing.scopes());
    let listed = required.replace(' ', ", ");
    let noun = if required.contains(' ') { "scopes" } else { "scope" };
    format!(r#"{{"error":"insufficient_scope","message":"Token does not have {any}{listed} {noun}","required_scope":"{required}"}}"#)
}

fn scope_challenge(missing: &Missing) -> String {
    format!(r#"Bearer realm="scopegate", error="insufficient_scope", scope="{}""#, plain(missing.scopes()))
}

fn plain(scopes: &str) -> String {
    scopes.chars().filter(|character| matches!(character, ' '..='~') && !matches!(character, '"' | '\\')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(missing: Missing) -> Answer {
        Denial { missing: Some(missing), ..Reason::InsufficientScope.into() }.answer()
    }

    #[test]
    fn scope_denials_have_the_bytes_of_the_contract() {
        let one = scope(Missing::All("approval:write".into()));
        assert_eq!(
            one.body,
            r#"{"error":"insufficient_scope","message":"Token does not have approval:write scope","required_scope":"approval:write"}"#
        );
        assert_eq!(one.challenge.as_deref(), Some(r#"Bearer realm="scopegate", error="insufficient_scope", scope="approval:write""#));
        let two = scope(Missing::All("a:b c:d".into()));
        assert_eq!(two.body, r#"{"error":"insufficient_scope","message":"Token does not have a:b, c:d scopes","required_scope":"a:b c:d"}"#);
        let any = scope(Missing::AnyOf("a:b c:d".into()));
        assert_eq!(any.body, r#"{"error":"insufficient_scope","message":"Token does not have any of a:b, c:d scopes","required_scope":"a:b c:d"}"#);
    }

    #[test]
    fn a_step_up_says_how_old_the_factor_may_be() {
        let answer = Denial { max_age: Some(300), ..Reason::StepUp.into() }.answer();
        assert_eq!(answer.body, r#"{"error":"insufficient_user_authentication","message":"Multi-factor authentication required","max_age":300}"#);
        assert_eq!(
            answer.challenge.as_deref(),
            Some(
                r#"Bearer realm="scopegate", error="insufficient_user_authentication", error_description="Multi-factor authentication required", max_age="300""#
            )
        );
    }

    #[test]
    fn a_peers_scope_cannot_break_out_of_its_quotes() {
        let answer = scope(Missing::All("a\"b\\\r\n:c".into()));
        assert!(answer.body.contains("\"required_scope\":\"ab:c\"}"), "{}", answer.body);
    }

    #[test]
    fn a_limit_is_told_in_the_words_of_the_contract() {
        let limited = Limited { policy: "principal", quota: 100, window: 60, wait: 45, at: 1_700_000_045 };
        let answer = Denial { limited: Some(limited), ..Reason::TooMany.into() }.answer();
        assert_eq!((answer.status, answer.challenge.as_deref(), answer.reason), (429, None, "too_many_requests"));
        assert_eq!(answer.body, r#"{"error":"too_many_requests","message":"Rate limit exceeded","retryAfter":45}"#);
        let headers: Vec<_> = answer.extra.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            headers,
            [
                "retry-after: 45",
                r#"ratelimit-policy: "principal";q=100;w=60"#,
                r#"ratelimit: "principal";r=0;t=45"#,
                "x-ratelimit-limit: 100",
                "x-ratelimit-remaining: 0",
                "x-ratelimit-reset: 1700000045",
            ]
        );
    }

    #[test]
    fn every_401_carries_a_challenge_and_only_a_bare_one_where_nothing_was_presented() {
        for reason in Reason::ALL {
            let answer = Denial::from(*reason).answer();
            assert_eq!(answer.challenge.is_some(), answer.status == 401, "{reason:?}");
            assert!((400..600).contains(&answer.status));
        }
        assert_eq!(Denial::from(Reason::NoCredential).answer().challenge.as_deref(), Some(r#"Bearer realm="scopegate""#));
    }
}
