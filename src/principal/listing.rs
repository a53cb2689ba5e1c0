//! Everybody whom a file or the book of the store names, one caller each, for an operator's question.
//! A walk over all of them: never for a request.

use std::ops::ControlFlow;

use super::amend::Open;
use super::caller::{At, Caller, SourceId, Who};
use super::{Means, Proof, Sources};

impl Sources {
    /// Shows every caller whose credential is known beforehand, managed keys that count now included. Those of signed tokens
    /// nobody can list.
    pub fn known(&self, now: i64, visit: &mut dyn FnMut(Caller<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let open = self.open();
        let mut keys_shown = false;
        for (source, said) in self.list.iter().enumerate().map(|(index, source)| (SourceId(index), source)) {
            for (means, proof) in said.means.iter().enumerate() {
                let at = At { source, means };
                let caller = |who| Caller { source, credential: &said.name, place: None, who, factor: None };
                let mut listed = |who| match self.amend(caller(who), (at, None), (&open, now)) {
                    Proof::Caller(caller) => visit(caller),
                    Proof::Nothing | Proof::Ambiguous | Proof::Refused { .. } | Proof::NoProfile | Proof::Unreachable | Proof::Waits(_) => {
                        ControlFlow::Continue(())
                    }
                };
                match (proof, &open) {
                    (Means::Listed(roster), _) => {
                        roster.entries().filter_map(|entry| self.listed(roster, entry)).map(Who::Listed).try_for_each(&mut listed)?;
                    }
                    (Means::Certificate(identities), _) => {
                        identities.0.iter().filter_map(|one| one.listed(&self.roles)).map(Who::Listed).try_for_each(&mut listed)?;
                    }
                    // The store's keys are every such source's.
                    (Means::Managed(_), Open::Book { book, .. }) if !keys_shown => {
                        keys_shown = true;
                        let good = book.every_key().filter_map(|key| self.key_by_id(&key.id, at, &open, now));
                        good.map(Who::Kept).try_for_each(|who| visit(caller(who)))?;
                    }
                    (Means::Managed(_) | Means::Signed(_) | Means::Introspected(_) | Means::Noop(_), _) => {}
                }
            }
        }
        ControlFlow::Continue(())
    }
}
