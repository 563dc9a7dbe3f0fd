//! The clients of shared connections, as the connections see them.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use portcullis_session::{Aftermath, Loss, Part, SessionKey, Tick};
use slab::Slab;

/// A client of shared connections. The task of a connection calls these methods while it runs, so no method may call
/// the task.
pub(crate) trait SharedClient {
    /// Takes a part of a reply, which was read at `now`. The part follows the bytes of `unwritten`. The client either
    /// adds it to them, or writes them before its own bytes.
    fn receive(&mut self, part: &Part<'_>, unwritten: &mut Unwritten<'_>, now: Tick) -> Delivered;

    /// Writes bytes to the client, after everything written before.
    fn write(&mut self, bytes: &[u8]);

    /// Returns whether the buffer for a client that does not read is full, or has no room for the proxy's own
    /// replies.
    fn is_full(&self) -> bool;

    /// Wakes `waker` when the client is not full any more, or is gone.
    fn wake_when_drained(&mut self, waker: &Waker);

    /// Disconnects the client because it keeps others waiting for too long.
    fn cut(&mut self);

    /// Tells the client that the connection is lost, and with it the pending replies. `loss` selects the error for the
    /// client; with `None` no reply can be trusted, and the session ends.
    fn lost(&mut self, loss: Option<Loss>) -> Aftermath;

    /// Tells the client that the upstream refused the connection before any pending command was sent. Each of these
    /// commands is answered with `line`.
    fn refused(&mut self, line: &[u8]);
}

/// The result of handing a part of a reply to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The client has its bytes, or has them as soon as the unwritten bytes are written.
    Taken,
    /// As [`Self::Taken`], but the proxy's own replies come next and there is no room for them.
    HeldUp,
    /// The client does not wait for replies any more.
    Gone,
    /// The client did not expect this reply.
    Desync,
}

/// Bytes in the buffer of a shared connection that go to one client and are not written yet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unwritten<'b> {
    buf: &'b [u8],
    /// `start..end` of `buf` is unwritten. The next part begins at `end`.
    start: usize,
    end: usize,
}

impl<'b> Unwritten<'b> {
    /// Starts without unwritten bytes; the next part is at the beginning of `buf`.
    pub(crate) const fn new(buf: &'b [u8]) -> Self {
        Self { buf, start: 0, end: 0 }
    }

    /// Adds the next `len` bytes to the unwritten bytes.
    pub(crate) const fn pass(&mut self, len: usize) {
        self.end += len;
    }

    /// Skips the next `len` bytes, which are not for the client. The bytes before them are passed to `write`.
    pub(crate) fn skip(&mut self, len: usize, write: impl FnOnce(&[u8])) {
        self.write(write);
        self.start += len;
        self.end = self.start;
    }

    /// Passes the unwritten bytes to `write`, if there are any.
    pub(crate) fn write(&mut self, write: impl FnOnce(&[u8])) {
        let bytes = &self.buf[self.start..self.end];
        self.start = self.end;
        if !bytes.is_empty() {
            write(bytes);
        }
    }
}

/// The clients of one worker that use shared connections.
#[derive(Default)]
pub(crate) struct SharedClients(RefCell<Slab<Option<Slot>>>);

struct Slot {
    key: SessionKey,
    shared_client: Rc<RefCell<dyn SharedClient>>,
    /// The total time for which the client has kept others waiting.
    stalled: Duration,
}

/// The number of low bits of a key that have the client's number; the slab index is above them. Both together do not
/// repeat while a reply is pending.
const ID_BITS: u32 = 40;

impl SharedClients {
    /// Reserves a key for the client with this number.
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

    /// Frees the place of the key. Replies that arrive later find no client.
    pub(crate) fn leave(&self, key: SessionKey) {
        let freed = self.0.borrow_mut().try_remove(index(key));
        // The drop of the client happens here, where nothing is borrowed.
        drop(freed);
    }

    /// Returns the client with this key. `None` if it is gone.
    pub(crate) fn get(&self, key: SessionKey) -> Option<Rc<RefCell<dyn SharedClient>>> {
        let places = self.0.borrow();
        let place = places.get(index(key))?.as_ref().filter(|place| place.key == key)?;
        Some(Rc::clone(&place.shared_client))
    }

    /// Returns the total time for which the client has kept others waiting.
    pub(crate) fn stalled(&self, key: SessionKey) -> Duration {
        let places = self.0.borrow();
        let place = places.get(index(key)).and_then(Option::as_ref).filter(|place| place.key == key);
        place.map_or(Duration::ZERO, |place| place.stalled)
    }

    /// Adds `time` to the total for which the client has kept others waiting.
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
