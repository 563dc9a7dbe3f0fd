//! The clients that shared connections serve, as those see them.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use portcullis_session::{Part, SessionKey, Tick, Unavailable};
use slab::Slab;

/// A client of shared connections. Called by a connection's task while that is busy: none of these may call it back.
pub(crate) trait SharedClient {
    /// Judges a part of a reply, which was read at `now`. What is to be passed on is given to [`SharedClient::write`] afterwards.
    fn reply(&mut self, part: &Part<'_>, now: Tick) -> ReplyOutcome;

    /// Writes to the client, after all that it was to get before.
    fn write(&mut self, bytes: &[u8]);

    /// Whether the gate's own replies come next.
    fn has_local_reply(&self) -> bool;

    /// Writes those for which there is room, and whatever [`ReplyOutcome::Other`] left to be written.
    fn write_local_replies(&mut self);

    /// Whether it holds as much for a client that does not read as it may, or has no room for the gate's own replies.
    fn is_full(&self) -> bool;

    /// Wakes `waker` when it is not full any more, or gone.
    fn wake_when_drained(&mut self, waker: &Waker);

    /// How long it has kept others waiting, in all.
    fn stalled(&self) -> Duration;

    /// It kept others waiting so long once more.
    fn has_stalled(&mut self, time: Duration);

    /// It keeps others waiting for too long: it is cut.
    fn cut(&mut self);

    /// The connection is gone, and with it what was owed. `why`: what the client is told.
    fn lost(&mut self, why: Option<Unavailable>);

    /// The upstream does not take the connection, before anything of what is owed was sent on it. Each command is answered
    /// with `line`.
    fn refused(&mut self, line: &[u8]);
}

/// What a client makes of a part of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyOutcome {
    /// Its bytes are for the client.
    Pass,
    /// They are not.
    Drop,
    /// They are not, but something else is: what came before goes first, then [`SharedClient::write_local_replies`].
    Other,
    /// The client has given up on the upstream: nothing that comes is for it any more.
    Gone,
    /// It is not the reply that comes next.
    Desync,
}

/// Those of one worker.
#[derive(Default)]
pub(crate) struct SharedClients(RefCell<Slab<Option<Place>>>);

struct Place {
    key: SessionKey,
    shared_client: Rc<RefCell<dyn SharedClient>>,
}

/// A key has its slab index above so many bits of the client's number: neither repeats while a reply is under way.
const ID_BITS: u32 = 40;

impl SharedClients {
    /// A key for a client with this number.
    pub(crate) fn reserve(&self, id: u64) -> SessionKey {
        let index = self.0.borrow_mut().insert(None) as u64;
        SessionKey(index << ID_BITS | (id & ((1 << ID_BITS) - 1)))
    }

    /// The client of a reserved key.
    pub(crate) fn seat(&self, key: SessionKey, shared_client: Rc<RefCell<dyn SharedClient>>) {
        if let Some(place) = self.0.borrow_mut().get_mut(index(key)) {
            *place = Some(Place { key, shared_client });
        }
    }

    /// The key is free for another; replies that come later find nobody.
    pub(crate) fn leave(&self, key: SessionKey) {
        let freed = self.0.borrow_mut().try_remove(index(key));
        // Here, where nothing is borrowed.
        drop(freed);
    }

    /// Who has that key, if anybody still.
    pub(crate) fn get(&self, key: SessionKey) -> Option<Rc<RefCell<dyn SharedClient>>> {
        let places = self.0.borrow();
        let place = places.get(index(key))?.as_ref().filter(|place| place.key == key)?;
        Some(Rc::clone(&place.shared_client))
    }

    /// Nothing that is owed to that client is for it any more.
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
