//! The views of the upstreams, as one worker has them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::{Config, Upstream};

use crate::upstream::view::{View, ViewCell};

/// A cell for each upstream. A view may come before a listener uses its upstream, and sessions may use an upstream that
/// the configuration no longer has.
#[derive(Debug, Default)]
pub(crate) struct Views(RefCell<Vec<Rc<ViewCell>>>);

impl Views {
    /// Returns the cell of an upstream.
    pub(super) fn cell(&self, upstream: &Upstream) -> Rc<ViewCell> {
        let mut cells = self.0.borrow_mut();
        if let Some(known) = cells.iter().find(|cell| cell.current().is_of(upstream)) {
            return Rc::clone(known);
        }
        let cell = ViewCell::of(upstream);
        cells.push(Rc::clone(&cell));
        cell
    }

    /// Takes the next view of an upstream, unless a later one has overtaken it. Returns its cell.
    pub(super) fn take(&self, view: Arc<View>) -> Rc<ViewCell> {
        let mut cells = self.0.borrow_mut();
        if let Some(known) = cells.iter().find(|cell| cell.current().is_same_upstream(&view)) {
            if view.number() >= known.current().number() {
                known.set(view);
            }
            return Rc::clone(known);
        }
        let cell = ViewCell::with(view);
        cells.push(Rc::clone(&cell));
        cell
    }

    /// Drops the cells that neither the configuration nor a connection uses.
    pub(super) fn retain(&self, config: &Config) {
        self.0.borrow_mut().retain(|cell| {
            let view = cell.current();
            Rc::strong_count(cell) > 1 || config.upstreams().iter().any(|upstream| view.is_of(upstream))
        });
    }
}
