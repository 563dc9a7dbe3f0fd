//! The answers of one worker to questions about its clients: CLIENT LIST, KILL and UNBLOCK.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use portcullis_session::Listed;

use super::Worker;
use super::table::Entry;
use crate::metrics::ClosedReason;
use crate::process::questions::{Asks, Effect, Part, Question};

/// The number of table places that a worker looks at before its sessions run again. This takes less than a
/// millisecond.
const STEP: usize = 256;

/// Answers the questions to one worker, one after the other.
pub(crate) async fn answer(worker: Rc<Worker>, mut asks: Asks) {
    while let Some(ask) = asks.recv().await {
        let mut part = Part::default();
        let mut place = Some(0);
        while let Some(from) = place {
            if ask.is_over() {
                part.miss(worker.table.count_from(from));
                break;
            }
            let (entries, next) = worker.table.some(from, STEP);
            for entry in &entries {
                look(entry, ask.question(), &mut part);
            }
            place = next;
            tokio::task::yield_now().await;
        }
        ask.answer(part);
    }
}

/// Adds one client to the findings, and disconnects the client if the question says so.
fn look(entry: &Entry, question: &Question, part: &mut Part) {
    let Some(relay) = entry.relay() else { return };
    let Ok(seen) = relay.try_borrow().map(|relay| relay.listed(question)) else {
        return part.miss(1);
    };
    let Some(client) = seen else { return };
    match part.take(question, client) {
        Effect::None => {}
        Effect::Cut => entry.cut(ClosedReason::Admin),
    }
}

/// A session that answers questions about its client.
pub(crate) trait Listable {
    /// Returns the facts about the client. Returns `None` if the client is not in the scope of the question.
    fn listed(&self, question: &Question) -> Option<Listed>;
}

/// The reference to a session that the worker's table holds.
pub(crate) type Reach = Weak<RefCell<dyn Listable>>;
