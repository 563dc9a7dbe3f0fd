//! The places of one thread for handshakes of clients, and the queue for the places.
//!
//! A source holds at most [`OF_A_SOURCE`] places, so that it cannot take all places from others. The number of
//! waiting clients is limited here, and their time by the caller. The sources that wait get free places in turn. If
//! the queue is full, the source with the most waiting clients loses the last of them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use portcullis_acl::rate::Source;
use tokio::sync::oneshot;

/// The handshakes that one thread holds in memory at a time, at some 30 KiB each. A client that has sent no byte yet
/// has none.
const MAX_HANDSHAKES: usize = 256;

/// The most places of one source. With fewer than eight sources that never finish, a place is free for every other
/// source.
const OF_A_SOURCE: usize = MAX_HANDSHAKES / 8;

/// The most clients of one thread that wait for a place. Each holds a socket and up to 2 KiB that it has sent.
const MAX_WAITING: usize = 4096;

/// The source of a handshake. All peers on unix sockets are one source, with no limit of its own.
type Key = Option<Source>;

thread_local! {
    static PLACES: Places = Places::default();
}

/// Waits for a place on this thread.
///
/// # Errors
/// The queue is full, or another source has displaced the client from the queue.
pub(super) async fn place(source: Key) -> Result<HandshakePlace, Crowded> {
    PLACES.with(Clone::clone).take(source).await
}

/// The queue is full, and no other source has more clients in it than this source would have. Or a client of another
/// source has taken the client's place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// The place of one handshake. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct HandshakePlace {
    of: Places,
    source: Key,
}

/// The places of one thread.
#[derive(Clone, Debug, Default)]
struct Places(Rc<RefCell<PlacesState>>);

#[derive(Debug, Default)]
struct PlacesState {
    /// The number of places that are held.
    taken: usize,
    /// The number of clients in the queue.
    waiting: usize,
    last_number: u64,
    /// The sources that hold a place or wait for one.
    sources: HashMap<Key, Share>,
    /// The sources that wait and may hold one more place, in the order of their turns.
    turns: VecDeque<Key>,
    /// The sources that wait, ordered by the number of their waiting clients.
    by_waiting: BTreeSet<(usize, Key)>,
}

/// The places and the waiting clients of one source.
#[derive(Debug, Default)]
struct Share {
    held: usize,
    /// Whether the source is in [`PlacesState::turns`].
    has_turn: bool,
    /// The waiting clients of the source, with numbers that only grow.
    waiting: VecDeque<(u64, oneshot::Sender<HandshakePlace>)>,
}

impl Places {
    async fn take(&self, source: Key) -> Result<HandshakePlace, Crowded> {
        let (number, granted) = match self.join(source)? {
            Joined::Granted(place) => return Ok(place),
            Joined::Waits(number, granted) => (number, granted),
        };
        let _waiting = Waiting { of: self, source, number };
        granted.await.map_err(|_| Crowded)
    }

    /// Takes a place for a client of the source, or adds the client to the queue.
    fn join(&self, source: Key) -> Result<Joined, Crowded> {
        let mut state = self.0.borrow_mut();
        let nobody_before = state.sources.get(&source).is_none_or(|share| share.waiting.is_empty());
        if nobody_before && state.grants(source) {
            state.hold(source);
            return Ok(Joined::Granted(HandshakePlace { of: self.clone(), source }));
        }
        if state.waiting >= MAX_WAITING {
            state.make_room(source)?;
        }
        state.last_number += 1;
        let number = state.last_number;
        let (sender, granted) = oneshot::channel();
        state.change(source, |share| share.waiting.push_back((number, sender)));
        Ok(Joined::Waits(number, granted))
    }

    /// Gives the free places to the clients whose turn it is.
    fn grant(&self) {
        while let Some((source, sender)) = self.next() {
            // The place is sent without a borrow: a place that cannot be delivered is dropped, and then borrows the
            // state.
            drop(sender.send(HandshakePlace { of: self.clone(), source }));
        }
    }

    /// Takes the next client from the queue, together with a free place. Returns `None` if there is no such client or
    /// no free place.
    fn next(&self) -> Option<(Key, oneshot::Sender<HandshakePlace>)> {
        let mut state = self.0.borrow_mut();
        while state.taken < MAX_HANDSHAKES {
            let source = state.turns.pop_front()?;
            let first = state.change(source, |share| {
                share.has_turn = false;
                share.waiting.pop_front()
            });
            if let Some((_, sender)) = first {
                state.hold(source);
                return Some((source, sender));
            }
        }
        None
    }
}

/// The result of asking for a place.
enum Joined {
    Granted(HandshakePlace),
    Waits(u64, oneshot::Receiver<HandshakePlace>),
}

impl PlacesState {
    /// Returns whether the source may have a place at once. A source may not overtake sources that wait for their
    /// turn.
    fn grants(&self, source: Key) -> bool {
        let held = self.sources.get(&source).map_or(0, |share| share.held);
        self.taken < MAX_HANDSHAKES && self.turns.is_empty() && may_hold(source, held)
    }

    /// Counts one more place that the source holds.
    fn hold(&mut self, source: Key) {
        self.taken += 1;
        self.change(source, |share| share.held += 1);
    }

    /// Removes the last client of the source with the most waiting clients from the queue.
    ///
    /// # Errors
    /// No other source has more waiting clients than this source would have.
    fn make_room(&mut self, source: Key) -> Result<(), Crowded> {
        let own = self.sources.get(&source).map_or(0, |share| share.waiting.len());
        let &(most, largest) = self.by_waiting.last().ok_or(Crowded)?;
        if own + 1 >= most {
            return Err(Crowded);
        }
        // The future of that client ends with an error when the channel is closed.
        drop(self.change(largest, |share| share.waiting.pop_back()));
        Ok(())
    }

    /// Applies `change` to the share of a source. Then updates the queue of turns and the order by waiting clients.
    fn change<T>(&mut self, source: Key, change: impl FnOnce(&mut Share) -> T) -> T {
        let share = self.sources.entry(source).or_default();
        let before = share.waiting.len();
        let changed = change(share);
        let after = share.waiting.len();
        if before != after {
            self.waiting = self.waiting + after - before;
            self.by_waiting.remove(&(before, source));
            if after > 0 {
                self.by_waiting.insert((after, source));
            }
        }
        if after > 0 && !share.has_turn && may_hold(source, share.held) {
            share.has_turn = true;
            self.turns.push_back(source);
        }
        if (after == 0 || !may_hold(source, share.held)) && share.has_turn {
            share.has_turn = false;
            self.turns.retain(|other| *other != source);
        }
        if share.held == 0 && after == 0 {
            self.sources.remove(&source);
        }
        changed
    }
}

/// Returns whether a source that holds `held` places may hold one more.
fn may_hold(source: Key, held: usize) -> bool {
    source.is_none() || held < OF_A_SOURCE
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        {
            let mut state = self.of.0.borrow_mut();
            state.taken = state.taken.saturating_sub(1);
            state.change(self.source, |share| share.held = share.held.saturating_sub(1));
        }
        self.of.grant();
    }
}

/// A client in the queue. Dropping this value removes the client from the queue.
struct Waiting<'a> {
    of: &'a Places,
    source: Key,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.of.0.borrow_mut();
        let Some(share) = state.sources.get(&self.source) else { return };
        let found = share.waiting.binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(index) = found {
            drop(state.change(self.source, |share| share.waiting.remove(index)));
        }
    }
}

#[cfg(test)]
mod tests;
