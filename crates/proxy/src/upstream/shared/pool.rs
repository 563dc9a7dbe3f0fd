//! The shared connections of one kind.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::Waker;

use portcullis_session::{PoolKey, SessionKey, Tick};

use super::connection::Connection;
use super::resources::Resources;
use super::shared_clients::SharedClients;
use crate::upstream::route::Route;

/// One connection serves all of a class, as long as it takes new commands. Others are opened beside those that are busy with
/// large replies or wait for a client that does not read; beyond so many of a class, its new commands wait.
const MAX_CONNECTIONS: usize = 8;

/// Who has left is forgotten among those who wait each time their number comes to a power of two, from here on.
const FORGET_FROM: usize = 64;

/// The pools of one worker. They live as long as somebody uses them.
#[derive(Debug, Default)]
pub(crate) struct Pools(RefCell<Vec<Weak<Pool>>>);

/// Whoever asks for large replies and does not read them keeps those waiting who share its connection. Those who are known
/// to do otherwise share none with those of whom it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Clients that may ask for anything.
    New,
    /// Clients whose replies were small so far.
    Proven,
}

/// Connections that mean the same to a client.
#[derive(Debug)]
pub(crate) struct Pool {
    route: Rc<Route>,
    key: PoolKey,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Who waits for a connection that takes commands.
    waiting: RefCell<HashMap<SessionKey, Waker>>,
}

impl Pools {
    /// The pool for clients who are led that way, with that key.
    pub(crate) fn pool(&self, route: &Rc<Route>, key: PoolKey) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        pools.retain(|pool| pool.strong_count() > 0);
        if let Some(known) = pools.iter().filter_map(Weak::upgrade).find(|pool| pool.serves(route, &key)) {
            return known;
        }
        let pool = Rc::new(Pool {
            route: Rc::clone(route),
            key,
            connections: RefCell::default(),
            waiting: RefCell::default(),
        });
        pools.push(Rc::downgrade(&pool));
        pool
    }

    /// Closes what nobody has used for long.
    pub(crate) fn tick(&self, now: Tick) {
        let pools: Vec<_> = self.0.borrow().iter().filter_map(Weak::upgrade).collect();
        for pool in pools {
            for connection in pool.connections.borrow().iter() {
                connection.end_idle(now);
            }
        }
    }
}

impl Pool {
    fn serves(&self, route: &Rc<Route>, key: &PoolKey) -> bool {
        self.key == *key && (Rc::ptr_eq(&self.route, route) || self.route.leads_where(route))
    }

    /// A connection for `client` that takes new commands, opened where there is none. None: all are busy, and `waker` is
    /// woken when that changes.
    pub(crate) fn pick(
        self: &Rc<Self>,
        class: Class,
        resources: &Rc<Resources>,
        client: SessionKey,
        waker: &Waker,
    ) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        let mut same = connections.iter().filter(|connection| connection.class() == class);
        if let Some(free) = same.clone().find(|connection| connection.takes_more()) {
            return Some(Rc::clone(free));
        }
        if same.nth(MAX_CONNECTIONS - 1).is_some() {
            drop(connections);
            self.wait(client, waker, &resources.shared_clients);
            return None;
        }
        let fresh = Connection::open(class, Rc::clone(resources), Rc::clone(self));
        connections.push(Rc::clone(&fresh));
        Some(fresh)
    }

    /// Wakes `waker`, which is `client`'s, when a connection takes commands again.
    pub(crate) fn wait(&self, client: SessionKey, waker: &Waker, shared_clients: &SharedClients) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= FORGET_FROM && waiting.len().is_power_of_two() {
            waiting.retain(|client, _| shared_clients.get(*client).is_some());
        }
        waiting.entry(client).or_insert_with(|| waker.clone());
    }

    /// Whether anybody but `client` waits for a connection, and is still there.
    pub(crate) fn is_short_for_others(&self, client: SessionKey, shared_clients: &SharedClients) -> bool {
        let waiting = self.waiting.borrow();
        waiting.keys().any(|waiting| *waiting != client && shared_clients.get(*waiting).is_some())
    }

    /// A connection takes commands again, or has made room for another.
    pub(crate) fn wake_waiting(&self) {
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
    }

    /// That connection is over.
    pub(crate) fn remove(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
        self.wake_waiting();
    }

    /// Where it leads.
    pub(crate) const fn route(&self) -> &Rc<Route> {
        &self.route
    }

    /// What its connections are.
    pub(crate) const fn key(&self) -> &PoolKey {
        &self.key
    }
}
