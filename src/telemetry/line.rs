//! An audit line as its readers have it: one JSON object into fields.
//! Knows nothing that the line does not say; keys of later versions are left alone.

use serde::{Deserialize, Serialize};

/// What is told of one decision, or of the end of a stream.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Line {
    /// RFC 3339.
    pub time: String,
    /// `decision` or `stream_ended`.
    pub kind: String,
    /// Sixteen hexadecimal digits, as in `x-scopegate-decision`.
    pub id: String,
    pub door: String,
    /// `allow`, `deny`, or `shadow` where it passed and would be denied.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why a credential was refused, or a stream ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Canonical, without query; a segment that may be a secret is cut to its first characters and `…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only where the policy speaks of hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Space-delimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_scopes: Option<String>,
    /// Space-delimited scopes that an allow, or a pass in shadow, rested on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_scopes: Option<String>,
    /// `shadow` where the route or the credential only watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<f64>,
    /// The share of such decisions that is told of, where not all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
}

impl Line {
    /// `None` where the text is no audit line.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|line| !line.kind.is_empty() && !line.id.is_empty())
    }

    pub fn is_decision(&self) -> bool {
        self.kind == "decision"
    }

    /// What is put in the place of the rest of a path or of a segment.
    pub const CUT: char = '…';
}

/// Which lines are wanted; what is not said is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub door: Option<String>,
    pub route: Option<String>,
    pub credential: Option<String>,
    pub principal: Option<String>,
    pub tenant: Option<String>,
}

impl Filter {
    /// Everything that can be asked for.
    pub const KEYS: [&str; 7] = ["outcome", "reason", "door", "route", "credential", "principal", "tenant"];

    /// The place of a key of [`Self::KEYS`].
    pub fn key(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "outcome" => Some(&mut self.outcome),
            "reason" => Some(&mut self.reason),
            "door" => Some(&mut self.door),
            "route" => Some(&mut self.route),
            "credential" => Some(&mut self.credential),
            "principal" => Some(&mut self.principal),
            "tenant" => Some(&mut self.tenant),
            _ => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn admits(&self, line: &Line) -> bool {
        let is = |wanted: &Option<String>, said: Option<&str>| wanted.as_deref().is_none_or(|wanted| said == Some(wanted));
        is(&self.outcome, Some(&line.outcome))
            && is(&self.reason, Some(&line.reason))
            && is(&self.door, Some(&line.door))
            && is(&self.route, line.route.as_deref())
            && is(&self.credential, line.credential.as_deref())
            && is(&self.principal, line.principal.as_deref())
            && is(&self.tenant, line.tenant.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_line_is_not_read_as_one() {
        for text in ["", "{}", "[]", r#"{"kind":"decision"}"#, r#"{"id":"0"}"#, r#"{"kind":"decision","id":7}"#, r#"{"kind":"decision","id":"0""#] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
        assert!(Line::parse(r#"{"kind":"decision","id":"0","later":{"a":1}}"#).is_some(), "keys of later versions");
    }

    #[test]
    fn a_filter_admits_what_it_names_and_nothing_that_lacks_it() {
        let line = Line::parse(r#"{"kind":"decision","id":"0","door":"proxy","outcome":"deny","reason":"no_rule","tenant":"t"}"#).unwrap();
        assert!(Filter::default().admits(&line) && Filter::default().is_empty());
        for (key, value, admits) in [
            ("outcome", "deny", true),
            ("outcome", "allow", false),
            ("reason", "no_rule", true),
            ("door", "ext_authz", false),
            ("route", "default", false),
            ("credential", "", false),
            ("principal", "p", false),
            ("tenant", "t", true),
        ] {
            let mut filter = Filter::default();
            *filter.key(key).unwrap() = Some(value.into());
            assert_eq!(filter.admits(&line), admits, "{key}={value}");
        }
        for key in Filter::KEYS {
            assert!(Filter::default().key(key).is_some(), "{key}");
        }
    }
}
