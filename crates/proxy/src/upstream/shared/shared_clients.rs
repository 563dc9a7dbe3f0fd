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
    /// Takes a part of a reply, which was read at `now`. Its bytes follow those that are `unwritten`. They may join these;
    /// otherwise the client writes these first.
    fn receive(&mut self, part: &Part<'_>, unwritten: &mut Unwritten<'_>, now: Tick) -> Delivered;

    /// Writes to the client, after everything that it was to get before.
    fn write(&mut self, bytes: &[u8]);

    /// Returns whether it holds as much for a client that does not read as it may, or has no room for the gate's own
    /// replies.
    fn is_full(&self) -> bool;

    /// Wakes `waker` when the client is not full any more, or gone.
    fn wake_when_drained(&mut self, waker: &Waker);

    /// Cuts the client, which keeps others waiting for too long.
    fn cut(&mut self);

    /// The connection is gone, and with it the pending replies. `why` is what the client is told.
    fn lost(&mut self, why: Option<Unavailable>);

    /// The upstream refused the connection before any of the pending commands was sent on it. Each is answered with
    /// `line`.
    fn refused(&mut self, line: &[u8]);
}

/// The outcome of handing a part of a reply to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The client has what it is to get of it, or will when what is unwritten is written.
    Taken,
    /// The same. But the gate's own replies come next, and there is no room for them.
    HeldUp,
    /// The client has given up on the upstream: no reply is for it any more.
    Gone,
    /// The reply is not the one that comes next.
    Desync,
}

/// Bytes of a shared connection's buffer that go to one client, and are not written yet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unwritten<'b> {
    buf: &'b [u8],
    /// `start..end` of `buf` is unwritten. The part that is received next begins at `end`.
    start: usize,
    end: usize,
}

impl<'b> Unwritten<'b> {
    /// Nothing is unwritten, and the next part begins with `buf`.
    pub(crate) const fn new(buf: &'b [u8]) -> Self {
        Self { buf, start: 0, end: 0 }
    }

    /// The next `len` bytes are for the client.
    pub(crate) const fn pass(&mut self, len: usize) {
        self.end += len;
    }

    /// The next `len` bytes are not for the client; `write` gets what it is to have before.
    pub(crate) fn skip(&mut self, len: usize, write: impl FnOnce(&[u8])) {
        self.write(write);
        self.start += len;
        self.end = self.start;
    }

    /// Has `write` write what is unwritten, if anything is.
    pub(crate) fn write(&mut self, write: impl FnOnce(&[u8])) {
        let bytes = &self.buf[self.start..self.end];
        self.start = self.end;
        if !bytes.is_empty() {
            write(bytes);
        }
    }
}

/// The shared clients of one worker.
#[derive(Default)]
pub(crate) struct SharedClients(RefCell<Slab<Option<Slot>>>);

struct Slot {
    key: SessionKey,
    shared_client: Rc<RefCell<dyn SharedClient>>,
    /// The time for which it has kept others waiting.
    stalled: Duration,
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
            *place = Some(Slot { key, shared_client, stalled: Duration::ZERO });
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

    /// The time for which that client has kept others waiting, in all.
    pub(crate) fn stalled(&self, key: SessionKey) -> Duration {
        let places = self.0.borrow();
        let place = places.get(index(key)).and_then(Option::as_ref).filter(|place| place.key == key);
        place.map_or(Duration::ZERO, |place| place.stalled)
    }

    /// That client has kept others waiting for so long once more.
    pub(crate) fn has_stalled(&self, key: SessionKey, time: Duration) {
        let mut places = self.0.borrow_mut();
        if let Some(place) = places.get_mut(index(key)).and_then(Option::as_mut)
            && place.key == key
        {
            place.stalled = place.stalled.saturating_add(time);
        }
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
