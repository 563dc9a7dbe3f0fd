//! Sessions whose entry has expired.

use std::time::Instant;

use portcullis_acl::{Decision, RuleId, UnixSeconds};

use super::Worker;
use super::table::Entry;
use crate::generation::store::Generation;

impl Worker {
    /// Disconnects the clients that no entry admits any more, and reports the entries that did until now.
    pub(super) fn cut_expired(&self, now: UnixSeconds) {
        for entry in self.table.cut_expired(now) {
            let generation = entry.admitted_by.borrow();
            let last = last_rule(&entry, &generation, now);
            let rule = last.or_else(|| Some(entry.permit.borrow().rule()));
            if let Some(rule) = rule.and_then(|rule| generation.policy().rule(rule)) {
                self.process.expiries.add(&rule, Instant::now());
            }
        }
    }
}

/// The entry that admitted the client up to the end: the first one may have expired before, and another was still valid.
fn last_rule(entry: &Entry, generation: &Generation, now: UnixSeconds) -> Option<RuleId> {
    let listener = generation.listener(entry.listener.name())?;
    let (end, of_user) = entry.expiry(now)?;
    let before = UnixSeconds(end.0.saturating_sub(1));
    if of_user {
        let permit = listener.admits(entry.user().as_deref(), &entry.from, before).ok()??;
        return Some(permit.rule());
    }
    match listener.judge(&entry.from, before) {
        Decision::Allow(permit) => Some(permit.rule()),
        Decision::Deny(_) => None,
    }
}
