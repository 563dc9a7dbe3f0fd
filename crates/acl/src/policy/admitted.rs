//! The addresses that a listener admits, as networks that do not overlap.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::{Policy, Set};
use crate::decision::Which;
use crate::lookup::{Key, Prefix};
use crate::origin::UnixSeconds;

/// A network of which a listener admits every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedNetwork {
    /// The network.
    pub net: IpNet,
    /// The time from which the listener no longer admits these addresses. `None` if no end is set.
    pub until: Option<UnixSeconds>,
}

/// An end of an admission, in an order in which no end is the latest.
type End = (bool, i64);

/// The effect of an entry on its addresses.
#[derive(Clone, Copy)]
enum Part {
    Allow(End),
    Deny,
}

impl Policy {
    /// Returns the addresses of clients that the listener admits at the time `now`: `allow` without `deny`, as networks
    /// that do not overlap, IPv4 first, in ascending order. Empty for an index out of range.
    ///
    /// An entry of `deny` that ends later takes its addresses away from the result altogether.
    pub fn admitted(&self, listener: usize, now: UnixSeconds) -> Vec<AdmittedNetwork> {
        let Some(listener) = self.listeners.get(listener) else { return Vec::new() };
        let sets = (self.sets.get(listener.lists.allow), self.sets.get(listener.lists.deny));
        let (Some(allow), Some(deny)) = sets else { return Vec::new() };
        self.difference(allow, Some(deny), now)
    }

    /// Returns the addresses of the senders that may name clients with the PROXY protocol, in the same form.
    pub fn senders(&self, listener: usize, now: UnixSeconds) -> Vec<AdmittedNetwork> {
        let senders = self.listeners.get(listener).and_then(|listener| self.sets.get(listener.senders));
        senders.map(|senders| self.difference(senders, None, now)).unwrap_or_default()
    }

    /// Returns the addresses from which the listener takes connections at the time `now`, in the same form: the senders
    /// and, unless only senders may connect, the clients.
    pub fn peers(&self, listener: usize, only_senders: bool, now: UnixSeconds) -> Vec<AdmittedNetwork> {
        let senders = self.senders(listener, now);
        match (senders.is_empty(), only_senders) {
            (true, _) => self.admitted(listener, now),
            (false, true) => senders,
            (false, false) => union(senders.into_iter().chain(self.admitted(listener, now))),
        }
    }

    fn difference(&self, allow: &Set, deny: Option<&Set>, now: UnixSeconds) -> Vec<AdmittedNetwork> {
        let mut v4 = Sweep::default();
        let mut v6 = Sweep::default();
        v4.add(allow.v4.iter(self.entries.v4()), |entry| self.part(Which::V4(entry), now, Part::Allow));
        v6.add(allow.v6.iter(self.entries.v6()), |entry| self.part(Which::V6(entry), now, Part::Allow));
        if let Some(deny) = deny {
            v4.add(deny.v4.iter(self.entries.v4()), |entry| self.part(Which::V4(entry), now, |_| Part::Deny));
            v6.add(deny.v6.iter(self.entries.v6()), |entry| self.part(Which::V6(entry), now, |_| Part::Deny));
        }
        networks(v4, v6)
    }

    /// Returns the part of an entry in the sweep. `None` if the entry has expired.
    fn part(&self, entry: Which, now: UnixSeconds, part: impl Fn(End) -> Part) -> Option<Part> {
        match self.entries.until(entry, &self.groups) {
            Some(until) if until <= now => None,
            Some(UnixSeconds(until)) => Some(part((false, until))),
            None => Some(part((true, 0))),
        }
    }
}

/// Returns the addresses of all these networks.
fn union(all: impl Iterator<Item = AdmittedNetwork>) -> Vec<AdmittedNetwork> {
    let (mut v4, mut v6) = (Sweep::default(), Sweep::default());
    for AdmittedNetwork { net, until } in all {
        let part = Part::Allow(until.map_or((true, 0), |UnixSeconds(until)| (false, until)));
        match net {
            IpNet::V4(net) => v4.add_one(net.network().to_bits(), net.prefix_len(), part),
            IpNet::V6(net) => v6.add_one(net.network().to_bits(), net.prefix_len(), part),
        }
    }
    networks(v4, v6)
}

/// Returns the networks that the sweeps of both families find.
fn networks(v4: Sweep, v6: Sweep) -> Vec<AdmittedNetwork> {
    let mut all = Vec::new();
    for (range, until) in v4.ranges() {
        // The sweep of IPv4 holds no larger numbers.
        let [first, last] = [*range.start(), *range.end()].map(|ip| u32::try_from(ip).unwrap_or(u32::MAX));
        let nets = Ipv4Subnets::new(Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last), 0);
        all.extend(nets.map(|net| AdmittedNetwork { net: net.into(), until }));
    }
    for (range, until) in v6.ranges() {
        let (first, last) = (Ipv6Addr::from_bits(*range.start()), Ipv6Addr::from_bits(*range.end()));
        all.extend(Ipv6Subnets::new(first, last, 0).map(|net| AdmittedNetwork { net: net.into(), until }));
    }
    all
}

/// A walk over the borders of all prefixes in ascending order.
#[derive(Default)]
struct Sweep {
    /// For each border, the parts that begin there (`true`) and those that ended before it.
    borders: BTreeMap<u128, Vec<(Part, bool)>>,
    /// The last address of the family.
    last: u128,
}

impl Sweep {
    fn add<K: Key + Into<u128>>(
        &mut self,
        prefixes: impl Iterator<Item = Prefix<K>>,
        part: impl Fn(u32) -> Option<Part>,
    ) {
        for prefix in prefixes {
            if let Some(part) = part(prefix.entry) {
                self.add_one(prefix.start, prefix.len, part);
            }
        }
    }

    fn add_one<K: Key + Into<u128>>(&mut self, start: K, len: u8, part: Part) {
        self.borders.entry(start.into()).or_default().push((part, true));
        if let Some(after) = start.after(len) {
            self.borders.entry(after.into()).or_default().push((part, false));
        }
        self.last = K::MAX.into();
    }

    /// Returns the ranges that are allowed and not denied, each with its end.
    fn ranges(self) -> Vec<(RangeInclusive<u128>, Option<UnixSeconds>)> {
        let mut found: Vec<(RangeInclusive<u128>, End)> = Vec::new();
        let mut allowed: BTreeMap<End, usize> = BTreeMap::new();
        let mut denied = 0_usize;
        let mut borders = self.borders.into_iter().peekable();
        while let Some((start, parts)) = borders.next() {
            for (part, begins) in parts {
                match (part, begins) {
                    (Part::Deny, true) => denied += 1,
                    (Part::Deny, false) => denied = denied.saturating_sub(1),
                    (Part::Allow(end), true) => *allowed.entry(end).or_default() += 1,
                    (Part::Allow(end), false) => leave(&mut allowed, end),
                }
            }
            let last = borders.peek().map_or(self.last, |(next, _)| next.saturating_sub(1));
            let Some((end, _)) = allowed.last_key_value().filter(|_| denied == 0) else { continue };
            match found.last_mut() {
                Some((range, known)) if known == end && range.end().checked_add(1) == Some(start) => {
                    *range = *range.start()..=last;
                }
                _ => found.push((start..=last, *end)),
            }
        }
        let until = |(never, at): End| (!never).then_some(UnixSeconds(at));
        found.into_iter().map(|(range, end)| (range, until(end))).collect()
    }
}

/// Takes one part with this end out of those that cover the place of the sweep.
fn leave(allowed: &mut BTreeMap<End, usize>, end: End) {
    if let Some(count) = allowed.get_mut(&end) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            allowed.remove(&end);
        }
    }
}

#[cfg(test)]
mod tests;
