//! Looks up one address for a connection of a watcher.

use std::time::Duration;

use portcullis_config::Address;
use tokio::time::timeout;

use crate::net::lookup::look_up;
use crate::upstream::view::{Place, Sockets};

/// Looks an address up, if it is a name.
pub(super) async fn resolve(address: &Address, within: Duration) -> Place {
    let place = Place::before_lookup(address);
    let (Address::Host { host, port }, Sockets::Unknown) = (address, &place.sockets) else { return place };
    let sockets = match timeout(within, look_up(host, *port)).await {
        Ok(Ok(addresses)) => Sockets::Tcp(addresses.into()),
        Ok(Err(error)) => Sockets::Unresolved(error.to_string().into()),
        Err(_) => Sockets::Unknown,
    };
    Place { sockets, ..place }
}
