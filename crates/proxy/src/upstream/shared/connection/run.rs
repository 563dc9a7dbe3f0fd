//! Neighbouring parts of what was read that go to one client, in one write.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_session::{Part, SessionKey, Tick};

use crate::upstream::shared::shared_clients::{Delivered, SharedClient, Unwritten};

/// The parts that one client gets, one after the other.
#[derive(Default)]
pub(super) struct WriteRun<'b> {
    key: Option<SessionKey>,
    /// None: the client is gone, and so are its replies.
    shared_client: Option<Rc<RefCell<dyn SharedClient>>>,
    unwritten: Unwritten<'b>,
    held_up: bool,
}

impl<'b> WriteRun<'b> {
    /// A run whose first part is at the beginning of `buf`.
    pub(super) const fn new(
        key: SessionKey,
        shared_client: Option<Rc<RefCell<dyn SharedClient>>>,
        buf: &'b [u8],
    ) -> Self {
        Self { key: Some(key), shared_client, unwritten: Unwritten::new(buf), held_up: false }
    }

    pub(super) fn is_of(&self, key: SessionKey) -> bool {
        self.key == Some(key)
    }

    /// Takes the next part.
    pub(super) fn take(&mut self, part: &Part<'_>, now: Tick) -> Delivered {
        let Some(shared_client) = &self.shared_client else { return Delivered::Taken };
        let delivered = shared_client.borrow_mut().receive(part, &mut self.unwritten, now);
        match delivered {
            Delivered::Taken => {}
            Delivered::HeldUp => self.held_up = true,
            Delivered::Gone | Delivered::Desync => self.shared_client = None,
        }
        delivered
    }

    /// Returns whether the gate's own replies come next, and there is no room for them: what was read behind them has
    /// to wait.
    pub(super) const fn is_held_up(&self) -> bool {
        self.held_up
    }

    /// Writes the rest. Returns the client if it is full then.
    pub(super) fn end(mut self) -> Option<(SessionKey, Rc<RefCell<dyn SharedClient>>)> {
        let (key, shared_client) = self.key.zip(self.shared_client)?;
        self.unwritten.write(|bytes| shared_client.borrow_mut().write(bytes));
        let full = shared_client.borrow().is_full();
        full.then_some((key, shared_client))
    }
}
