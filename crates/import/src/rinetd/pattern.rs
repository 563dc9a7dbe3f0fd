//! rinetd patterns such as `192.168.?.*`. rinetd compares the text of an address: `?` matches one character, `*` any
//! number of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use crate::sources::{Net, Sources};

/// The most ranges that one pattern may stand for. People cannot check a longer list, so such a pattern is in doubt.
const MOST_RANGES: usize = 4096;
/// The longest pattern in bytes. A set of positions in it must fit into one `u128`. The longest text of an address,
/// with `::ffff:` before it, is shorter.
const LONGEST: usize = 100;

/// A pattern for the text of an address.
#[derive(Clone, Debug)]
pub(super) struct Pattern(String);

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the pattern as it is written.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Returns the sources that the pattern matches. With `mapped`, IPv4 peers are written as `::ffff:a.b.c.d`, as on a
    /// socket for both families.
    pub(super) fn matches(&self, mapped: bool) -> Matches {
        self.search(mapped, false)
    }

    /// Returns the sources that the pattern may refuse, which can be more. In rinetd up to 0.73 a `?` also matches the
    /// end of an address and the memory behind it. Some versions ignore case.
    pub(super) fn may_refuse(&self, mapped: bool) -> Matches {
        self.search(mapped, true)
    }

    fn search(&self, mapped: bool, beyond: bool) -> Matches {
        if !self.0.is_empty() && self.0.bytes().all(|byte| byte == b'*') {
            return Matches::exactly(Sources::all());
        }
        let known = self.0.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:?*".contains(&byte));
        if !known || self.0.len() > LONGEST {
            return Matches::doubtful(Sources::all(), "not a pattern of addresses");
        }
        // rinetd 0.73 compares capital letters exactly, and writes addresses in small letters.
        let pattern = if beyond { self.0.to_ascii_lowercase() } else { self.0.clone() }.into_bytes();
        let mut search = Search { pattern, beyond, seen: HashMap::new() };
        let start = search.feed(search.start(), if mapped { b"::ffff:" } else { b"" });
        let [all_v4, all_v6, _] = Net::all().map(Sources::from);
        let v4 = match search.octets(0, start) {
            Some(ranges) => Matches::exactly(Sources::from_v4_ranges(ranges.iter().copied())),
            None => Matches::doubtful(all_v4, "it stands for too many networks to be listed"),
        };
        v4.or(match self.v6() {
            Ok(v6) => Matches::exactly(v6),
            Err(why) => Matches::doubtful(all_v6, why),
        })
    }

    /// Returns the IPv6 sources that the pattern matches, if prefixes can express them: a whole address, or whole
    /// groups and one `*`. Otherwise returns the reason.
    fn v6(&self) -> Result<Sources, &'static str> {
        if let Ok(ip) = self.0.parse::<Ipv6Addr>() {
            // rinetd compares text, so another spelling of the address never matches. A mapped address matches no peer
            // in the gate.
            let as_shown = ip.to_string() == self.0 && ip.to_ipv4_mapped().is_none();
            return Ok(if as_shown { Sources::from(Net::host(IpAddr::V6(ip))) } else { Sources::default() });
        }
        // If a text with a dot is an IPv6 address, it begins with `::`.
        let head = self.0.split('*').next().unwrap_or_default();
        if head.contains('.') && !head.starts_with([':', '?']) {
            return Ok(Sources::default());
        }
        let groups = self.0.strip_suffix(":*");
        let groups = groups.ok_or("which IPv6 texts it matches cannot be said in prefixes")?;
        let mut bits = 0_u128;
        let groups: Vec<&str> = groups.split(':').collect();
        for group in &groups {
            let value = u16::from_str_radix(group, 16).ok().filter(|value| *value != 0);
            let value = value.filter(|value| format!("{value:x}") == *group);
            let value = value.ok_or("which IPv6 texts it matches depends on how they are shortened")?;
            bits = bits << 16 | u128::from(value);
        }
        let len = u8::try_from(groups.len() * 16).ok().filter(|len| *len < 128);
        let len = len.ok_or("not a pattern of addresses")?;
        let net = Net::new(Ipv6Addr::from_bits(bits << (128 - len)).into(), len);
        Ok(net.map(Sources::from).unwrap_or_default())
    }
}

/// The sources that a pattern matches for certain, the sources that it may match, and the reason for the difference.
#[derive(Clone, Debug)]
pub(super) struct Matches {
    pub(super) must: Sources,
    pub(super) may: Sources,
    pub(super) why: Option<&'static str>,
}

impl Matches {
    fn exactly(sources: Sources) -> Self {
        Self { must: sources.clone(), may: sources, why: None }
    }

    fn doubtful(may: Sources, why: &'static str) -> Self {
        Self { must: Sources::default(), may, why: Some(why) }
    }

    fn or(self, other: Self) -> Self {
        Self { must: self.must.or(&other.must), may: self.may.or(&other.may), why: self.why.or(other.why) }
    }
}

/// A search for all matching IPv4 addresses, octet by octet. It follows all positions in the pattern at once; a set of
/// positions is a bit mask.
struct Search {
    pattern: Vec<u8>,
    /// Whether `?` also matches the end of a text and everything behind it.
    beyond: bool,
    /// The results by octet and positions, so that nothing is searched twice.
    seen: HashMap<(u32, u128), Parts>,
}

/// The first and the last number of each run of matching addresses. The numbers contain only the octets that are still
/// open.
type Parts = Rc<Vec<(u32, u32)>>;

impl Search {
    fn start(&self) -> u128 {
        self.skip_stars(1)
    }

    /// Returns the lower parts of the addresses that match from these positions on. Returns `None` if there are too
    /// many ranges.
    fn octets(&mut self, octet: u32, places: u128) -> Option<Parts> {
        if let Some(known) = self.seen.get(&(octet, places)) {
            return Some(Rc::clone(known));
        }
        let width = 8 * (3 - octet);
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for value in 0..=255_u32 {
            let mut next = self.feed(places, value.to_string().as_bytes());
            let base = value << width;
            if octet == 3 {
                if self.ends(next) {
                    push(&mut ranges, (base, base));
                }
                continue;
            }
            next = self.feed(next, b".");
            if next == 0 {
                continue;
            }
            for (first, last) in self.octets(octet + 1, next)?.iter() {
                push(&mut ranges, (base + first, base + last));
            }
            if ranges.len() > MOST_RANGES {
                return None;
            }
        }
        let ranges = Rc::new(ranges);
        self.seen.insert((octet, places), Rc::clone(&ranges));
        Some(ranges)
    }

    /// Returns whether a text matches if it ends at these positions.
    fn ends(&self, places: u128) -> bool {
        let passes = |at: usize, wanted: u8| wanted == b'?' && places >> at & 1 == 1;
        let beyond = self.beyond && self.pattern.iter().enumerate().any(|(at, wanted)| passes(at, *wanted));
        places >> self.pattern.len() & 1 == 1 || beyond
    }

    fn feed(&self, places: u128, text: &[u8]) -> u128 {
        text.iter().fold(places, |places, byte| self.step(places, *byte))
    }

    fn step(&self, places: u128, byte: u8) -> u128 {
        let mut next = 0;
        for (at, wanted) in self.pattern.iter().enumerate() {
            if places >> at & 1 == 0 {
                continue;
            }
            if *wanted == b'*' {
                next |= 1 << at;
            } else if *wanted == b'?' || *wanted == byte {
                next |= 1 << (at + 1);
            }
        }
        self.skip_stars(next)
    }

    /// Adds the positions after each `*`, since a `*` may match nothing.
    fn skip_stars(&self, mut places: u128) -> u128 {
        for (at, wanted) in self.pattern.iter().enumerate() {
            if *wanted == b'*' && places >> at & 1 == 1 {
                places |= 1 << (at + 1);
            }
        }
        places
    }
}

fn push(ranges: &mut Vec<(u32, u32)>, (first, last): (u32, u32)) {
    match ranges.last_mut() {
        Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
        _ => ranges.push((first, last)),
    }
}
