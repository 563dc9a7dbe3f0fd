//! A worker's view of a listener: the settings and counters that its sessions need. A reload updates the view of a
//! listener whose name stays.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::deadlines::Deadlines;
use crate::generation::denials::Denials;
use crate::generation::listener::Listener;
use crate::metrics::ListenerCounts;
use crate::upstream::target::Target;

/// One listener as one worker serves it.
#[derive(Debug)]
pub(crate) struct ListenerView {
    name: Arc<str>,
    /// The counters of the listener for this worker.
    pub counts: ListenerCounts,
    denials: Arc<Denials>,
    deadlines: Cell<Deadlines>,
    output_buffer: Cell<usize>,
    target: RefCell<Rc<Target>>,
    current: RefCell<Arc<Listener>>,
}

/// The changes of another configuration that affect the sessions of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Whether `auth` changed, the listener now has TLS and had none, or it has left a cluster. The sessions were
    /// admitted under terms that no longer apply.
    pub terms: bool,
    /// Whether a time limit changed.
    pub deadlines: bool,
}

impl ListenerView {
    /// Creates the view of `listener`, whose upstream is `target`, for the worker with the index `worker`.
    pub(crate) fn of(listener: &Arc<Listener>, target: Target, worker: usize) -> Self {
        let (state, settings) = (listener.state(), listener.settings());
        Self {
            name: Arc::clone(state.name()),
            counts: ListenerCounts::new(Arc::clone(state.series()), worker),
            denials: Arc::clone(state.denials()),
            deadlines: Cell::new(Deadlines::of(settings)),
            output_buffer: Cell::new(settings.limits().client_output_buffer()),
            target: RefCell::new(Rc::new(target)),
            current: RefCell::new(Arc::clone(listener)),
        }
    }

    /// Applies the settings of another configuration. Returns what changed.
    pub(crate) fn renew(&self, listener: &Arc<Listener>, target: Target) -> Change {
        let next = listener.settings();
        let deadlines = Deadlines::of(next);
        self.output_buffer.set(next.limits().client_output_buffer());
        let target = Rc::new(target);
        let former = self.target.replace(Rc::clone(&target));
        let before = self.current.replace(Arc::clone(listener));
        let before = before.settings();
        Change {
            terms: before.auth() != next.auth()
                || before.tls().is_none() && next.tls().is_some()
                || has_left_cluster(&former, &target),
            deadlines: self.deadlines.replace(deadlines) != deadlines,
        }
    }

    /// Returns the name in the configuration.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the listener in the worker's configuration. If the configuration no longer has the listener, the
    /// result is its last version.
    pub(crate) fn current(&self) -> Arc<Listener> {
        Arc::clone(&self.current.borrow())
    }

    /// Returns the log of refused commands, which all workers share.
    pub(crate) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Returns the time limits for the clients.
    pub(crate) fn deadlines(&self) -> Deadlines {
        self.deadlines.get()
    }

    /// Returns the most bytes that may wait for one client if upstream connections are shared.
    pub(crate) fn output_buffer(&self) -> usize {
        self.output_buffer.get()
    }

    /// Returns the upstream target for a session that begins now.
    pub(crate) fn target(&self) -> Rc<Target> {
        Rc::clone(&self.target.borrow())
    }
}

/// Returns whether the upstream was a cluster, and is another one or none now. The watcher of the former cluster has ended,
/// so that the sessions would keep its last map.
fn has_left_cluster(former: &Target, target: &Target) -> bool {
    former.upstream.is_cluster() && !former.view.current().is_of(&target.upstream)
}
