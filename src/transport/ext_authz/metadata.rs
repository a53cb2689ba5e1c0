//! A verdict into what Envoy may log, route by and count by: the dynamic metadata of the ext_authz filter.
//! Tells names and no secret. What is counted by holds each part apart, so that no two callers share a text.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;

use crate::gate::Verdict;
use crate::limits::bucket::network;
use crate::policy::{Decision, Outcome};
use crate::proto::{self, Struct, r#struct::Field, value::Kind};

pub fn metadata(verdict: &Verdict<'_>, client: Option<IpAddr>) -> Struct {
    let decision = &verdict.decision;
    let mut fields = Vec::with_capacity(8);
    if let Some(caller) = &decision.caller {
        fields.push(text("id", caller.id()));
        fields.push(text("credential", caller.credential));
        fields.push(text("scopes", caller.scopes().joined()));
        fields.extend(caller.tenant().map(|tenant| text("tenant", tenant)));
    }
    fields.extend(decision.rule.map(|rule| text("route", &rule.name)));
    fields.push(field("decision", Kind::StringValue(Bytes::copy_from_slice(&verdict.id.hex()))));
    fields.push(field("generation", Kind::NumberValue(verdict.generation as f64)));
    fields.extend(decision.shadow.as_ref().map(|denial| text("shadow", denial.reason.as_str())));
    if let Outcome::Allow(_) = decision.outcome {
        fields.push(field("rate_limit", Kind::StructValue(counted(decision, client))));
    }
    Struct { fields }
}

/// What Envoy's own rate limiting can make descriptors of.
fn counted(decision: &Decision<'_>, client: Option<IpAddr>) -> Struct {
    let mut fields = Vec::with_capacity(4);
    if let Some(caller) = &decision.caller {
        let tenant = caller.tenant().unwrap_or("");
        let principal = [apart(caller.realm()), apart(tenant), apart(caller.id())].join("/");
        fields.push(field("principal", Kind::StringValue(principal.into())));
        if !tenant.is_empty() {
            fields.push(text("tenant", tenant));
        }
    }
    fields.extend(decision.rule.map(|rule| text("route", &rule.name)));
    fields.extend(client.map(|client| field("ip", Kind::StringValue(network(client).to_string().into()))));
    Struct { fields }
}

/// A part of a text that has `/` between its parts.
fn apart(part: &str) -> Cow<'_, str> {
    if part.contains(['%', '/']) { part.replace('%', "%25").replace('/', "%2F").into() } else { part.into() }
}

fn text(key: &'static str, value: &str) -> Field {
    field(key, Kind::StringValue(Bytes::copy_from_slice(value.as_bytes())))
}

fn field(key: &'static str, kind: Kind) -> Field {
    Field { key: Bytes::from_static(key.as_bytes()), value: Some(proto::Value { kind: Some(kind) }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_callers_are_one_text() {
        let joined = |parts: [&str; 3]| parts.map(apart).join("/");
        assert_eq!(joined(["tokens", "", "agent-1"]), "tokens//agent-1");
        assert_ne!(joined(["tokens", "a", "b/c"]), joined(["tokens", "a/b", "c"]));
        assert_ne!(joined(["tokens", "a", "b%2Fc"]), joined(["tokens", "a", "b/c"]));
    }
}
