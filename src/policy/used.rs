//! A decision into the scopes that it rested on: those that were needed and held.
//! Names no scope of a caller that nobody asked for.

use super::decision::Decision;
use super::judge::Policy;
use super::rule::{Access, Needs};
use crate::scope::ScopeId;

impl Policy {
    /// Each once: what the rule needs of all, what the caller holds of those of which one is enough, what the tools of the body need, and
    /// what the peer asked for beside. Of a request that passes in shadow, what of them the caller does hold.
    pub fn used_scopes<'a>(&'a self, decision: &Decision<'_>, extra_scopes: &'a str) -> Vec<&'a str> {
        let Some(caller) = &decision.caller else { return Vec::new() };
        let needs = decision.rule.and_then(|rule| match &rule.access {
            Access::Needs(needs) => Some(needs),
            Access::Public | Access::Deny => None,
        });
        let said = |of: fn(&Needs) -> &[ScopeId]| needs.map(of).unwrap_or_default().iter();
        let ids = said(|needs| &needs.all).chain(said(|needs| &needs.any)).chain(&decision.tools);
        let own = ids.filter(|id| caller.scopes().has(**id)).map(|id| self.universe.text(*id));
        let extra = extra_scopes.split(' ').filter(|scope| !scope.is_empty() && caller.scopes().has_text(scope));
        let mut used = Vec::new();
        for scope in own.chain(extra) {
            if !used.contains(&scope) {
                used.push(scope);
            }
        }
        used
    }
}
