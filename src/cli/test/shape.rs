//! The keys of a file of cases, as the table that the configuration's own check reads.
//! Knows shapes only; what a text means is read elsewhere.

use crate::config::shape::{Key, Shape};

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc }
}

pub static FILE: Shape = Shape::Object(&[
    key("config", Shape::Text, "the configuration, from this file's folder"),
    key("now", Shape::Text, "the instant of every case, RFC 3339; default: the clock's"),
    key("cases", Shape::List(&Shape::Object(CASE)), "what is asked, and what is expected"),
]);

const CASE: &[Key] = &[
    key("name", Shape::Text, "what the case shows"),
    key("request", Shape::Either(&[Shape::Text, Shape::Object(REQUEST)]), "`GET /orders?x=1`, or these keys"),
    key("as", Shape::Text, "decide as the credential with this id"),
    key("caller", Shape::Object(CALLER), "decide as somebody made up, who shows no credential"),
    key("now", Shape::Text, "the instant of the decision, RFC 3339"),
    key("expect", Shape::Either(&[Shape::Text, Shape::Count, Shape::Object(EXPECT)]), "`allow`, `deny`, `preflight`, a status, or these keys"),
];

const REQUEST: &[Key] = &[
    key("method", Shape::Text, "default `GET`"),
    key("path", Shape::Text, "path and query"),
    key("host", Shape::Text, "default `localhost`"),
    key("headers", Shape::Map(&Shape::Text, "a header's name"), "a credential may be among them"),
    key("body", Shape::Text, "for routes that inspect it"),
    key("websocket", Shape::Bool, "whether a WebSocket is opened"),
];

const CALLER: &[Key] = &[
    key("id", Shape::Text, "default `somebody`"),
    key("credential", Shape::Text, "a name under `credentials`; default: the first"),
    key("scopes", Shape::Texts, "held without any role"),
    key("roles", Shape::Texts, "of the configuration"),
    key("tenant", Shape::Text, "whose it is"),
    key("mfa_age", Shape::Duration, "how long ago a second factor was shown"),
];

const EXPECT: &[Key] = &[
    key("decision", Shape::Choice(&["allow", "deny", "preflight"], &[]), ""),
    key("status", Shape::Count, "of the answer; 200 for what goes on to the service"),
    key("reason", Shape::Text, "as in `x-scopegate-reason`"),
    key("rule", Shape::Text, "the pattern, as in the configuration, or `default`"),
    key("missing_scopes", Shape::Texts, "in any order"),
    key("id", Shape::Text, "the principal"),
    key("tenant", Shape::Text, ""),
    key("headers", Shape::Map(&Shape::Text, "an identity header's name"), "what the service is told; an empty text is none"),
    key("shadow", Shape::Text, "the reason for which it would have been denied; an empty text is none"),
];
