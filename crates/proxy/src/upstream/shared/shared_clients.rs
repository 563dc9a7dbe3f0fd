//! Clients of shared connections, as the connections see them.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use portcullis_session::{Part, SessionKey, Tick, Unavailable};
use slab::Slab;

/// A client of shared connections. A connection's task calls it while the task is busy: no method may call the task
/// back.
pub(crate) trait SharedClient {
    /// Judges a part of a reply, which was read at `now`. The bytes to pass on are given to [`SharedClient::write`]
    /// afterwards.
    fn reply(&mut self, part: &Part<'_>, now: Tick) -> ReplyOutcome;

    /// Writes to the client, after everything that it was to get before.
    fn write(&mut self, bytes: &[u8]);

    /// Returns whether the gate's own replies come next.
    fn has_local_reply(&self) -> bool;

    /// Writes those for which there is room, and the text that [`ReplyOutcome::Other`] left.
    fn write_local_replies(&mut self);

    /// Returns whether it holds as much for a client that does not read as it may, or has no room for the gate's own
    /// replies.
    fn is_full(&self) -> bool;

    /// Wakes `waker` when the client is not full any more, or gone.
    fn wake_when_drained(&mut self, waker: &Waker);

    /// The time for which it has kept others waiting, in all.
    fn stalled(&self) -> Duration;

    /// Adds a time for which it kept others waiting.
    fn has_stalled(&mut self, time: Duration);

    /// Cuts the client, which keeps others waiting for too long.
    fn cut(&mut self);

    /// The connection is gone, and with it the pending replies. `why` is what the client is told.
    fn lost(&mut self, why: Option<Unavailable>);

    /// The upstream refused the connection before any of the pending commands was sent on it. Each is answered with
    /// `line`.
    fn refused(&mut self, line: &[u8]);
}

/// The outcome of a part of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyOutcome {
    /// The bytes are for the client.
    Pass,
    /// The bytes are dropped.
    Drop,
    /// The bytes are dropped and replaced: what came before goes first, then [`SharedClient::write_local_replies`].
    Other,
    /// The client has given up on the upstream: no reply is for it any more.
    Gone,
    /// The reply is not the one that comes next.
    Desync,
}

/// The shared clients of one worker.
#[derive(Default)]
pub(crate) struct SharedClients(RefCell<Slab<Option<Place>>>);

struct Place {
    key: SessionKey,
    shared_client: Rc<RefCell<dyn SharedClient>>,
}

/// A key has its slab index above so many bits of the client's number: neither repeats while a reply is under way.
const ID_BITS: u32 = 40;

impl SharedClients {
    /// Returns a key for a client with this number.
    pub(crate) fn reserve(&self, id: u64) -> SessionKey {
        let index = self.0.borrow_mut().insert(None) as u64;
        SessionKey(index << ID_BITS | (id & ((1 << ID_BITS) - 1)))
    }

    /// Sets the client of a reserved key.
    pub(crate) fn seat(&self, key: SessionKey, shared_client: Rc<RefCell<dyn SharedClient>>) {
        if let Some(place) = self.0.borrow_mut().get_mut(index(key)) {
            *place = Some(Place { key, shared_client });
        }
    }

    /// Frees the key for another client; replies that come later find no client.
    pub(crate) fn leave(&self, key: SessionKey) {
        let freed = self.0.borrow_mut().try_remove(index(key));
        // Dropped here, where nothing is borrowed.
        drop(freed);
    }

    /// Returns the client with this key, if it is still there.
    pub(crate) fn get(&self, key: SessionKey) -> Option<Rc<RefCell<dyn SharedClient>>> {
        let places = self.0.borrow();
        let place = places.get(index(key))?.as_ref().filter(|place| place.key == key)?;
        Some(Rc::clone(&place.shared_client))
    }

    /// Forgets a client: no pending reply is for it any more.
    pub(crate) fn forget(&self, key: SessionKey) {
        if let Some(place) = self.0.borrow_mut().get_mut(index(key))
            && place.as_ref().is_some_and(|place| place.key == key)
        {
            *place = None;
        }
    }
}

fn index(key: SessionKey) -> usize {
    usize::try_from(key.0 >> ID_BITS).unwrap_or(usize::MAX)
}

impl std::fmt::Debug for SharedClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SharedClients").field(&self.0.borrow().len()).finish()
    }
}
