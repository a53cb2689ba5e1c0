//! What is only watched: which denials a route or a source in shadow lets pass, and what of a policy is in shadow.
//! Lets nothing pass by itself, and nothing that is malformed.

use std::fmt;

use serde::Serialize;

use super::decision::Reason;
use super::judge::Policy;
use super::rule::Mode;
use crate::principal::Sources;

/// So many names are told; a gate that is in shadow as a whole has one for each route.
const TOLD: usize = 10;

/// The names of what is in shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InShadow {
    /// Patterns as the operator wrote them; `default` is what no route matches.
    pub routes: Vec<String>,
    pub credentials: Vec<String>,
}

impl Policy {
    /// `None` where everything is enforced.
    pub fn in_shadow(&self, sources: &Sources) -> Option<InShadow> {
        let rules = self.rules.iter().chain([&self.default]);
        let routes: Vec<_> = rules.filter(|rule| rule.mode == Mode::Shadow).map(|rule| rule.name.to_string()).collect();
        let credentials: Vec<_> = self.watched.iter().filter_map(|id| sources.list().get(id.0)).map(|source| source.name.to_string()).collect();
        (!routes.is_empty() || !credentials.is_empty()).then_some(InShadow { routes, credentials })
    }
}

impl fmt::Display for InShadow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("in shadow, so that what would be denied is let through:")?;
        for (what, names) in [("route", &self.routes), ("credential", &self.credentials)] {
            if names.is_empty() {
                continue;
            }
            let told: Vec<_> = names.iter().take(TOLD).map(|name| format!("`{name}`")).collect();
            write!(out, " {what}{} {}", if names.len() > 1 { "s" } else { "" }, told.join(", "))?;
            if let Some(more) = names.len().checked_sub(TOLD).filter(|more| *more > 0) {
                write!(out, " and {more} more")?;
            }
            out.write_str(";")?;
        }
        out.write_str(" `mode: enforce` ends it")
    }
}

impl Reason {
    /// Whether a route in shadow lets pass what would be denied for this. Whatever is malformed, or could be read in two ways, stays refused;
    /// but for a body that a door has no way to show, since nothing would ever pass there.
    pub fn may_pass(self) -> bool {
        match self {
            Self::NoCredential
            | Self::InvalidCredential
            | Self::WrongCredential
            | Self::InsufficientScope
            | Self::NoRule
            | Self::Denied
            | Self::WrongRole
            | Self::WrongTenant
            | Self::WrongOrigin
            | Self::WebSocketDenied
            | Self::Restricted
            | Self::UnknownTool
            | Self::StepUp
            | Self::ProfileNotFound
            | Self::TooMany
            | Self::Unavailable
            | Self::PartialBody => true,
            Self::AmbiguousCredential
            | Self::AmbiguousPath
            | Self::EmptyPath
            | Self::InvalidQuery
            | Self::AmbiguousHost
            | Self::InvalidMethod
            | Self::Connect
            | Self::AmbiguousHeader
            | Self::InvalidBody
            | Self::NoHttpAttributes
            | Self::Forwarded
            | Self::Framing
            | Self::Handshake
            | Self::HeadersTooLarge
            | Self::NoDestination
            | Self::TooManyHeaders
            | Self::TargetTooLong
            | Self::RequestTimeout
            | Self::NotReady
            | Self::BadGateway
            | Self::GatewayTimeout => false,
        }
    }

    /// Whether it is about what a proved caller may do: all that a source in shadow answers for.
    pub fn is_of_caller(self) -> bool {
        self == Self::StepUp || (self.may_pass() && matches!(self.status(), 403 | 429))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadow_lets_pass_what_is_denied_by_policy_and_never_what_is_malformed() {
        for reason in Reason::ALL {
            let (by_policy, exception) =
                (matches!(reason.status(), 401 | 403 | 404 | 429), [Reason::Unavailable, Reason::PartialBody].contains(reason));
            assert_eq!(reason.may_pass(), by_policy || exception, "{reason:?}");
            assert!(!reason.is_of_caller() || reason.may_pass(), "{reason:?}");
        }
        for proves_nobody in [Reason::NoCredential, Reason::InvalidCredential, Reason::WrongCredential, Reason::ProfileNotFound, Reason::Unavailable]
        {
            assert!(!proves_nobody.is_of_caller(), "{proves_nobody:?}");
        }
    }

    #[test]
    fn what_is_in_shadow_is_told_in_one_line() {
        let names = |count: usize| (0..count).map(|n| format!("GET /{n}")).collect::<Vec<_>>();
        let told = |routes, credentials| InShadow { routes, credentials }.to_string();
        let before = "in shadow, so that what would be denied is let through:";
        assert_eq!(told(names(1), vec![]), format!("{before} route `GET /0`; `mode: enforce` ends it"));
        assert_eq!(told(vec![], vec!["a".into(), "b".into()]), format!("{before} credentials `a`, `b`; `mode: enforce` ends it"));
        assert!(told(names(12), vec![]).ends_with("`GET /9` and 2 more; `mode: enforce` ends it"));
    }
}
