//! Addresses and networks in the form that an operator may write. Each has one spelling, so that none can be misread.

mod forms;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

pub use self::forms::Networks;

/// A network without host bits; a bare address is its /32 or /128.
///
/// Valid: `203.0.113.9`, `203.0.113.0/24`, `2001:db8::/32`. Refused: host bits, leading zeros, zones, netmasks, ranges,
/// wildcards, the single addresses `0.0.0.0` and `::`, and IPv4-mapped IPv6. A mapped peer is converted to IPv4 before
/// the policy judges it, so a mapped entry would never match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr(IpNet);

impl Cidr {
    /// The network; its address has no host bits.
    pub fn net(self) -> IpNet {
        self.0
    }

    /// Whether the network contains `ip`.
    pub fn contains(self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }

    /// Whether the network contains all of `other`.
    pub fn covers(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether the network is a single address.
    pub fn is_host(self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether the network is the single address `0.0.0.0` or `::`, which no client has.
    pub fn is_unspecified(self) -> bool {
        self.is_host() && self.0.addr().is_unspecified()
    }

    /// Whether the network is a single address that no client has because it names several receivers: multicast, or the
    /// broadcast address `255.255.255.255`.
    pub fn is_for_many(self) -> bool {
        let broadcast = self.0.addr() == IpAddr::V4(Ipv4Addr::BROADCAST);
        self.is_host() && (broadcast || self.0.addr().is_multicast())
    }

    /// Reads an entry; the error does not yet know the forms of other programs.
    fn strict(text: &str) -> Result<Self, CidrError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let ip = parse_ip(address)?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Ok(width), |len| parse_len(len, width, ip))?;
        let cidr = match ip {
            IpAddr::V4(v4) => Self::cut_v4(v4, len),
            IpAddr::V6(v6) => Self::cut_v6(v6, len),
        };
        let v4 = mapped(cidr);
        if cidr.is_unspecified() || v4.is_some_and(Self::is_unspecified) {
            return Err(CidrError::Unspecified { everybody: forms::everybody(ip.to_canonical()) });
        }
        if let Some(v4) = v4 {
            return Err(CidrError::Mapped { v4 });
        }
        if cidr.0.network() != ip {
            return Err(CidrError::HostBits { network: cidr, host: Self::from(ip) });
        }
        Ok(cidr)
    }

    /// Whether the network is a whole address family.
    fn is_everybody(self) -> bool {
        self.0.prefix_len() == 0
    }

    /// The network of the first `len` bits of `ip`.
    pub(crate) fn cut_v4(ip: Ipv4Addr, len: u8) -> Self {
        Self(IpNet::V4(Ipv4Net::new(ip, len.min(32)).unwrap_or_default().trunc()))
    }

    /// The network of the first `len` bits of an IPv6 address.
    pub(crate) fn cut_v6(ip: Ipv6Addr, len: u8) -> Self {
        Self(IpNet::V6(Ipv6Net::new(ip, len.min(128)).unwrap_or_default().trunc()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        // Only an error pays for the search for a form that the operator may have meant.
        Self::strict(text).map_err(|error| forms::recognise(text).unwrap_or(error))
    }
}

impl From<IpAddr> for Cidr {
    fn from(ip: IpAddr) -> Self {
        Self(IpNet::from(ip))
    }
}

/// The smallest number of networks that cover these addresses and no other, IPv4 first, in ascending order. An
/// IPv4-mapped address counts as its IPv4 address.
pub fn minimal(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Cidr> {
    let hosts: Vec<IpNet> = addresses.into_iter().map(|ip| IpNet::from(ip.to_canonical())).collect();
    IpNet::aggregate(&hosts).into_iter().map(Cidr).collect()
}

/// The reason why a text is not an address or a network. [`CidrError::hint`] gives the valid form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CidrError {
    /// Text that is not an address.
    #[error("not an IP address or CIDR")]
    NotAnAddress,
    /// White space around or inside the address.
    #[error("white space in an address")]
    Space,
    /// A number that some programs read as octal and others as decimal (CVE-2021-29922).
    #[error("an address with a leading zero, which some programs read as octal")]
    LeadingZero {
        /// The decimal reading, if there is one.
        decimal: Option<Ipv4Addr>,
    },
    /// `fe80::1%eth0`.
    #[error("an address with a zone")]
    Zone,
    /// `10.0.0.1:6379`, `[::1]:6379` or `[::1]`.
    #[error("an address with a port or brackets")]
    Port,
    /// `10.0.0.0/255.0.0.0`.
    #[error("a netmask instead of a prefix length")]
    Netmask {
        /// The networks that the text stands for, if they can be told.
        networks: Option<Networks>,
    },
    /// `10.0.0.1-10.0.0.9`.
    #[error("a range of addresses")]
    Range {
        /// The networks that the text stands for; `None`: the range ends before it begins, or mixes families.
        networks: Option<Networks>,
    },
    /// `10.1.*`.
    #[error("a wildcard in an address")]
    Wildcard {
        /// The networks that the text stands for, if they can be told.
        networks: Option<Networks>,
    },
    /// `10.0.0.1, 10.0.0.2`.
    #[error("several addresses in one entry")]
    Several {
        /// The networks of all of them.
        networks: Networks,
    },
    /// `10.0.0.1 office`, `10.0.0.0/8 except 10.1.0.0/16`, `!10.0.0.1`. The text may take addresses away, so the error
    /// names no network.
    #[error("an address with other words or signs")]
    MoreWords,
    /// `0.0.0.0` or `::`, also with `/32` or `/128`.
    #[error("the unspecified address, which no client has")]
    Unspecified {
        /// The network that the operator may have meant.
        everybody: Cidr,
    },
    /// `any`, `*`.
    #[error("not an address")]
    Everybody,
    /// `localhost`.
    #[error("a name instead of an address")]
    Localhost,
    /// `redis.example.com`.
    #[error("a host name instead of an address")]
    HostName,
    /// `10.1/16`, `127.1`.
    #[error("an IPv4 address with fewer than four parts")]
    ShortForm,
    /// `/`, `/+8`, `/08`, `/8/1`.
    #[error("not a prefix length")]
    BadLength,
    /// `/33` for IPv4, `/129` for IPv6.
    #[error("prefix length over {max}")]
    LongLength {
        /// 32 or 128.
        max: u8,
        /// The address before the slash.
        ip: IpAddr,
    },
    /// `10.1.2.3/8`.
    #[error("host bits are set")]
    HostBits {
        /// The network that the length names.
        network: Cidr,
        /// The single address in the text.
        host: Cidr,
    },
    /// `::ffff:10.0.0.0/104`.
    #[error("an IPv4-mapped IPv6 address never matches: such clients are judged by their IPv4 address")]
    Mapped {
        /// The equivalent IPv4 network.
        v4: Cidr,
    },
}

impl CidrError {
    /// The form to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAnAddress => {
                "write an address or a network, such as 203.0.113.9, 203.0.113.0/24 or 2001:db8::/32".into()
            }
            Self::Space => "write it without spaces, such as 203.0.113.0/24".into(),
            Self::LeadingZero { decimal: Some(ip) } if !ip.is_unspecified() => {
                format!("write {ip}, if the parts are decimal")
            }
            Self::LeadingZero { .. } => "write each part in decimal without leading zeros".into(),
            Self::Zone => "write the address without %zone; entries match the address only".into(),
            Self::Port => {
                "write the address only, such as 203.0.113.9 or 2001:db8::1; ports are not matched".into()
            }
            Self::Netmask { networks: Some(networks) }
            | Self::Range { networks: Some(networks) }
            | Self::Wildcard { networks: Some(networks) } => match networks.is_one() {
                true => format!("write {networks}"),
                false => format!("write one entry for each of {networks}"),
            },
            Self::Netmask { networks: None } => "write a prefix length such as /24".into(),
            Self::Range { networks: None } => {
                "the first address must not be above the last, and both must be of one family".into()
            }
            Self::Wildcard { networks: None } => {
                "write a network with a prefix length, such as 10.1.0.0/16 or 2001:db8::/32".into()
            }
            Self::Several { networks } => format!("write one entry for each of {networks}"),
            Self::MoreWords => {
                "write each address as an entry of its own; addresses to refuse go into a list under \
                                deny, and a note goes behind '#', or into {cidr: ADDRESS, note: TEXT}"
                    .into()
            }
            Self::Unspecified { everybody } => format!("did you mean {everybody} (everybody)?"),
            Self::Everybody => {
                "did you mean 0.0.0.0/0 (everybody)? Write it for IPv4, and \"::/0\" for IPv6".into()
            }
            Self::Localhost => "write 127.0.0.1 for IPv4, and \"::1\" for IPv6".into(),
            Self::HostName => "write the address of the host, such as 203.0.113.9".into(),
            Self::ShortForm => "write all four parts, such as 10.1.0.0/16".into(),
            Self::BadLength => "write a prefix length as a plain number, such as /24".into(),
            Self::LongLength { ip, .. } if ip.is_unspecified() => {
                format!("did you mean {} (everybody)?", forms::everybody(*ip))
            }
            Self::LongLength { max, ip } => format!("write {ip}/{max} or just {ip} for that one address"),
            Self::HostBits { network, host } => format!(
                "write {network} for {}, or {}/{} for that one address",
                if network.is_everybody() { "everybody" } else { "the whole network" },
                host.0.addr(),
                host.0.max_prefix_len()
            ),
            Self::Mapped { v4 } => format!("write {v4}"),
        }
    }

    /// Whether all of the text was read as addresses or as a word for them. Then a message may show it.
    pub fn is_understood(&self) -> bool {
        matches!(
            self,
            Self::Netmask { networks: Some(_) }
                | Self::Range { .. }
                | Self::Wildcard { networks: Some(_) }
                | Self::Several { .. }
                | Self::Unspecified { .. }
                | Self::Everybody
                | Self::Localhost
        )
    }
}

/// Parses an address. The parser of std accepts no octal numbers, short forms or zones; the rest tells the operator
/// which of them it was.
fn parse_ip(text: &str) -> Result<IpAddr, CidrError> {
    text.parse().map_err(|_| explain_ip(text))
}

fn explain_ip(text: &str) -> CidrError {
    if text.chars().any(char::is_whitespace) {
        return CidrError::Space;
    }
    if text.contains('%') {
        return CidrError::Zone;
    }
    if text.starts_with('[') || text.parse::<std::net::SocketAddr>().is_ok() {
        return CidrError::Port;
    }
    let parts: Vec<&str> = text.split('.').collect();
    let numeric = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !numeric || text.contains(':') {
        return CidrError::NotAnAddress;
    }
    if parts.iter().any(|part| part.len() > 1 && part.starts_with('0')) {
        return CidrError::LeadingZero { decimal: decimal(&parts) };
    }
    if parts.len() < 4 { CidrError::ShortForm } else { CidrError::NotAnAddress }
}

fn decimal(parts: &[&str]) -> Option<Ipv4Addr> {
    let octets: Vec<u8> = parts.iter().map(|part| part.parse().ok()).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from)
}

/// Parses a prefix length: one to three digits, no sign, no leading zero, within the width of the family.
fn parse_len(text: &str, max: u8, ip: IpAddr) -> Result<u8, CidrError> {
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(CidrError::BadLength);
    }
    match text.parse::<u8>() {
        Ok(len) if len <= max => Ok(len),
        _ => Err(CidrError::LongLength { max, ip }),
    }
}

/// The IPv4 network of an IPv4-mapped one (`::ffff:0:0/96`); `None` unless all of `cidr` is mapped.
fn mapped(cidr: Cidr) -> Option<Cidr> {
    let IpNet::V6(net) = cidr.0 else { return None };
    let v4 = net.addr().to_ipv4_mapped()?;
    net.prefix_len().checked_sub(96).map(|len| Cidr::cut_v4(v4, len))
}

#[cfg(test)]
mod tests;
