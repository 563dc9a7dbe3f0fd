//! The shared connections of one kind.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::Waker;

use portcullis_session::{PoolKey, SessionKey, Tick};

use super::connection::Connection;
use super::resources::Resources;
use super::shared_clients::SharedClients;
use crate::upstream::target::Target;

/// One connection serves all of a class, as long as it takes new commands. Others are opened beside those that are busy with
/// large replies or wait for a client that does not read; beyond so many of a class, its new commands wait.
const MAX_CONNECTIONS: usize = 8;

/// Clients that have left are removed from the waiting ones each time their number reaches a power of two, from here
/// on.
const FORGET_FROM: usize = 64;

/// The pools of one worker. A pool lives as long as a client uses it.
#[derive(Debug, Default)]
pub(crate) struct Pools(RefCell<Vec<Weak<Pool>>>);

/// A client that asks for large replies and does not read them keeps the others on its connection waiting. So clients
/// whose replies were small so far share no connection with the rest.
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
    target: Rc<Target>,
    key: PoolKey,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Clients that wait for a connection that takes commands.
    waiting: RefCell<HashMap<SessionKey, Waker>>,
}

impl Pools {
    /// Returns the pool for clients with this target and key.
    pub(crate) fn pool(&self, target: &Rc<Target>, key: PoolKey) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        pools.retain(|pool| pool.strong_count() > 0);
        if let Some(known) = pools.iter().filter_map(Weak::upgrade).find(|pool| pool.serves(target, &key)) {
            return known;
        }
        let pool = Rc::new(Pool {
            target: Rc::clone(target),
            key,
            connections: RefCell::default(),
            waiting: RefCell::default(),
        });
        pools.push(Rc::downgrade(&pool));
        pool
    }

    /// Closes connections that no client has used for long.
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
    fn serves(&self, target: &Rc<Target>, key: &PoolKey) -> bool {
        self.key == *key && (Rc::ptr_eq(&self.target, target) || self.target.is_same_place(target))
    }

    /// Returns a connection that takes new commands of `client`, and opens one if there is none. None: all are busy,
    /// and `waker` is woken when that changes.
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

    /// Wakes `waker` of `client` when a connection takes commands again.
    pub(crate) fn wait(&self, client: SessionKey, waker: &Waker, shared_clients: &SharedClients) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= FORGET_FROM && waiting.len().is_power_of_two() {
            waiting.retain(|client, _| shared_clients.get(*client).is_some());
        }
        waiting.entry(client).or_insert_with(|| waker.clone());
    }

    /// Returns whether another client than `client` waits for a connection, and is still there.
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

    /// The connection is closed.
    pub(crate) fn remove(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
        self.wake_waiting();
    }

    /// The upstream of its connections, and the way there.
    pub(crate) const fn target(&self) -> &Rc<Target> {
        &self.target
    }

    /// The kind of its connections.
    pub(crate) const fn key(&self) -> &PoolKey {
        &self.key
    }
}
