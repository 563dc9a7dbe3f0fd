//! Forms of other programs: ranges, wildcards, netmasks, several addresses in one text.
//!
//! An entry accepts none of them. For each the error names the exact networks, so that an operator can copy them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use super::{Cidr, CidrError, mapped};

/// A hint with more networks is not read. A range of a /24 needs at most 14.
const MOST_SHOWN: usize = 16;

/// Networks that a text stands for, in ascending order. Displays as `10.0.0.1, 10.0.0.2/31 and 3 more`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    shown: Vec<Cidr>,
    more: u64,
}

impl Networks {
    /// Collects the first networks of `total`. A single unspecified address is left out: no client has it.
    fn of(networks: impl Iterator<Item = Cidr>, total: u64) -> Option<Self> {
        let shown: Vec<Cidr> = networks.take(MOST_SHOWN + 1).collect();
        let read = u64::try_from(shown.len()).unwrap_or(u64::MAX);
        let mut shown: Vec<Cidr> = shown.into_iter().filter(|cidr| !cidr.is_unspecified()).collect();
        let left = u64::try_from(shown.len().saturating_sub(MOST_SHOWN)).unwrap_or(0);
        shown.truncate(MOST_SHOWN);
        (!shown.is_empty()).then(|| Self { shown, more: total.saturating_sub(read) + left })
    }

    fn one(cidr: Cidr) -> Option<Self> {
        Self::of(std::iter::once(cidr), 1)
    }

    /// The first networks, as many as a hint shows.
    pub fn shown(&self) -> &[Cidr] {
        &self.shown
    }

    /// Number of networks that a hint does not show.
    pub fn more(&self) -> u64 {
        self.more
    }

    /// Whether there is exactly one network.
    pub fn is_one(&self) -> bool {
        self.shown.len() == 1 && self.more == 0
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, cidr) in self.shown.iter().enumerate() {
            let before = if at == 0 { "" } else { ", " };
            let everybody = if cidr.is_everybody() { " (everybody)" } else { "" };
            write!(f, "{before}{cidr}{everybody}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Recognises a form of another program in a text that is not an entry.
pub(super) fn recognise(text: &str) -> Option<CidrError> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "any" | "all" | "anyone" | "anybody" | "everyone" | "everybody" | "anywhere" | "world"
        | "internet" | "*" | "0/0" => return Some(CidrError::Everybody),
        "localhost" => return Some(CidrError::Localhost),
        _ => {}
    }
    if let Some(error) = netmask(text).or_else(|| range(text)).or_else(|| wildcard(text)) {
        return Some(error);
    }
    several(text).or_else(|| is_host_name(text).then_some(CidrError::HostName))
}

/// Reads `10.0.0.0/255.0.0.0`, `10.0.0.0 255.0.0.0`, and masks whose bits are inverted or not contiguous.
fn netmask(text: &str) -> Option<CidrError> {
    let (address, mask) = match text.split_once('/') {
        Some(parts) => parts,
        // Two addresses, unless the second one can only be a mask.
        None => {
            let (address, mask) = text.split_once(char::is_whitespace)?;
            let mask = mask.trim_start();
            let mask = mask.strip_prefix("netmask ").or_else(|| mask.strip_prefix("mask ")).unwrap_or(mask);
            mask.trim_start().starts_with("255.").then_some((address, mask))?
        }
    };
    let (address, mask) = (address.trim_end(), mask.trim_start().parse::<Ipv4Addr>().ok()?.to_bits());
    let Ok(ip) = address.parse::<Ipv4Addr>() else { return Some(CidrError::Netmask { networks: None }) };
    let is_prefix = |mask: u32| mask.leading_ones() + mask.trailing_zeros() == 32;
    // Some devices write the inverted mask, 0.255.255.255.
    let mask = if !is_prefix(mask) && is_prefix(!mask) { !mask } else { mask };
    if is_prefix(mask) {
        let len = u8::try_from(mask.leading_ones()).ok()?;
        let network = Cidr::cut_v4(ip, len);
        if network.net().addr() != IpAddr::V4(ip) {
            return Some(CidrError::HostBits { network, host: Cidr::from(IpAddr::V4(ip)) });
        }
        return match network.is_unspecified() {
            true => Some(CidrError::Unspecified { everybody: everybody(ip.into()) }),
            false => Some(CidrError::Netmask { networks: Networks::one(network) }),
        };
    }
    let octets = ip.octets().into_iter().zip(mask.to_be_bytes());
    let pattern =
        octets.map(|(octet, mask)| (0..=255).filter(|value| value & mask == octet & mask).collect());
    let pattern: Vec<Vec<u8>> = pattern.collect();
    let has_host_bits = ip.to_bits() & !mask != 0;
    let networks = if has_host_bits { None } else { networks(&pattern) };
    Some(CidrError::Netmask { networks })
}

/// Reads `10.0.0.1-10.0.0.9`, `10.0.0.1-9` and `10.0.0-3.*`.
fn range(text: &str) -> Option<CidrError> {
    // `10.0.0.1 -10.0.0.9` may exclude the second address.
    let is_even = |first: &str, last: &str| {
        first.ends_with(char::is_whitespace) == last.starts_with(char::is_whitespace)
    };
    if let Some((first, last)) = text.split_once(['-', '\u{2013}'])
        && is_even(first, last)
        && let (Ok(first), Ok(last)) = (first.trim().parse::<IpAddr>(), last.trim().parse::<IpAddr>())
    {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        if first.is_unspecified() && first == last {
            return Some(CidrError::Unspecified { everybody: everybody(first) });
        }
        return Some(CidrError::Range { networks: between(first, last) });
    }
    if !text.contains('-') {
        return None;
    }
    let parts: Vec<&str> = text.split('.').collect();
    let pattern = parts.iter().map(|part| octet_range(part).or_else(|| octets(part)));
    let pattern: Vec<Vec<u8>> = pattern.collect::<Option<_>>()?;
    (pattern.len() == 4).then(|| CidrError::Range { networks: networks(&pattern) })
}

/// Reads `10.1.*`, `10.1.*.*`, `10.1.2.x`, `10.1.2.1*` and `2001:db8:*`.
fn wildcard(text: &str) -> Option<CidrError> {
    // A word is no wildcard: `x` is one beside numbers only.
    let has_number = text.contains(|c: char| c.is_ascii_digit());
    let has_x = has_number && text.split('.').any(|part| part.eq_ignore_ascii_case("x"));
    if !has_x && !text.contains(['*', '?']) {
        return None;
    }
    if text.contains(':') {
        return wildcard_v6(text);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let mut pattern: Vec<Vec<u8>> = parts.iter().map(|part| octets(part)).collect::<Option<_>>()?;
    // `10.1.*` leaves out parts. Only a whole wildcard may stand for them.
    let is_open = pattern.last().is_some_and(|last| last.len() == 256);
    while is_open && pattern.len() < 4 {
        pattern.push((0..=255).collect());
    }
    (pattern.len() == 4).then(|| CidrError::Wildcard { networks: networks(&pattern) })
}

/// Reads whole groups before the wildcard; with `::` among them, no length follows from the text.
fn wildcard_v6(text: &str) -> Option<CidrError> {
    let groups: Vec<&str> = text.split(':').collect();
    let fixed = groups.iter().take_while(|group| **group != "*").count();
    if groups.iter().skip(fixed).any(|group| *group != "*") || groups.len() > 8 {
        let fits = |c: char| c.is_ascii_hexdigit() || ":*?".contains(c);
        return text.chars().all(fits).then_some(CidrError::Wildcard { networks: None });
    }
    let mut bits = [0_u16; 8];
    for (slot, group) in bits.iter_mut().zip(groups.iter().take(fixed)) {
        let Ok(value) = u16::from_str_radix(group, 16) else {
            return Some(CidrError::Wildcard { networks: None });
        };
        *slot = value;
    }
    let len = u8::try_from(fixed * 16).ok()?;
    Some(CidrError::Wildcard { networks: Networks::one(Cidr::cut_v6(Ipv6Addr::from(bits), len)) })
}

/// Reads addresses with commas, semicolons, spaces or `or` between them.
///
/// Any other word or sign may take an address away, as in `10.0.0.0/8 except 10.1.0.0/16`. Then no network is named.
fn several(text: &str) -> Option<CidrError> {
    let words = || text.split([',', ';']).flat_map(str::split_whitespace);
    let is_or = |word: &str| word.eq_ignore_ascii_case("or");
    let readings: Vec<Option<Networks>> = words().filter(|word| !is_or(word)).map(reading).collect();
    if readings.iter().any(Option::is_none) {
        return words().any(has_address).then_some(CidrError::MoreWords);
    }
    if words().count() < 2 {
        return None;
    }
    let more: u64 = readings.iter().flatten().map(|networks| networks.more).sum();
    let shown: Vec<Cidr> = readings.iter().flatten().flat_map(|networks| networks.shown.clone()).collect();
    let total = more + u64::try_from(shown.len()).unwrap_or(u64::MAX);
    Some(CidrError::Several { networks: Networks::of(shown.into_iter(), total)? })
}

/// Whether a word is an address among other words, or an address behind a sign, as `!10.0.0.1` is.
fn has_address(word: &str) -> bool {
    let bare = word
        .trim_start_matches(|c: char| c.is_ascii_punctuation() && !matches!(c, ':' | '*' | '?' | '.' | '['));
    reading(bare).is_some()
}

/// The networks that one word stands for, if it is an entry or one of the forms above.
fn reading(word: &str) -> Option<Networks> {
    // Among other words, `*` says nothing about addresses, and `255.255.0.0` is the mask of another word.
    if !word.contains(|c: char| c.is_ascii_digit()) || word.starts_with("255.") {
        return None;
    }
    match Cidr::strict(word) {
        Ok(cidr) => Networks::one(cidr),
        Err(_) => match netmask(word).or_else(|| range(word)).or_else(|| wildcard(word))? {
            CidrError::Netmask { networks }
            | CidrError::Range { networks }
            | CidrError::Wildcard { networks } => networks,
            _ => None,
        },
    }
}

/// The fewest networks from `first` to `last`; `None` when there is no such range.
fn between(first: IpAddr, last: IpAddr) -> Option<Networks> {
    let all: Vec<Cidr> = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ipv4Subnets::new(first, last, 0).map(|net| Cidr(IpNet::V4(net))).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ipv6Subnets::new(first, last, 0).map(|net| Cidr(IpNet::V6(net))).collect()
        }
        _ => return None,
    };
    // Clients with mapped addresses are judged by their IPv4 address, so such a network matches nothing.
    let all: Vec<Cidr> = all.into_iter().filter(|cidr| mapped(*cidr).is_none()).collect();
    let total = u64::try_from(all.len()).ok()?;
    Networks::of(all.into_iter(), total)
}

/// The values that one part of an IPv4 address allows: a number, or a pattern of `*`, `?` and digits.
fn octets(part: &str) -> Option<Vec<u8>> {
    if matches!(part, "*" | "x" | "X") {
        return Some((0..=255).collect());
    }
    let fits = |c: char| c.is_ascii_digit() || c == '*' || c == '?';
    if part.is_empty() || part.len() > 3 || !part.chars().all(fits) {
        return None;
    }
    if !part.contains(['*', '?']) {
        return part.parse().ok().map(|value| vec![value]);
    }
    let values: Vec<u8> =
        (0..=255).filter(|value: &u8| matches(part.as_bytes(), value.to_string().as_bytes())).collect();
    (!values.is_empty()).then_some(values)
}

/// Reads `1-9` in a part of an IPv4 address.
fn octet_range(part: &str) -> Option<Vec<u8>> {
    let (first, last) = part.split_once('-')?;
    let (first, last) = (first.parse::<u8>().ok()?, last.parse::<u8>().ok()?);
    (first <= last).then(|| (first..=last).collect())
}

/// Matches a pattern of at most three characters.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], text) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([byte, rest @ ..], [first, text @ ..]) => byte == first && matches(rest, text),
        _ => false,
    }
}

/// The networks of all addresses whose parts have these values.
fn networks(pattern: &[Vec<u8>]) -> Option<Networks> {
    let whole = pattern.iter().rev().take_while(|values| values.len() == 256).count();
    let Some(last) = pattern.len().checked_sub(whole + 1) else {
        return Networks::one(Cidr(IpNet::V4(Ipv4Net::default())));
    };
    let (before, values) = (pattern.get(..last)?, pattern.get(last)?);
    let blocks = blocks(values);
    let size = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let total = before.iter().fold(size(blocks.len()), |total, values| total * size(values.len()));
    let network = |index: u64| -> Option<Cidr> {
        let mut rest = index;
        let mut digit = |base: usize| {
            let at = usize::try_from(rest % size(base)).ok();
            rest /= size(base);
            at
        };
        let mut octets = [0_u8; 4];
        let (start, len) = *blocks.get(digit(blocks.len())?)?;
        octets[last] = start;
        for (slot, values) in octets.iter_mut().zip(before).rev() {
            *slot = *values.get(digit(values.len())?)?;
        }
        Some(Cidr::cut_v4(octets.into(), u8::try_from(last * 8).ok()? + len))
    };
    Networks::of((0..total).map_while(network), total)
}

/// The fewest blocks of ascending values, each with its first value and its length in bits of a prefix.
fn blocks(values: &[u8]) -> Vec<(u8, u8)> {
    let mut blocks = Vec::new();
    let mut rest = values;
    while let [first, ..] = rest {
        // The values are ascending, so a run of this length has no gap if its last value fits.
        let fits = |len: &u8| {
            let size = 1_usize << (8 - len);
            let end = usize::from(*first) + size - 1;
            usize::from(*first).is_multiple_of(size)
                && rest.get(size - 1).is_some_and(|value| usize::from(*value) == end)
        };
        let len = (0..=8).find(fits).unwrap_or(8);
        blocks.push((*first, len));
        rest = rest.get(1 << (8 - len)..).unwrap_or_default();
    }
    blocks
}

/// Everything of the address's family.
pub(super) fn everybody(ip: IpAddr) -> Cidr {
    match ip {
        IpAddr::V4(ip) => Cidr::cut_v4(ip, 0),
        IpAddr::V6(ip) => Cidr::cut_v6(ip, 0),
    }
}

/// Whether a text is a name with at least one dot whose last label has letters.
fn is_host_name(text: &str) -> bool {
    /// RFC 1035, 2.3.4.
    const LONGEST: usize = 253;
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        fits && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let top = name.rsplit('.').next().unwrap_or_default();
    let letters = top.starts_with(|c: char| c.is_ascii_alphabetic()) && top.len() > 1;
    name.contains('.') && letters && name.len() <= LONGEST && name.split('.').all(label)
}

#[cfg(test)]
mod tests;
