//! The addresses of an upstream, as one thread knows them.
//!
//! The control thread looks names up, asks sentinels and nodes of clusters, and makes the views. Each worker has a copy
//! of the current view, so that a client's path never waits for a name server or a lock.

mod cluster;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Cluster, Sentinel, Upstream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

pub(crate) use self::cluster::{ClusterView, Condition, NodeState};
use super::dials::Dials;
use crate::process::hints::Hints;

/// The place of an upstream at one time. Immutable; the next view has a higher number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    identity: Arc<Identity>,
    number: u64,
    places: Box<[Place]>,
    traffic: Traffic,
    cluster: Option<Arc<ClusterView>>,
}

/// An upstream as it is configured, whatever server has its master at present.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    upstream: Arc<str>,
    source: Source,
}

/// The origin of an upstream's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The configuration.
    Addresses(Box<[Address]>),
    /// Sentinels.
    Sentinel(Arc<Sentinel>),
    /// The nodes of a cluster.
    Cluster(Arc<Cluster>),
}

/// Whether commands and replies travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Commands are written, and replies are read.
    Flows,
    /// A failover is under way. Nothing more is written to the master. Nothing more is read from it [`Self::READING`]
    /// after `since`: what it executes from then on may be lost. Both continue when a later view flows and still has
    /// the address.
    Paused {
        /// The time of the event that began the pause.
        since: Instant,
    },
}

impl Traffic {
    /// The time for which replies are still read after the beginning of a pause. They were written before the master
    /// lost its role, and are on their way.
    ///
    /// Sentinels promote the replica 52 to 104 ms after the event that begins the pause (seen with Redis 7.0). What is
    /// acknowledged must reach the replica before, so the time that is left is for replicas that lag on a busy machine.
    pub(crate) const READING: Duration = Duration::from_millis(20);
}

/// When a connection is closed whose address the upstream no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// At once, whatever is pending on it. Its server is not the master any more, and what that server acknowledges is
    /// lost.
    AtOnce,
    /// When no reply is pending on it. The name of the server has other addresses, but the server may still be the
    /// right one.
    WhenIdle,
}

/// One address, and the sockets that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address as configured or announced. TLS checks the server's certificate against its host.
    pub(crate) address: Address,
    /// The sockets to try, in order.
    pub(crate) sockets: Sockets,
}

/// The sockets of one configured address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// The name has not been looked up yet.
    Unknown,
    /// The name could not be looked up, and never was. The text is the system's reason.
    Unresolved(Arc<str>),
    /// TCP addresses, at least one.
    Tcp(Box<[SocketAddr]>),
    /// A socket file.
    Unix(PathBuf),
}

impl Place {
    /// Returns the place of an address that may have to be looked up.
    pub(crate) fn before_lookup(address: &Address) -> Self {
        Self { sockets: Sockets::without_lookup(address), address: address.clone() }
    }
}

impl Sockets {
    /// Returns the sockets of an address that needs no lookup, or [`Self::Unknown`].
    pub(crate) fn without_lookup(address: &Address) -> Self {
        match address {
            Address::Unix(path) => Self::Unix(path.clone()),
            Address::Host { host, port } => match host.parse() {
                Ok(ip) => Self::Tcp(Box::new([SocketAddr::new(ip, *port)])),
                Err(_) => Self::Unknown,
            },
        }
    }

    /// Returns whether both stand for the same sockets, in whatever order.
    fn is_same_set(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                one.iter().all(|socket| other.contains(socket))
                    && other.iter().all(|socket| one.contains(socket))
            }
            _ => self == other,
        }
    }
}

impl Identity {
    fn of(upstream: &Upstream) -> Self {
        let source = match (upstream.sentinel(), upstream.cluster()) {
            (Some(sentinel), _) => Source::Sentinel(Arc::clone(sentinel)),
            (None, Some(cluster)) => Source::Cluster(Arc::clone(cluster)),
            (None, None) => Source::Addresses(upstream.addresses().into()),
        };
        Self { upstream: upstream.name().into(), source }
    }

    /// Returns whether both are the same upstream at the same place. Configured sentinels and nodes may come and go, as
    /// long as one stays.
    fn is_same(&self, other: &Self) -> bool {
        let same_source = match (&self.source, &other.source) {
            (Source::Addresses(one), Source::Addresses(other)) => one == other,
            (Source::Sentinel(one), Source::Sentinel(other)) => one.has_master_of(other),
            (Source::Cluster(one), Source::Cluster(other)) => one.is_same(other),
            (Source::Addresses(_) | Source::Sentinel(_) | Source::Cluster(_), _) => false,
        };
        self.upstream == other.upstream && same_source
    }
}

impl View {
    /// Makes the first view of an upstream, before any lookup and before any sentinel was asked.
    pub(crate) fn first(upstream: &Upstream) -> Self {
        Self {
            identity: Arc::new(Identity::of(upstream)),
            number: 0,
            places: upstream.addresses().iter().map(Place::before_lookup).collect(),
            traffic: Traffic::Flows,
            cluster: None,
        }
    }

    /// Returns the view with the sockets that lookups have found for some of the places, by index. A place whose lookup
    /// failed keeps the sockets of its last good answer. `None`: it is the same view.
    pub(crate) fn next(&self, found: Vec<(usize, Sockets)>) -> Option<Self> {
        let mut places = self.places.clone();
        let mut changed = false;
        for (index, sockets) in found {
            let Some(place) = places.get_mut(index) else { continue };
            let keeps = matches!((&place.sockets, &sockets), (Sockets::Tcp(_), Sockets::Unresolved(_)));
            if !keeps && !place.sockets.is_same_set(&sockets) {
                place.sockets = sockets;
                changed = true;
            }
        }
        changed.then(|| Self { number: self.number + 1, places, ..self.clone() })
    }

    /// Returns the view with this master, or without any, in which traffic flows or not. `None`: it is the same view.
    pub(crate) fn with_master(&self, master: Option<Place>, traffic: Traffic) -> Option<Self> {
        let places: Box<[Place]> = master.into_iter().collect();
        let is_same = places == self.places && traffic == self.traffic;
        (!is_same).then(|| Self { number: self.number + 1, places, traffic, ..self.clone() })
    }

    /// Returns the view with these nodes of a cluster. `None`: it is the same view.
    pub(crate) fn with_cluster(&self, cluster: ClusterView) -> Option<Self> {
        let is_same = self.cluster.as_deref() == Some(&cluster);
        (!is_same).then(|| Self { number: self.number + 1, cluster: Some(Arc::new(cluster)), ..self.clone() })
    }

    /// Returns the same view with the next number, so that everything that waits for another view tries again.
    pub(crate) fn again(&self) -> Self {
        Self { number: self.number + 1, ..self.clone() }
    }

    /// Returns the view in which traffic flows or not. `None`: it is the same view.
    pub(crate) fn with_traffic(&self, traffic: Traffic) -> Option<Self> {
        (traffic != self.traffic).then(|| Self { number: self.number + 1, traffic, ..self.clone() })
    }

    /// Returns the view for the upstream as it is configured now, at the same place.
    pub(crate) fn for_configuration(&self, upstream: &Upstream) -> Self {
        Self { identity: Arc::new(Identity::of(upstream)), number: self.number + 1, ..self.clone() }
    }

    /// Returns whether both are views of one upstream that is configured at the same place, whatever its master is.
    pub(crate) fn is_same_upstream(&self, other: &Self) -> bool {
        self.identity.is_same(&other.identity)
    }

    /// The number of the view. Later views have higher numbers.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The name of the upstream.
    pub(crate) fn upstream(&self) -> &Arc<str> {
        &self.identity.upstream
    }

    /// The addresses to connect to, in order: those of the configuration, or the master that the sentinels name. Empty
    /// while no master is known, and for a cluster, whose nodes are in [`Self::cluster`].
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The nodes of a cluster. `None`: the upstream is no cluster, or none of its nodes has answered yet.
    pub(crate) fn cluster(&self) -> Option<&ClusterView> {
        self.cluster.as_deref()
    }

    /// Returns whether commands and replies travel.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Returns when a connection is closed whose address is not in this view.
    pub(crate) fn leaving(&self) -> Leaving {
        match self.identity.source {
            Source::Sentinel(_) => Leaving::AtOnce,
            Source::Addresses(_) | Source::Cluster(_) => Leaving::WhenIdle,
        }
    }

    /// Returns whether this is a view of that upstream, and the upstream is still configured at the same place.
    pub(crate) fn is_of(&self, upstream: &Upstream) -> bool {
        self.identity.is_same(&Identity::of(upstream))
    }

    /// Returns whether the upstream has this TCP address. A view that still waits for a name has every address.
    pub(crate) fn has(&self, socket: SocketAddr) -> bool {
        if let Some(cluster) = &self.cluster {
            return cluster.has(socket);
        }
        self.places.iter().any(|place| match &place.sockets {
            Sockets::Unknown => true,
            Sockets::Tcp(sockets) => sockets.iter().any(|known| is_same_server(*known, socket)),
            Sockets::Unresolved(_) | Sockets::Unix(_) => false,
        })
    }
}

/// Compares address and port. The other fields of an IPv6 socket address may differ between a lookup and a connection.
fn is_same_server(known: SocketAddr, other: SocketAddr) -> bool {
    match (known, other) {
        (SocketAddr::V6(known), SocketAddr::V6(other)) => {
            (known.ip(), known.port()) == (other.ip(), other.port())
        }
        (known, other) => known == other,
    }
}

/// The current view of one upstream on one thread.
#[derive(Debug)]
pub(crate) struct ViewCell {
    view: RefCell<Arc<View>>,
    changed: Notify,
    dials: Dials,
}

impl ViewCell {
    /// Makes the cell of an upstream whose names have not been looked up.
    pub(crate) fn of(upstream: &Upstream) -> Rc<Self> {
        Self::with(Arc::new(View::first(upstream)))
    }

    /// Makes a cell with a view.
    pub(crate) fn with(view: Arc<View>) -> Rc<Self> {
        Rc::new(Self { view: RefCell::new(view), changed: Notify::new(), dials: Dials::default() })
    }

    /// Returns the current view.
    pub(crate) fn current(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Returns the dials of this thread to the upstream.
    pub(crate) const fn dials(&self) -> &Dials {
        &self.dials
    }

    /// Puts the next view in place, and wakes everything that waits for it.
    pub(crate) fn set(&self, view: Arc<View>) {
        self.view.replace(view);
        self.changed.notify_waiters();
        self.dials.revive();
    }

    /// Waits until no failover is under way.
    pub(crate) async fn flowing(&self) {
        loop {
            let changed = self.changed.notified();
            if self.current().traffic() == Traffic::Flows {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the map of the cluster is known.
    pub(crate) async fn mapped(&self) {
        loop {
            let changed = self.changed.notified();
            if self.current().cluster().is_some() {
                return;
            }
            changed.await;
        }
    }

    /// Returns an address by its index, as soon as its name was looked up once. After `limit`, it is returned
    /// as it is then. `None`: the upstream has no such address.
    pub(crate) async fn place(&self, index: usize, limit: Duration) -> Option<Place> {
        let known = async {
            loop {
                let changed = self.changed.notified();
                let place = self.current().places().get(index).cloned();
                if place.as_ref().is_none_or(|place| place.sockets != Sockets::Unknown) {
                    return place;
                }
                changed.await;
            }
        };
        match timeout(limit, known).await {
            Ok(place) => place,
            Err(_) => self.current().places().get(index).cloned(),
        }
    }
}

/// A view on the control thread, which a watcher keeps current.
#[derive(Clone, Debug)]
pub(crate) struct WatchedView {
    /// The current view.
    pub(crate) view: Rc<ViewCell>,
    /// The hints to the watcher that the upstream seems to have moved.
    pub(crate) hints: Arc<Hints>,
}

impl WatchedView {
    /// Makes the first view of an upstream.
    pub(crate) fn of(upstream: &Upstream, hints: Arc<Hints>) -> Self {
        Self { view: ViewCell::of(upstream), hints }
    }
}

#[cfg(test)]
mod tests;
