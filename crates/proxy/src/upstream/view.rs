//! The addresses of an upstream, as one thread knows them.
//!
//! The control thread looks names up and makes the views. Each worker has a copy of the current view, so that a client's
//! path never waits for a name server or a lock.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Upstream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The addresses of an upstream at one time. Immutable; the next view has a higher number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    upstream: Arc<str>,
    number: u64,
    places: Box<[Place]>,
}

/// One configured address, and the sockets that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address as configured. TLS checks the server's certificate against its host.
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

impl Sockets {
    /// Returns the sockets of an address that needs no lookup, or [`Self::Unknown`].
    fn without_lookup(address: &Address) -> Self {
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

impl View {
    /// Makes the first view of an upstream, before any lookup.
    pub(crate) fn first(upstream: &Upstream) -> Self {
        let place =
            |address: &Address| Place { sockets: Sockets::without_lookup(address), address: address.clone() };
        Self {
            upstream: upstream.name().into(),
            number: 0,
            places: upstream.addresses().iter().map(place).collect(),
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
        changed.then(|| Self { upstream: Arc::clone(&self.upstream), number: self.number + 1, places })
    }

    /// Returns whether both are views of one upstream with the same configured addresses.
    pub(crate) fn is_same_upstream(&self, other: &Self) -> bool {
        let addresses =
            |view: &Self| view.places.iter().map(|place| place.address.clone()).collect::<Vec<_>>();
        self.upstream == other.upstream && addresses(self) == addresses(other)
    }

    /// The name of the upstream.
    pub(crate) fn upstream(&self) -> &Arc<str> {
        &self.upstream
    }

    /// The configured addresses, in order.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Returns whether this is a view of that upstream, and the upstream still has these addresses.
    pub(crate) fn is_of(&self, upstream: &Upstream) -> bool {
        *self.upstream == *upstream.name()
            && self.places.iter().map(|place| &place.address).eq(upstream.addresses())
    }

    /// Returns whether the upstream has this TCP address. A view that still waits for a name has every address.
    pub(crate) fn has(&self, socket: SocketAddr) -> bool {
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
}

impl ViewCell {
    /// Makes the cell of an upstream whose names have not been looked up.
    pub(crate) fn of(upstream: &Upstream) -> Rc<Self> {
        Self::with(Arc::new(View::first(upstream)))
    }

    /// Makes a cell with a view.
    pub(crate) fn with(view: Arc<View>) -> Rc<Self> {
        Rc::new(Self { view: RefCell::new(view), changed: Notify::new() })
    }

    /// Returns the current view.
    pub(crate) fn current(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Puts the next view in place, and wakes everything that waits for it.
    pub(crate) fn set(&self, view: Arc<View>) {
        self.view.replace(view);
        self.changed.notify_waiters();
    }

    /// Returns a configured address by its index, as soon as its name was looked up once. After `limit`, it is returned
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
    /// Asks the watcher to look the names up at once: the upstream seems to have moved.
    pub(crate) look_again: Rc<Notify>,
}

impl WatchedView {
    /// Makes the first view of an upstream.
    pub(crate) fn of(upstream: &Upstream) -> Self {
        Self { view: ViewCell::of(upstream), look_again: Rc::default() }
    }
}

#[cfg(test)]
mod tests;
