//! Joins adjacent parts of the read buffer that go to one client into one write.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_session::{Part, SessionKey, Tick};

use crate::upstream::shared::shared_clients::{Delivered, SharedClient, Unwritten};

/// Adjacent parts of replies for one client.
#[derive(Default)]
pub(super) struct WriteRun<'b> {
    key: Option<SessionKey>,
    /// The client. `None` if it is gone; then its replies are discarded.
    shared_client: Option<Rc<RefCell<dyn SharedClient>>>,
    unwritten: Unwritten<'b>,
    held_up: bool,
}

impl<'b> WriteRun<'b> {
    /// Starts a run whose first part is at the beginning of `buf`.
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

    /// Hands the next part to the client.
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

    /// Returns whether the proxy's own replies come next and the client has no room for them. Later bytes of the read
    /// buffer must wait.
    pub(super) const fn is_held_up(&self) -> bool {
        self.held_up
    }

    /// Writes the rest. Returns the client if it is full afterwards.
    pub(super) fn end(mut self) -> Option<(SessionKey, Rc<RefCell<dyn SharedClient>>)> {
        let (key, shared_client) = self.key.zip(self.shared_client)?;
        self.unwritten.write(|bytes| shared_client.borrow_mut().write(bytes));
        let full = shared_client.borrow().is_full();
        full.then_some((key, shared_client))
    }
}
