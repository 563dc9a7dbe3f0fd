//! The sockets of the nodes of a cluster: their names are looked up again and again, and the last good answer is kept.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::Address;
use tokio::time::Instant;

use crate::upstream::view::Sockets;

/// The least time between two lookups of a name. Failures that clients meet ask for a lookup, and there may be thousands
/// of them in a second.
const APART: Duration = Duration::from_millis(250);

/// The names of the nodes of one cluster.
#[derive(Debug)]
pub(crate) struct Names {
    known: HashMap<Box<str>, Name>,
    every: Duration,
}

#[derive(Debug)]
struct Name {
    /// The addresses of the last good answer. Their ports have no meaning.
    addresses: Vec<SocketAddr>,
    /// The reason why there is no good answer.
    fault: Option<Arc<str>>,
    /// The begin of the last lookup. `None`: there was none.
    asked: Option<Instant>,
    /// The next lookup.
    next: Instant,
    /// Whether a lookup is under way.
    is_pending: bool,
}

impl Names {
    /// Knows no name. `every` is the time between two lookups of one.
    pub(crate) fn new(every: Duration) -> Self {
        Self { known: HashMap::new(), every }
    }

    /// Returns the sockets of an address, as far as they are known.
    pub(crate) fn sockets(&self, address: &Address) -> Sockets {
        let fixed = Sockets::without_lookup(address);
        let (Address::Host { host, port }, Sockets::Unknown) = (address, &fixed) else { return fixed };
        match self.known.get(host.as_str()) {
            Some(name) if !name.addresses.is_empty() => {
                let with_port = |mut socket: SocketAddr| {
                    socket.set_port(*port);
                    socket
                };
                Sockets::Tcp(name.addresses.iter().copied().map(with_port).collect())
            }
            Some(Name { fault: Some(fault), .. }) => Sockets::Unresolved(Arc::clone(fault)),
            Some(_) | None => Sockets::Unknown,
        }
    }

    /// Follows the names among these addresses, and forgets all others.
    pub(crate) fn follow<'a>(&mut self, addresses: impl Iterator<Item = &'a Address>, now: Instant) {
        let mut before = std::mem::take(&mut self.known);
        for address in addresses {
            let Address::Host { host, .. } = address else { continue };
            if host.parse::<IpAddr>().is_ok() || self.known.contains_key(host.as_str()) {
                continue;
            }
            let new = Name { addresses: Vec::new(), fault: None, asked: None, next: now, is_pending: false };
            let name = before.remove(host.as_str()).unwrap_or(new);
            self.known.insert(host.as_str().into(), name);
        }
    }

    /// Returns the names to look up now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Box<str>> {
        let mut due = Vec::new();
        for (host, name) in &mut self.known {
            if !name.is_pending && now >= name.next {
                (name.is_pending, name.asked, name.next) = (true, Some(now), now + self.every);
                due.push(host.clone());
            }
        }
        due
    }

    /// Takes the result of a lookup. Returns whether the addresses have changed.
    pub(crate) fn found(&mut self, host: &str, result: Result<Vec<SocketAddr>, Arc<str>>) -> bool {
        let Some(name) = self.known.get_mut(host) else { return false };
        name.is_pending = false;
        match result {
            Ok(mut addresses) => {
                name.fault = None;
                let is_same = addresses.len() == name.addresses.len()
                    && addresses.iter().all(|address| name.addresses.contains(address));
                if !is_same {
                    std::mem::swap(&mut name.addresses, &mut addresses);
                }
                !is_same
            }
            Err(fault) => {
                let is_news = name.addresses.is_empty() && name.fault.as_ref() != Some(&fault);
                name.fault = Some(fault);
                is_news
            }
        }
    }

    /// Looks all names up soon, because connections fail.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for name in self.known.values_mut() {
            let earliest = name.asked.map_or(now, |asked| (asked + APART).max(now));
            name.next = name.next.min(earliest);
        }
    }

    /// Returns when a lookup is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.known.values().filter(|name| !name.is_pending).map(|name| name.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    fn host(host: &str) -> Address {
        Address::Host { host: host.to_owned(), port: 7000 }
    }

    fn ip(text: &str) -> SocketAddr {
        format!("{text}:0").parse().expect("an address")
    }

    #[test]
    fn the_last_good_answer_is_kept() {
        let now = Instant::now();
        let mut names = Names::new(EVERY);
        let node = host("node.example");
        names.follow([&node, &host("192.0.2.1"), &node].into_iter(), now);
        assert_eq!(names.sockets(&node), Sockets::Unknown);
        assert!(matches!(names.sockets(&host("192.0.2.1")), Sockets::Tcp(_)));
        assert_eq!(names.due(now), [Box::from("node.example")]);
        assert!(names.due(now + EVERY * 2).is_empty(), "it is being looked up");
        assert!(names.found("node.example", Err("no server".into())));
        assert_eq!(names.sockets(&node), Sockets::Unresolved("no server".into()));
        assert!(names.found("node.example", Ok(vec![ip("192.0.2.7"), ip("192.0.2.8")])));
        assert!(!names.found("node.example", Ok(vec![ip("192.0.2.8"), ip("192.0.2.7")])), "another order");
        assert!(!names.found("node.example", Err("no server".into())));
        let expected = ["192.0.2.7:7000", "192.0.2.8:7000"].map(|text| text.parse().expect("a socket"));
        assert_eq!(names.sockets(&node), Sockets::Tcp(expected.into()));
        assert!(!names.found("other.example", Ok(vec![ip("192.0.2.9")])));
    }

    #[test]
    fn failures_ask_for_a_lookup_but_not_for_many() {
        let now = Instant::now();
        let mut names = Names::new(EVERY);
        names.follow([&host("node.example")].into_iter(), now);
        assert_eq!(names.due(now).len(), 1);
        names.found("node.example", Ok(vec![ip("192.0.2.7")]));
        assert_eq!(names.next(), Some(now + EVERY));
        for _ in 0..1000 {
            names.hurry(now);
        }
        assert_eq!(names.next(), Some(now + APART));
        assert!(names.due(now).is_empty());
        assert_eq!(names.due(now + APART).len(), 1);
        assert_eq!(names.next(), None, "it is under way");
        names.follow(std::iter::empty(), now);
        assert_eq!(names.sockets(&host("node.example")), Sockets::Unknown, "it is forgotten");
    }
}
