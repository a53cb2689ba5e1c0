//! Canonical request and caller into a decision: patterns, the table that finds one, rules, and the judge.
//! Total: whatever is in doubt is a denial with a reason.

pub mod considered;
pub mod cors;
pub mod decision;
pub mod explain;
pub mod judge;
pub mod pattern;
pub mod rule;
pub mod shadow;
pub mod table;
mod used;

pub use decision::{Decision, Denial, Limited, Outcome, Reason};
pub use judge::Policy;
pub use rule::{Access, Mode, Needs, Rule, RuleId, Tools};
