//! Gathers refusals of connections, logins and commands: those of one source, listener and kind within a second become
//! one line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_acl::{ClientAddr, Rule};

use super::line::{Entry, LineSource, Refusal, RuleFacts};

/// The time for which refusals are gathered before they are reported.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// The number of sources that are counted separately within [`WINDOW`]; the rest are counted in one line for each
/// listener and kind. A scan from more addresses than this makes at most about twice as many lines a second, which
/// a disk can take.
pub(super) const MAX_SOURCES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Gather {
    sources: HashMap<Key, Held>,
    various: HashMap<(Arc<str>, Refusal), Held>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The address without the port, which differs for each connection. `None` for a unix socket.
    ip: Option<IpAddr>,
    listener: Arc<str>,
    refusal: Refusal,
}

/// Refusals that are counted and not reported yet.
#[derive(Debug)]
struct Held {
    since: Instant,
    count: u64,
    last: ClientAddr,
    rule: Option<OwnedRule>,
}

/// Tells the caller whether to report a refusal at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// The first refusal of its source, listener and kind: report it at once.
    First,
    /// The refusal is counted and will be reported later.
    Held,
}

/// Refusals that were held back and are now due.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) source: LineSource,
    pub(super) listener: Arc<str>,
    pub(super) refusal: Refusal,
    pub(super) count: u64,
    rule: Option<OwnedRule>,
}

impl Gather {
    /// Counts one refusal.
    pub(super) fn add(
        &mut self,
        source: ClientAddr,
        listener: &Arc<str>,
        refusal: Refusal,
        rule: Option<&Rule<'_>>,
        now: Instant,
    ) -> Gathered {
        let key = Key { ip: source.ip(), listener: Arc::clone(listener), refusal };
        if let Some(held) = self.sources.get_mut(&key) {
            held.count = held.count.saturating_add(1);
            held.last = source;
            return Gathered::Held;
        }
        if self.sources.len() < MAX_SOURCES {
            self.sources
                .insert(key, Held { since: now, count: 0, last: source, rule: rule.map(OwnedRule::of) });
            return Gathered::First;
        }
        let held = self.various.entry((Arc::clone(listener), refusal)).or_insert_with(|| Held {
            since: now,
            count: 0,
            last: source,
            rule: None,
        });
        held.count = held.count.saturating_add(1);
        Gathered::Held
    }

    /// Removes and returns the refusals that were held for a whole window, or all of them if `all` is set. A source
    /// that continues to be refused is gathered again, so it gets one line a second. A quiet source is forgotten, so
    /// that its next refusal is reported at once.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Told> {
        let mut told = Vec::new();
        self.sources.retain(|key, held| {
            let source = LineSource::One(held.last);
            held.keep(now, all, |count, rule| {
                let rule = rule.clone();
                let listener = Arc::clone(&key.listener);
                told.push(Told { source, listener, refusal: key.refusal, count, rule });
            })
        });
        self.various.retain(|(listener, refusal), held| {
            held.keep(now, all, |count, _| {
                let (listener, refusal) = (Arc::clone(listener), *refusal);
                told.push(Told { source: LineSource::Various, listener, refusal, count, rule: None });
            })
        });
        told
    }

    /// Returns the time at which [`Self::due`] next has work to do. `None` if no refusal is held.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.sources.values().chain(self.various.values()).map(|held| held.since + WINDOW).min()
    }
}

impl Held {
    fn keep(&mut self, now: Instant, all: bool, tell: impl FnOnce(u64, &Option<OwnedRule>)) -> bool {
        if !all && now.saturating_duration_since(self.since) < WINDOW {
            return true;
        }
        if self.count == 0 {
            return false;
        }
        tell(self.count, &self.rule);
        self.count = 0;
        self.since = now;
        true
    }
}

impl Told {
    pub(super) fn rule(&self) -> Option<RuleFacts<'_>> {
        self.rule.as_ref().map(OwnedRule::facts)
    }
}

/// A copy of a rule that can outlive its policy.
#[derive(Clone, Debug)]
struct OwnedRule {
    group: Option<Box<str>>,
    entry: Box<str>,
    note: Option<Box<str>>,
    file: Option<Box<str>>,
    line: u32,
}

impl OwnedRule {
    fn of(rule: &Rule<'_>) -> Self {
        Self {
            group: rule.group.map(Into::into),
            entry: rule.entry().to_string().into(),
            note: rule.note.map(Into::into),
            file: rule.file.map(Into::into),
            line: rule.line,
        }
    }

    fn facts(&self) -> RuleFacts<'_> {
        RuleFacts {
            group: self.group.as_deref(),
            entry: Entry::Text(&self.entry),
            note: self.note.as_deref(),
            file: self.file.as_deref(),
            line: self.file.as_ref().map(|_| self.line),
        }
    }
}
