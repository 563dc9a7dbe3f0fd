//! A listener as one worker serves it: what its sessions need of the config, kept by name from one config to the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::Tcp;

use super::deadlines::Deadlines;
use crate::generation::denials::Denials;
use crate::generation::listener::Listener;
use crate::metrics::ListenerCounts;
use crate::upstream::target::Target;

/// One listener.
#[derive(Debug)]
pub(crate) struct ListenerView {
    name: Arc<str>,
    /// Counters of this worker.
    pub counts: ListenerCounts,
    denials: Arc<Denials>,
    deadlines: Cell<Deadlines>,
    output_buffer: Cell<usize>,
    target: RefCell<Rc<Target>>,
    current: RefCell<Arc<Listener>>,
}

/// Changes that another configuration brings for the sessions that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Another party checks credentials, or TLS is required now: the sessions came in on terms that no longer hold.
    pub terms: bool,
    /// Deadlines are others.
    pub deadlines: bool,
}

impl ListenerView {
    /// A listener of the worker's config, for worker number `worker`. `tcp` has the options of sockets to its upstream.
    pub(crate) fn of(listener: &Arc<Listener>, tcp: &Tcp, worker: usize) -> Self {
        let (state, settings) = (listener.state(), listener.settings());
        Self {
            name: Arc::clone(state.name()),
            counts: ListenerCounts::new(Arc::clone(state.series()), worker),
            denials: Arc::clone(state.denials()),
            deadlines: Cell::new(Deadlines::of(settings)),
            output_buffer: Cell::new(settings.limits().client_output_buffer()),
            target: RefCell::new(Rc::new(Target::of(listener, tcp, worker))),
            current: RefCell::new(Arc::clone(listener)),
        }
    }

    /// Takes over what another config says of the listener.
    pub(crate) fn renew(&self, listener: &Arc<Listener>, tcp: &Tcp, worker: usize) -> Change {
        let next = listener.settings();
        let deadlines = Deadlines::of(next);
        self.output_buffer.set(next.limits().client_output_buffer());
        self.target.replace(Rc::new(Target::of(listener, tcp, worker)));
        let before = self.current.replace(Arc::clone(listener));
        let before = before.settings();
        Change {
            terms: before.auth() != next.auth() || before.tls().is_none() && next.tls().is_some(),
            deadlines: self.deadlines.replace(deadlines) != deadlines,
        }
    }

    /// As in the config.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The listener in the worker's config; after a config without it, as it was before.
    pub(crate) fn current(&self) -> Arc<Listener> {
        Arc::clone(&self.current.borrow())
    }

    /// Refused commands in the log, for all workers.
    pub(crate) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// The time limits of its clients.
    pub(crate) fn deadlines(&self) -> Deadlines {
        self.deadlines.get()
    }

    /// How many bytes may wait for one of its clients where upstream connections are shared.
    pub(crate) fn output_buffer(&self) -> usize {
        self.output_buffer.get()
    }

    /// Where a session that begins now is led.
    pub(crate) fn target(&self) -> Rc<Target> {
        Rc::clone(&self.target.borrow())
    }
}
