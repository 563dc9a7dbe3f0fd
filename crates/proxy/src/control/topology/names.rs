//! Looks up the names among the fixed addresses of an upstream.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Upstream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::publisher::Publisher;
use crate::metrics::ReloadResult;
use crate::net::lookup::{LookupError, look_up};
use crate::upstream::view::{Sockets, View};

/// The least time between two lookups of an upstream's names. Failures that clients meet ask for a lookup, and there may be
/// thousands of them in a second.
const APART: Duration = Duration::from_millis(250);

/// A name among the addresses of an upstream.
#[derive(Clone, Debug)]
struct Name {
    /// The index of the address.
    index: usize,
    host: Arc<str>,
    port: u16,
}

/// Returns the names among the addresses of an upstream.
fn names(upstream: &Upstream) -> impl Iterator<Item = Name> {
    upstream.addresses().iter().enumerate().filter_map(|(index, address)| match address {
        Address::Host { host, port } if host.parse::<IpAddr>().is_err() => {
            Some(Name { index, host: host.as_str().into(), port: *port })
        }
        Address::Host { .. } | Address::Unix(_) => None,
    })
}

/// The names among the fixed addresses of one upstream, and which of them could not be looked up the last time.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<Name>,
    failing: Vec<usize>,
}

impl Names {
    /// Returns the names of an upstream, if it has any.
    pub(super) fn of(upstream: &Upstream) -> Option<Self> {
        let names: Vec<Name> = names(upstream).collect();
        (!names.is_empty()).then_some(Self { names, failing: Vec::new() })
    }

    /// Looks the names up every `resolve_every`, and at once after a failure of the upstream.
    pub(super) async fn watch(mut self, upstream: Arc<Upstream>, publisher: Publisher) {
        loop {
            let begun = Instant::now();
            let found = self.look_up(&upstream).await;
            let failed = found.iter().any(|(_, sockets)| matches!(sockets, Sockets::Unresolved(_)));
            let former = publisher.view();
            let next = former.next(found);
            publisher.series().judged(match next {
                Some(_) => ReloadResult::Applied,
                None if failed => ReloadResult::Rejected,
                None => ReloadResult::Unchanged,
            });
            if let Some(view) = next {
                self.log(&former, &view);
                publisher.publish(view).await;
            }
            let asked = async {
                sleep_until(begun + APART).await;
                publisher.hints().taken().await;
            };
            tokio::select! {
                () = sleep_until(begun + upstream.resolve_every()) => {}
                () = asked => {}
            }
        }
    }

    /// Looks all names up at the same time.
    async fn look_up(&mut self, upstream: &Upstream) -> Vec<(usize, Sockets)> {
        let mut lookups = JoinSet::new();
        for name in self.names.clone() {
            lookups.spawn_local(async move {
                let result = look_up(&name.host, name.port).await;
                (name, result)
            });
        }
        let mut found = Vec::new();
        while let Some(Ok((name, result))) = lookups.join_next().await {
            self.log_result(upstream, &name, &result);
            let sockets = match result {
                Ok(addresses) => Sockets::Tcp(addresses.into()),
                Err(error) => Sockets::Unresolved(error.to_string().into()),
            };
            found.push((name.index, sockets));
        }
        found
    }

    /// Logs the first failure of a name, and its end.
    fn log_result(
        &mut self,
        upstream: &Upstream,
        name: &Name,
        result: &Result<Vec<SocketAddr>, LookupError>,
    ) {
        let (upstream, host) = (upstream.name(), &name.host);
        let failed = self.failing.contains(&name.index);
        match result {
            Ok(_) if failed => {
                self.failing.retain(|index| *index != name.index);
                tracing::info!(%upstream, "{host} resolves again");
            }
            Err(error) if !failed => {
                self.failing.push(name.index);
                tracing::warn!(%upstream, "cannot resolve {host}: {error}; its last addresses, if any, are used");
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// Logs the names that have other addresses now.
    fn log(&self, former: &View, view: &View) {
        for name in &self.names {
            let (before, now) = (Addresses::of(former, name), Addresses::of(view, name));
            if let (Some(before), Some(now)) = (before, now)
                && before != now
            {
                tracing::info!(upstream = %view.upstream(), "{} is now {now} (was {before})", name.host);
            }
        }
    }
}

/// The addresses of a name that was looked up.
#[derive(PartialEq, Eq)]
struct Addresses<'s>(&'s [SocketAddr]);

impl<'s> Addresses<'s> {
    fn of(view: &'s View, name: &Name) -> Option<Self> {
        match &view.places().get(name.index)?.sockets {
            Sockets::Tcp(sockets) => Some(Self(sockets)),
            Sockets::Unknown | Sockets::Unresolved(_) | Sockets::Unix(_) => None,
        }
    }
}

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, socket) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{socket}")?;
        }
        Ok(())
    }
}
