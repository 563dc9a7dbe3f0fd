//! Entries whose `until` has passed and whose clients were therefore disconnected, gathered over all workers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_acl::Rule;

use crate::generation::explain::moment;

/// Each worker looks for expired entries several times in this time. Then the count of an entry is complete.
const GATHER: Duration = Duration::from_secs(1);

/// So many entries have a line of their own. A list may have a million entries that end in the same second.
const MOST: usize = 100;

/// The entries that were reported and not yet logged.
#[derive(Debug, Default)]
pub(crate) struct Expiries(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    since: Option<Instant>,
    entries: Vec<Expired>,
    /// Connections of further entries.
    others: u64,
}

#[derive(Debug)]
struct Expired {
    facts: Facts,
    connections: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Facts {
    group: Option<String>,
    entry: String,
    until: Option<String>,
    file: Option<String>,
    line: u32,
}

impl Expiries {
    /// Counts a connection that ends because this entry has expired.
    pub(crate) fn add(&self, rule: &Rule<'_>, now: Instant) {
        let facts = Facts {
            group: rule.group.map(str::to_owned),
            entry: rule.entry().to_string(),
            until: rule.until.map(moment),
            file: rule.file.map(str::to_owned),
            line: rule.line,
        };
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.since.get_or_insert(now);
        if let Some(known) = gathered.entries.iter_mut().find(|known| known.facts == facts) {
            known.connections += 1;
        } else if gathered.entries.len() < MOST {
            gathered.entries.push(Expired { facts, connections: 1 });
        } else {
            gathered.others += 1;
        }
    }

    /// Logs a line for each entry if their counts are complete at `now`.
    pub(crate) fn log(&self, now: Instant) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.since.is_some_and(|since| now.saturating_duration_since(since) >= GATHER) {
            let taken = std::mem::take(&mut *gathered);
            drop(gathered);
            taken.log();
        }
    }

    /// Logs what is left, at the end of the process.
    pub(crate) fn finish(&self) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).log();
    }
}

impl Gathered {
    fn log(&self) {
        for Expired { facts, connections } in &self.entries {
            let Facts { group, entry, until, file, line } = facts;
            let shown = |text: &'_ Option<String>| text.clone().map(tracing::field::display);
            tracing::info!(
                group = shown(group),
                %entry,
                until = shown(until),
                file = shown(file),
                line,
                connections,
                "entry expired: its clients are disconnected"
            );
        }
        if self.others > 0 {
            let connections = self.others;
            tracing::info!(connections, "further entries expired: their clients are disconnected");
        }
    }
}

#[cfg(test)]
mod tests;
