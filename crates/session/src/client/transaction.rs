//! MULTI as the client asked for it: what is queued, and whether EXEC can still succeed.

use crate::shape::{QueuedConfirmations, Verb};

/// A transaction may queue this many (un)subscribe commands; each is remembered by its place until EXEC is answered.
const MAX_QUEUED_CONFIRMATIONS: usize = 1024;

/// A transaction that was begun and not yet executed or discarded.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    queued: u64,
    confirmations: QueuedConfirmations,
    dirty: bool,
}

impl Transaction {
    /// So many more commands were sent to be queued.
    pub(crate) const fn queue(&mut self, n: u64) {
        self.queued = self.queued.saturating_add(n);
    }

    /// As [`Transaction::queue`], for a command that EXEC answers with a confirmation. False: too many of them.
    pub(crate) fn queue_confirmation(&mut self, verb: Verb) -> bool {
        if self.confirmations.places.len() >= MAX_QUEUED_CONFIRMATIONS {
            return false;
        }
        self.confirmations.places.push((self.queued, verb));
        self.queue(1);
        true
    }

    /// The number of queued subscribing commands.
    pub(crate) fn subscribing(&self) -> u32 {
        let queued = self.confirmations.places.iter().filter(|(_, verb)| !verb.gives_up()).count();
        u32::try_from(queued).unwrap_or(u32::MAX)
    }

    /// A command was refused by the gate: EXEC must fail, as it does in Redis.
    pub(crate) const fn spoil(&mut self) {
        self.dirty = true;
    }

    /// The number of commands that were sent to be queued.
    pub(crate) const fn queued(&self) -> u64 {
        self.queued
    }

    pub(crate) const fn is_dirty(&self) -> bool {
        self.dirty
    }

    pub(crate) fn into_confirmations(self) -> QueuedConfirmations {
        QueuedConfirmations { elements: self.queued, ..self.confirmations }
    }
}
