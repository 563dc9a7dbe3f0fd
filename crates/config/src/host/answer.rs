//! The addresses of an answer that may become entries.
//!
//! An answer comes from the network. Addresses that no client on the internet has are dropped: they would admit
//! neighbours of the proxy, or local processes, in place of the host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::Harmless;

/// Maximum number of addresses that a name admits. A host of an operator has one or two for each family; a name with
/// more is shared by many (a CDN, a cloud), which is not what a list of clients is for.
pub const MAX_ADDRESSES: usize = 16;

/// Number of dropped addresses that a text names: an answer may have thousands.
const SHOWN: usize = 4;

/// The usable part of an answer, and the rest. Displays as `203.0.113.9; dropped 10.0.0.1 (private)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The addresses that become entries: at most [`MAX_ADDRESSES`], in ascending order, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// The other addresses in ascending order, each with the reason.
    pub dropped: Vec<(IpAddr, Dropped)>,
}

impl Admitted {
    /// Sorts an answer. The result does not depend on the order of the answer, which name servers rotate.
    pub(super) fn of(answer: &[IpAddr], private: bool) -> Self {
        let mut all: Vec<IpAddr> = answer.iter().map(IpAddr::to_canonical).collect();
        all.sort_unstable();
        all.dedup();
        let mut admitted = Self::default();
        for ip in all {
            match Dropped::of(ip).filter(|why| !(private && *why == Dropped::Private)) {
                Some(why) => admitted.dropped.push((ip, why)),
                None if admitted.addresses.len() == MAX_ADDRESSES => {
                    admitted.dropped.push((ip, Dropped::TooMany));
                }
                None => admitted.addresses.push(ip),
            }
        }
        admitted
    }

    /// The dropped addresses as text, the first ones with their reasons; `None` if none was dropped.
    pub fn dropped_text(&self) -> Option<String> {
        let first: Vec<String> =
            self.dropped.iter().take(SHOWN).map(|(ip, why)| format!("{ip} ({why})")).collect();
        match (first.len(), self.dropped.len().saturating_sub(SHOWN)) {
            (0, _) => None,
            (_, 0) => Some(first.join(", ")),
            (_, more) => Some(format!("{} and {more} more", first.join(", "))),
        }
    }
}

impl fmt::Display for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        f.write_str(if addresses.is_empty() { "no address" } else { "" })?;
        f.write_str(&addresses.join(", "))?;
        match self.dropped_text() {
            Some(dropped) => write!(f, "; dropped {dropped}"),
            None => Ok(()),
        }
    }
}

/// Addresses and words of the program.
impl Harmless for Admitted {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The reason why an address of an answer is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// `0.0.0.0/8` and `::`.
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// Broadcast, and all else that no client on the internet can have.
    Reserved,
    /// Addresses of private networks (RFC 1918, 6598, 2544, 4193), without `private: true`.
    Private,
    /// More than [`MAX_ADDRESSES`].
    TooMany,
}

impl Dropped {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Private => "private",
            Self::TooMany => "more than 16",
        }
    }

    fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        Some(match ip.octets() {
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [224..=239, ..] => Self::Multicast,
            // 255.255.255.255 among them.
            [240..=255, ..] => Self::Reserved,
            // 198.18.0.0/15 is what proxies that invent an address for each name return.
            [10, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [100, 64..=127, ..]
            | [198, 18..=19, ..]
            | [192, 0, 0, _] => Self::Private,
            _ => return None,
        })
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = ip.segments();
        let v4 = |high: u16, low: u16| Self::of_v4((u32::from(high) << 16 | u32::from(low)).into());
        match (a, b) {
            _ if ip.is_unspecified() => Some(Self::Unspecified),
            _ if ip.is_loopback() => Some(Self::Loopback),
            // Translators (RFC 6052) and 6to4 (RFC 3056) embed an IPv4 address. A name server that translates does so
            // for private addresses too.
            (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => v4(g, h),
            (0x64, 0xff9b) => Some(Self::Private),
            (0x2002, _) => v4(b, c),
            (0xfc00..=0xfdff | 0xfec0..=0xfeff, _) => Some(Self::Private),
            (0xfe80..=0xfebf, _) => Some(Self::LinkLocal),
            (0xff00..=0xffff, _) => Some(Self::Multicast),
            // Global unicast is 2000::/3 (RFC 4291, 2.4).
            (0x2000..=0x3fff, _) => None,
            _ => Some(Self::Reserved),
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
