//! A listener as one worker serves it: what its sessions need of the config, kept by name from one config to the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::Auth;

use super::deadlines::Deadlines;
use crate::generation::denials::Denials;
use crate::generation::store::Generation;
use crate::metrics::ListenerCounts;
use crate::upstream::route::Route;

/// One listener.
#[derive(Debug)]
pub(crate) struct ListenerView {
    name: Arc<str>,
    /// Counters of this worker.
    pub counts: ListenerCounts,
    denials: Arc<Denials>,
    deadlines: Cell<Deadlines>,
    output_buffer: Cell<usize>,
    route: RefCell<Rc<Route>>,
    auth: Cell<Auth>,
    /// Whether its clients speak TLS.
    secret: Cell<bool>,
    index: Cell<usize>,
}

/// What another config changed for the sessions that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Who checks credentials is another, or TLS is wanted now: those who are there came in on terms that do not hold any
    /// more.
    pub terms: bool,
    /// Deadlines are others.
    pub deadlines: bool,
}

impl ListenerView {
    /// The listener with that index, for worker number `worker`. `None`: there is none.
    pub(crate) fn of(generation: &Generation, index: usize, worker: usize) -> Option<Self> {
        let listener = generation.config().listeners().get(index)?;
        let state = generation.listeners().get(index)?;
        Some(Self {
            name: Arc::clone(state.name()),
            counts: ListenerCounts::new(Arc::clone(state.series()), worker),
            denials: Arc::clone(state.denials()),
            deadlines: Cell::new(Deadlines::of(listener)),
            output_buffer: Cell::new(listener.limits().client_output_buffer()),
            route: RefCell::new(Rc::new(Route::of(generation, index, worker)?)),
            auth: Cell::new(listener.auth()),
            secret: Cell::new(listener.tls().is_some()),
            index: Cell::new(index),
        })
    }

    /// Takes over what the listener of that index says.
    pub(crate) fn renew(&self, generation: &Generation, index: usize, worker: usize) -> Option<Change> {
        let next = Self::of(generation, index, worker)?;
        self.index.set(index);
        self.output_buffer.set(next.output_buffer.get());
        self.route.replace(next.route.into_inner());
        Some(Change {
            terms: self.auth.replace(next.auth.get()) != next.auth.get()
                || !self.secret.replace(next.secret.get()) && next.secret.get(),
            deadlines: self.deadlines.replace(next.deadlines.get()) != next.deadlines.get(),
        })
    }

    /// As in the config.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Refused commands in the log, for all workers.
    pub(crate) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// What its clients are given time for.
    pub(crate) fn deadlines(&self) -> Deadlines {
        self.deadlines.get()
    }

    /// How many bytes may wait for one of its clients where upstream connections are shared.
    pub(crate) fn output_buffer(&self) -> usize {
        self.output_buffer.get()
    }

    /// Where a session that begins now is led.
    pub(crate) fn route(&self) -> Rc<Route> {
        Rc::clone(&self.route.borrow())
    }

    /// Its index in the worker's config.
    pub(crate) fn index(&self) -> usize {
        self.index.get()
    }
}
