//! The shared connections with one upstream and one key.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::Waker;

use portcullis_session::cluster::{Node, NodeIndex, Reserved};
use portcullis_session::{PoolKey, SessionKey, Tick};

use super::connection::Connection;
use super::resources::Resources;
use super::shared_clients::SharedClients;
use crate::upstream::target::Target;
use crate::upstream::view::ViewCell;

/// The highest number of connections of one class in a pool. A single connection serves the whole class while it
/// takes new commands. Others are opened if it is busy with large replies or waits for a client that does not read.
/// At the limit, new commands wait.
const MAX_CONNECTIONS: usize = 8;

/// The number of waiting clients from which disconnected ones are removed. It is done each time the number reaches a
/// power of two.
const FORGET_FROM: usize = 64;

/// The pools of one worker. A pool is dropped when no client uses it.
#[derive(Debug, Default)]
pub(crate) struct Pools(RefCell<Vec<Weak<Pool>>>);

/// The class of a client. A client that asks for large replies and does not read them keeps others on its connection
/// waiting. So clients whose replies have been small do not share a connection with new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Clients whose replies may be of any size.
    New,
    /// Clients whose replies have been small so far.
    Proven,
}

/// Connections with the same upstream and key, between which a client sees no difference.
#[derive(Debug)]
pub(crate) struct Pool {
    target: Rc<Target>,
    key: PoolKey,
    /// The node of the cluster, whose index means this node as long as the pool exists. `None` for other upstreams.
    node: Option<(NodeIndex, Reserved)>,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// The clients that wait until a connection takes commands.
    waiting: RefCell<HashMap<SessionKey, Waker>>,
}

impl Pools {
    /// Returns the pool for this target, key and node of a cluster, and makes it if there is none.
    pub(crate) fn pool(&self, target: &Rc<Target>, key: PoolKey, node: Option<&Node>) -> Rc<Pool> {
        let mut pools = self.0.borrow_mut();
        pools.retain(|pool| pool.strong_count() > 0);
        let index = node.map(Node::index);
        let serves = |pool: &Rc<Pool>| pool.serves(target, &key) && pool.node() == index;
        if let Some(known) = pools.iter().filter_map(Weak::upgrade).find(serves) {
            return known;
        }
        let pool = Rc::new(Pool {
            target: Rc::clone(target),
            key,
            node: node.map(|node| (node.index(), node.reserve())),
            connections: RefCell::default(),
            waiting: RefCell::default(),
        });
        pools.push(Rc::downgrade(&pool));
        pool
    }

    /// Stops the use of connections to addresses that their upstream no longer has, and pauses and continues others.
    pub(crate) fn leave_former_addresses(&self, view: &Rc<ViewCell>) {
        let pools: Vec<_> = self.0.borrow().iter().filter_map(Weak::upgrade).collect();
        for pool in pools.iter().filter(|pool| Rc::ptr_eq(&pool.target.view, view)) {
            for connection in pool.connections.borrow().iter() {
                connection.look_at(&view.current());
            }
            // A client that waits for a connection gets one to a current address.
            pool.wake_waiting();
        }
    }

    /// Closes the connections that no client has used for a long time.
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

    /// Returns a connection that takes new commands of `client`. Opens one if none does and the class has fewer than
    /// [`MAX_CONNECTIONS`]. Otherwise returns `None`, and `waker` is woken when that changes.
    pub(crate) fn pick(
        self: &Rc<Self>,
        class: Class,
        resources: &Rc<Resources>,
        client: SessionKey,
        waker: &Waker,
    ) -> Option<Rc<Connection>> {
        let mut connections = self.connections.borrow_mut();
        let mut same =
            connections.iter().filter(|connection| connection.class() == class && !connection.is_left());
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

    /// Returns whether a client other than `client` waits for a connection and is still connected.
    pub(crate) fn is_short_for_others(&self, client: SessionKey, shared_clients: &SharedClients) -> bool {
        let waiting = self.waiting.borrow();
        waiting.keys().any(|waiting| *waiting != client && shared_clients.get(*waiting).is_some())
    }

    /// Wakes all waiting clients: a connection takes commands again, or another one can be opened.
    pub(crate) fn wake_waiting(&self) {
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
    }

    /// Removes a connection that is closed, and wakes the waiting clients.
    pub(crate) fn remove(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
        self.wake_waiting();
    }

    /// Returns the upstream of the connections.
    pub(crate) const fn target(&self) -> &Rc<Target> {
        &self.target
    }

    /// Returns the node of the cluster that the connections lead to. `None`: the upstream is no cluster.
    pub(crate) fn node(&self) -> Option<NodeIndex> {
        self.node.as_ref().map(|(index, _)| *index)
    }

    /// Returns the key of the connections.
    pub(crate) const fn key(&self) -> &PoolKey {
        &self.key
    }
}
