//! Sets of sources, exact for both address families. They hold the result of a list of rules in any order.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_config::message::Harmless;

/// The reason for not carrying over `0.0.0.0` and `::`. `check` refuses them as well.
pub(super) const UNSPECIFIED: &str = "it is no client's address; every client is 0.0.0.0/0 or ::/0";

/// One entry of a list: a network without host bits, or the peers on unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Net {
    Inet(IpNet),
    Unix,
}

impl Net {
    pub(super) fn new(ip: IpAddr, len: u8) -> Option<Self> {
        IpNet::new(ip, len).ok().map(|net| Self::Inet(net.trunc()))
    }

    pub(super) fn host(ip: IpAddr) -> Self {
        Self::Inet(IpNet::from(ip))
    }

    /// Returns whether this is the single address `0.0.0.0` or `::`.
    pub(super) fn is_unspecified(self) -> bool {
        match self {
            Self::Inet(net) => net.addr().is_unspecified() && net.prefix_len() == net.max_prefix_len(),
            Self::Unix => false,
        }
    }

    /// Returns the entries that together match every source: `0.0.0.0/0`, `::/0` and `unix`.
    pub(super) fn all() -> [Self; 3] {
        [Self::Inet(IpNet::V4(Ipv4Net::default())), Self::Inet(IpNet::V6(Ipv6Net::default())), Self::Unix]
    }
}

impl Harmless for Net {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Inet(net) => net.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A set of sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    v4: Ranges,
    v6: Ranges,
    unix: bool,
}

impl Sources {
    pub(super) fn all() -> Self {
        Net::all().into_iter().collect()
    }

    /// Returns the set of all addresses of both families.
    pub(super) fn inet() -> Self {
        Net::all().into_iter().take(2).collect()
    }

    pub(super) fn from_v4_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let ranges = ranges.into_iter().map(|(first, last)| (first.into(), last.into())).collect();
        Self { v4: Ranges::of(ranges), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty() && !self.unix
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        Self { v4: self.v4.or(&other.v4), v6: self.v6.or(&other.v6), unix: self.unix || other.unix }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        self.less(&Self::all().less(other))
    }

    pub(super) fn less(&self, other: &Self) -> Self {
        Self { v4: self.v4.less(&other.v4), v6: self.v6.less(&other.v6), unix: self.unix && !other.unix }
    }

    pub(super) fn not(&self) -> Self {
        Self::all().less(self)
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.less(other).is_empty()
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        !self.and(other).is_empty()
    }

    /// Returns the set without `::ffff:0:0/96`. Peers with such an address are judged by their IPv4 address, so an
    /// entry in this range matches no peer.
    pub(super) fn folded(&self) -> Self {
        Self { v6: self.v6.less(&Ranges(vec![MAPPED])), ..self.clone() }
    }

    /// Returns the IPv4 addresses whose mapped form is in the IPv6 part of the set.
    pub(super) fn mapped_v4(&self) -> Self {
        let inside = self.v6.less(&Ranges(vec![MAPPED]).complement());
        let v4 = inside.0.into_iter().map(|(first, last)| (first - MAPPED.0, last - MAPPED.0)).collect();
        Self { v4: Ranges(v4), ..Self::default() }
    }

    /// Returns the smallest list of prefixes that makes up the set.
    pub(super) fn nets(&self) -> Vec<Net> {
        let v4 =
            self.v4.blocks(32).into_iter().filter_map(|(start, len)| {
                Net::new(Ipv4Addr::from_bits(u32::try_from(start).ok()?).into(), len)
            });
        // Mapped addresses match no peer, so a block may contain them. With them, `::/0` stays one block.
        let v6 = self.v6.or(&Ranges(vec![MAPPED])).blocks(128).into_iter();
        let v6 = v6.filter(|(start, len)| *len < 96 || *start < MAPPED.0 || *start > MAPPED.1);
        let v6 = v6.filter_map(|(start, len)| Net::new(Ipv6Addr::from_bits(start).into(), len));
        v4.chain(v6).chain(self.unix.then_some(Net::Unix)).collect()
    }
}

impl FromIterator<Net> for Sources {
    fn from_iter<I: IntoIterator<Item = Net>>(nets: I) -> Self {
        let (mut v4, mut v6, mut unix) = (Vec::new(), Vec::new(), false);
        for net in nets {
            match net {
                Net::Inet(IpNet::V4(net)) => {
                    v4.push((net.network().to_bits().into(), net.broadcast().to_bits().into()));
                }
                Net::Inet(IpNet::V6(net)) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
                Net::Unix => unix = true,
            }
        }
        Self { v4: Ranges::of(v4), v6: Ranges::of(v6), unix }
    }
}

impl From<Net> for Sources {
    fn from(net: Net) -> Self {
        std::iter::once(net).collect()
    }
}

const EVERYTHING: (u128, u128) = (0, u128::MAX);
/// `::ffff:0:0/96` (RFC 4291, 2.5.5.2).
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// Inclusive ranges, sorted. At least one number is missing between two neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    fn of(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if end.checked_add(1).is_none_or(|next| first <= next) => {
                    *end = last.max(*end)
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn or(&self, other: &Self) -> Self {
        Self::of([self.0.as_slice(), other.0.as_slice()].concat())
    }

    fn complement(&self) -> Self {
        Self(vec![EVERYTHING]).less(self)
    }

    fn less(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut cuts = other.0.iter().peekable();
        for (mut first, last) in self.0.iter().copied() {
            let mut done = false;
            while let Some((from, to)) = cuts.peek() {
                if *to < first {
                    cuts.next();
                    continue;
                }
                if *from > last {
                    break;
                }
                if *from > first {
                    left.push((first, *from - 1));
                }
                if *to >= last {
                    done = true;
                    break;
                }
                first = *to + 1;
            }
            if !done {
                left.push((first, last));
            }
        }
        Self(left)
    }

    /// Splits each range into the fewest aligned blocks. Returns the first number and the prefix length of each block.
    fn blocks(&self, bits: u8) -> Vec<(u128, u8)> {
        let mut blocks = Vec::new();
        for (mut first, last) in self.0.iter().copied() {
            loop {
                let aligned = if first == 0 { u32::from(bits) } else { first.trailing_zeros() };
                let fits = (last - first).checked_add(1).map_or(128, u128::ilog2);
                let size = aligned.min(fits).min(bits.into());
                blocks.push((first, bits - u8::try_from(size).unwrap_or(bits)));
                let next = 1_u128.checked_shl(size).and_then(|step| first.checked_add(step));
                match next {
                    Some(next) if next <= last => first = next,
                    _ => break,
                }
            }
        }
        blocks
    }
}

#[cfg(test)]
mod tests;
