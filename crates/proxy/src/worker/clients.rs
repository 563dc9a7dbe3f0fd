//! The answers of one worker about its clients, for CLIENT LIST, KILL and UNBLOCK.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use portcullis_session::Listed;

use super::Worker;
use super::table::Entry;
use crate::metrics::ClosedReason;
use crate::process::questions::{Asks, Effect, Part, Question};

/// Clients that a worker looks at before its sessions have their turn: less than a millisecond.
const STEP: usize = 256;

/// Answers what one worker is asked, one question after the other.
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

/// A session that can be asked about its client.
pub(crate) trait Listable {
    /// Returns the client, if the question is about it.
    fn listed(&self, question: &Question) -> Option<Listed>;
}

/// A session as the worker's table reaches it.
pub(crate) type Reach = Weak<RefCell<dyn Listable>>;
