//! Neighbouring parts of what was read that go to one client, in one write.

use std::cell::RefCell;
use std::rc::Rc;

use portcullis_session::{Part, SessionKey, Tick};

use crate::upstream::shared::shared_clients::{ReplyOutcome, SharedClient};

/// `start..end` of the buffer is for the client and not written yet.
#[derive(Default)]
pub(super) struct Run {
    key: Option<SessionKey>,
    /// None: the client is gone, and so are its replies.
    shared_client: Option<Rc<RefCell<dyn SharedClient>>>,
    start: usize,
    end: usize,
    /// The place where the next part begins.
    at: usize,
    held_up: bool,
}

impl Run {
    pub(super) const fn new(
        key: SessionKey,
        shared_client: Option<Rc<RefCell<dyn SharedClient>>>,
        at: usize,
    ) -> Self {
        Self { key: Some(key), shared_client, start: at, end: at, at, held_up: false }
    }

    pub(super) fn is_of(&self, key: SessionKey) -> bool {
        self.key == Some(key)
    }

    /// Takes the next part of `buf`.
    pub(super) fn take(&mut self, part: &Part<'_>, buf: &[u8], now: Tick) -> ReplyOutcome {
        let at = self.at;
        self.at += part.bytes.len();
        let Some(shared_client) = self.shared_client.clone() else { return ReplyOutcome::Drop };
        let heard = shared_client.borrow_mut().reply(part, now);
        if heard == ReplyOutcome::Pass {
            if self.end < at {
                self.write(buf);
                self.start = at;
            }
            self.end = self.at;
        } else {
            self.write(buf);
        }
        if heard == ReplyOutcome::Gone || heard == ReplyOutcome::Desync {
            self.shared_client = None;
        } else if heard == ReplyOutcome::Other || shared_client.borrow().has_local_reply() {
            self.write(buf);
            shared_client.borrow_mut().write_local_replies();
            self.held_up = shared_client.borrow().has_local_reply();
        }
        heard
    }

    /// Returns whether the gate's own replies come next, and there is no room for them: what was read behind them has
    /// to wait.
    pub(super) const fn is_held_up(&self) -> bool {
        self.held_up
    }

    /// Writes the rest. Returns the client if it is full then.
    pub(super) fn end(self, buf: &[u8]) -> Option<(SessionKey, Rc<RefCell<dyn SharedClient>>)> {
        let mut run = self;
        run.write(buf);
        let (key, shared_client) = run.key.zip(run.shared_client)?;
        let full = shared_client.borrow().is_full();
        full.then_some((key, shared_client))
    }

    fn write(&mut self, buf: &[u8]) {
        if let Some(shared_client) = self.shared_client.as_ref().filter(|_| self.start < self.end) {
            shared_client.borrow_mut().write(&buf[self.start..self.end]);
        }
        self.start = self.at;
        self.end = self.at;
    }
}
