//! The operator's questions to all workers: which clients are connected, and the order to disconnect one.
//!
//! A page of clients is found by the number after which it begins, not by an offset. So no worker builds more rows than
//! a page has, and a client that disconnects between two pages does not shift the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_session::ClientFacts;

use super::channels::{Channels, Patience, WorkerPart};

/// The time for which the answers of the workers are collected. An operator waits longer than a client.
const WITHIN: Duration = Duration::from_secs(2);

/// The time before the end of [`WITHIN`] at which a worker ends its part.
const MARGIN: Duration = Duration::from_millis(100);

/// The most questions in progress at once. Each costs every worker a look at all of its clients.
const AT_ONCE: usize = 2;

/// The longest time for which a question waits until fewer than [`AT_ONCE`] are in progress.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// The channels for the operator's questions.
pub(crate) type Rosters = Channels<Matter, Roster>;

/// A question of the operator, or an order.
#[derive(Clone, Debug)]
pub(crate) enum Matter {
    /// Show a page of the clients.
    Page(Search),
    /// Disconnect the client with this number.
    Close(u64),
}

/// A filter on the clients, and a page of those that pass it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// A text in the address, the user, the name or the listener, in lower case. Empty if all clients are selected.
    pub any: String,
    /// A text in the address, in lower case.
    pub address: String,
    /// A text in the user, in lower case.
    pub user: String,
    /// A text in the name, in lower case.
    pub name: String,
    /// The name of the listener. `None` if all listeners are selected.
    pub listener: Option<String>,
    /// The number after which the page begins.
    pub after: u64,
    /// The most rows of the page.
    pub limit: usize,
}

/// One client, as the operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The address.
    pub address: String,
    /// The sender of the PROXY header that named the address. `None` if the client sent no header.
    pub sender: Option<String>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The time since the client connected. `None` while its session is being set up, as during a TLS handshake.
    pub age: Option<Duration>,
    /// The time since the client last sent something.
    pub idle: Duration,
    /// The facts that the session knows.
    pub facts: ClientFacts,
    /// The entry that admits the client.
    pub entry: Option<String>,
    /// The group of that entry. `None` if the entry is written in the listener itself.
    pub group: Option<String>,
}

/// The answer of one worker, or of all workers together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// The clients of the page by their numbers.
    rows: BTreeMap<u64, Row>,
    /// The number of clients that the filter selects, or that were disconnected.
    matched: u64,
    /// The number of selected clients that come after the last one of the page.
    beyond: u64,
    /// The number of clients that were not looked at.
    missing: u64,
}

impl Rosters {
    /// Creates the channels for this number of workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self::with_turns(workers, AT_ONCE)
    }

    /// Asks all workers. `sessions` returns the number of clients of a worker that does not answer in time.
    pub(super) async fn ask(&self, matter: Matter, sessions: impl Fn(usize) -> u64) -> Option<Roster> {
        let limit = if let Matter::Page(search) = &matter { search.limit } else { 0 };
        let mut whole = Roster::default();
        let patience = Patience { turn: MAX_WAIT, within: WITHIN, margin: MARGIN };
        self.collect(Arc::new(matter), patience, |index, part| match part {
            Some(part) => whole.add(part, limit),
            None => whole.miss(sessions(index)),
        })
        .await?;
        Some(whole)
    }
}

impl WorkerPart for Roster {
    fn miss(&mut self, clients: u64) {
        self.missing += clients;
    }
}

impl Search {
    /// Returns whether the filter selects a client with these properties.
    pub(crate) fn selects(&self, row: &Row) -> bool {
        let user = row.facts.user.as_deref().unwrap_or_default();
        let has = |text: &str, part: &str| part.is_empty() || text.to_lowercase().contains(part);
        let any = [&row.address, user, &row.facts.name, &row.listener];
        self.listener.as_deref().is_none_or(|listener| *listener == *row.listener)
            && has(&row.address, &self.address)
            && has(user, &self.user)
            && has(&row.facts.name, &self.name)
            && (self.any.is_empty() || any.into_iter().any(|text| has(text, &self.any)))
    }

    /// Returns whether the filter selects all clients, so that no row is needed to decide.
    fn selects_all(&self) -> bool {
        self.listener.is_none()
            && [&self.any, &self.address, &self.user, &self.name].iter().all(|part| part.is_empty())
    }
}

impl Roster {
    /// Looks at the client with the number `id`. `row` makes its row, if one is needed.
    pub(crate) fn look(&mut self, search: &Search, id: u64, row: impl FnOnce() -> Row) {
        if search.selects_all() {
            self.matched += 1;
            if self.has_place(search, id) {
                self.insert(id, row(), search.limit);
            }
            return;
        }
        let row = row();
        if search.selects(&row) {
            self.matched += 1;
            if self.has_place(search, id) {
                self.insert(id, row, search.limit);
            }
        }
    }

    /// Counts a client that was disconnected.
    pub(crate) fn closed(&mut self) {
        self.matched += 1;
    }

    /// Returns whether a client that is selected belongs to the page so far, and counts it if it comes after the page.
    fn has_place(&mut self, search: &Search, id: u64) -> bool {
        if id <= search.after {
            return false;
        }
        let last = self.rows.last_key_value().map(|(last, _)| *last);
        let fits = self.rows.len() < search.limit || last.is_some_and(|last| id < last);
        self.beyond += u64::from(!fits);
        fits
    }

    fn insert(&mut self, id: u64, row: Row, limit: usize) {
        self.rows.insert(id, row);
        if self.rows.len() > limit {
            self.rows.pop_last();
            self.beyond += 1;
        }
    }

    fn add(&mut self, other: Self, limit: usize) {
        self.matched += other.matched;
        self.beyond += other.beyond;
        self.missing += other.missing;
        for (id, row) in other.rows {
            self.insert(id, row, limit);
        }
    }

    /// Returns the clients of the page, in the order in which they connected.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, &Row)> {
        self.rows.iter().map(|(id, row)| (*id, row))
    }

    /// Returns the number of clients that the filter selects, on all pages, or that were disconnected.
    pub(crate) fn matched(&self) -> u64 {
        self.matched
    }

    /// Returns the number after which the next page begins. `None` if there is no further page.
    pub(crate) fn next(&self) -> Option<u64> {
        self.rows.last_key_value().filter(|_| self.beyond > 0).map(|(last, _)| *last)
    }

    /// Returns the number of clients that were not looked at.
    pub(crate) fn missing(&self) -> u64 {
        self.missing
    }
}

#[cfg(test)]
mod tests;
