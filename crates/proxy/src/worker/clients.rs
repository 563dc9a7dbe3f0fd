//! The answers of one worker to questions about its clients: CLIENT LIST, KILL and UNBLOCK, and those of the operator.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use portcullis_session::{ClientFacts, Listed, Peer, Session};

use super::Worker;
use super::table::Entry;
use crate::metrics::ClosedReason;
use crate::process::channels::{Asks, WorkerPart};
use crate::process::questions::{Effect, Part, Question};
use crate::process::roster::{Matter, Roster, Row};

/// The number of table places that a worker looks at before its sessions run again. This takes less than a
/// millisecond.
const STEP: usize = 256;

/// Answers the questions to one worker, one after the other. `look` adds one client to the part of the worker.
pub(crate) async fn answer<Q, P: WorkerPart>(
    worker: Rc<Worker>,
    mut asks: Asks<Q, P>,
    look: fn(&Rc<Entry>, &Q, &mut P),
) {
    while let Some(ask) = asks.recv().await {
        let mut part = P::default();
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
pub(crate) fn look(entry: &Rc<Entry>, question: &Question, part: &mut Part) {
    let Some(relay) = entry.relay() else { return };
    let Ok(told) = relay.try_borrow().map(|relay| relay.tell(Asked::Client(question))) else {
        return part.miss(1);
    };
    let Some(Told::Client(client)) = told else { return };
    match part.take(question, client) {
        Effect::None => {}
        Effect::Cut => entry.cut(ClosedReason::Admin),
    }
}

/// Adds one client to the operator's page, or disconnects it if that is the order.
pub(crate) fn look_for_operator(entry: &Rc<Entry>, matter: &Matter, roster: &mut Roster) {
    match matter {
        Matter::Close(id) if *id == entry.id => {
            roster.closed();
            entry.cut(ClosedReason::Admin);
        }
        Matter::Close(_) => {}
        Matter::Page(search) => roster.look(search, entry.id, || row(entry)),
    }
}

/// Returns the client as the operator sees it. A session that is being set up has no relay yet.
fn row(entry: &Entry) -> Row {
    let told = entry.relay().and_then(|relay| relay.try_borrow().ok()?.tell(Asked::Operator));
    let (age, idle, facts) = match told {
        Some(Told::Operator(KnownClient { age, idle, facts })) => (Some(age), idle, facts),
        _ => (None, Duration::ZERO, ClientFacts { user: entry.user(), ..ClientFacts::default() }),
    };
    let admitted_by = entry.admitted_by.borrow();
    let rule = admitted_by.policy().rule(entry.permit.borrow().rule());
    Row {
        address: entry.from.to_string(),
        sender: entry.sender.as_ref().map(|sender| sender.addr.to_string()),
        listener: Arc::clone(entry.listener.name()),
        age,
        idle,
        facts,
        entry: rule.as_ref().map(|rule| rule.entry().to_string()),
        group: rule.and_then(|rule| rule.group).map(str::to_owned),
    }
}

/// A session that answers questions about its client.
pub(crate) trait Listable {
    /// Returns the facts about the client. Returns `None` if the client is not in the scope of the question.
    fn tell(&self, asked: Asked<'_>) -> Option<Told>;
}

/// The party that asks about a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'q> {
    /// Another client, with this question.
    Client(&'q Question),
    /// The operator.
    Operator,
}

/// The answer of a session to [`Asked`].
#[derive(Debug)]
pub(crate) enum Told {
    /// The facts for another client.
    Client(Listed),
    /// The facts for the operator.
    Operator(KnownClient),
}

/// The facts that a session knows about its client.
#[derive(Debug)]
pub(crate) struct KnownClient {
    age: Duration,
    idle: Duration,
    facts: ClientFacts,
}

impl KnownClient {
    /// Collects the facts.
    pub(crate) fn of<P: Peer>(session: &Session, peer: &P) -> Self {
        Self { age: peer.age(), idle: peer.idle(), facts: session.facts(peer) }
    }
}

/// The reference to a session that the worker's table holds.
pub(crate) type Reach = Weak<RefCell<dyn Listable>>;
