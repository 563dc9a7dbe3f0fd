//! Upstreams that are the proxy itself: each connection would open another one, without end.
//!
//! Names that need a lookup are not judged, except `localhost`.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::address::{Address, AdminBind};
use crate::message::message;
use crate::scope::Scope;
use crate::value::socket::Local;

/// The IPv4 addresses of this host: below each line with an address, a line `/32 host LOCAL`.
const IPV4_ADDRESSES: &str = "/proc/self/net/fib_trie";
const IPV4_LOCAL: &str = "/32 host LOCAL";

/// The IPv6 addresses of this host, one in 32 hexadecimal digits at the beginning of each line.
const IPV6_ADDRESSES: &str = "/proc/self/net/if_inet6";

/// A host has some hundred addresses. A router may have a million routes, and their tail is not read.
const MAX_ADDRESSES: u64 = 8 << 20;

const HINT: &str =
    "write the address of Redis: a proxy that connects to itself opens connections without end";

/// A way in which an address leads to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    /// On every host.
    Always,
    /// On this host, because the address is one of its own.
    Here,
}

/// Reports each upstream address and sentinel that is an address which the proxy listens on.
pub(super) fn report(admin: Option<&AdminBind>, scope: &mut Scope) {
    let admin = admin.map(|admin| match admin {
        AdminBind::Tcp(addr) => Local::Tcp(*addr),
        AdminBind::Unix(file) => Local::Unix(file.clone()),
    });
    let targets = std::mem::take(&mut scope.targets);
    let mut host = Host { asks: scope.options.asks_host(), own: None };
    for (target, place) in &targets {
        // The admin endpoint may have its default address, which has no place.
        let own = admin.iter().map(|bind| (bind, None));
        let binds = scope.binds.iter().map(|(bind, place)| (bind, Some(place)));
        let found = own.chain(binds).find_map(|(bind, at)| Some((host.leads(target, bind)?, bind, at)));
        if let Some((leads, bind, at)) = found {
            let is_document = scope.options.is_document(Path::new(&*place.file));
            let line = at.filter(|at| at.file == place.file && !is_document).map(|at| at.line);
            let message = match (admin.as_ref() == Some(bind), line) {
                (true, _) => message!("{} is the admin endpoint of this proxy", target.clone()),
                (false, Some(line)) => {
                    message!("{} is an address that this proxy listens on, see line {}", target.clone(), line)
                }
                (false, None) => message!("{} is an address that this proxy listens on", target.clone()),
            };
            match leads {
                Leads::Always => scope.problems.error(place, message, HINT),
                Leads::Here => scope.problems.host(place, message, HINT),
            }
        }
    }
    scope.targets = targets;
}

/// This host, as far as it was asked.
struct Host {
    asks: bool,
    own: Option<Vec<IpAddr>>,
}

impl Host {
    /// Returns whether a connection to `target` reaches a socket that listens at `bind`.
    fn leads(&mut self, target: &Address, bind: &Local) -> Option<Leads> {
        match (target, bind) {
            (Address::Host { host, port }, Local::Tcp(addr)) if *port == addr.port() => {
                let bound = ip_of(addr);
                literal(host).into_iter().find_map(|ip| self.reaches(ip, bound))
            }
            (Address::Unix(path), Local::Unix(file)) => self.is_same_file(path, file.path()),
            _ => None,
        }
    }

    fn reaches(&mut self, ip: IpAddr, bound: IpAddr) -> Option<Leads> {
        // The socket of [::] takes IPv4 as well, unless another one has the port.
        let is_open = bound.is_unspecified() && (ip.is_ipv4() || bound.is_ipv6());
        if ip == bound || (is_open && ip.is_loopback()) {
            return Some(Leads::Always);
        }
        (is_open && self.asks && self.own().contains(&ip)).then_some(Leads::Here)
    }

    fn own(&mut self) -> &[IpAddr] {
        self.own.get_or_insert_with(|| {
            let v4 = text_of(IPV4_ADDRESSES);
            let v6 = text_of(IPV6_ADDRESSES);
            own_v4(&v4).map(IpAddr::V4).chain(own_v6(&v6).map(IpAddr::V6)).collect()
        })
    }

    fn is_same_file(&self, path: &Path, bound: &Path) -> Option<Leads> {
        if path == bound {
            return Some(Leads::Always);
        }
        (self.asks && place(path).is_some_and(|path| place(bound) == Some(path))).then_some(Leads::Here)
    }
}

fn ip_of(addr: &SocketAddr) -> IpAddr {
    match addr {
        SocketAddr::V4(v4) => IpAddr::V4(*v4.ip()),
        SocketAddr::V6(v6) => IpAddr::V6(*v6.ip()),
    }
}

/// Returns the addresses that are known without a lookup. A connection to `0.0.0.0` or `[::]` goes to this host (Linux).
fn literal(host: &str) -> Vec<IpAddr> {
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    let Ok(ip) = host.parse::<IpAddr>() else { return Vec::new() };
    vec![match ip.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }]
}

/// Returns where the file of a socket is, without the links that lead to it. It may not exist yet.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(place) = path.canonicalize() {
        return Some(place);
    }
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Some(parent.canonicalize().ok()?.join(path.file_name()?))
}

fn text_of(path: &str) -> String {
    let mut text = Vec::new();
    // Where the kernel does not tell, these addresses are not judged.
    let _ = File::open(path).and_then(|file| file.take(MAX_ADDRESSES).read_to_end(&mut text));
    String::from_utf8(text).unwrap_or_default()
}

fn own_v4(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut last = None;
    text.lines().filter_map(move |line| {
        match line.trim_start().strip_prefix("|-- ") {
            Some(address) => last = address.parse().ok(),
            None if line.trim_start().starts_with(IPV4_LOCAL) => return last,
            None => {}
        }
        None
    })
}

fn own_v6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_read() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 192.0.2.2\n        \
                    /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(own_v4(trie).collect::<Vec<_>>(), [Ipv4Addr::new(192, 0, 2, 2)]);
        let inet6 = "20010db8000000000000000000000007 04 40 00 82     eth0\nshort 01\n";
        assert_eq!(own_v6(inet6).collect::<Vec<_>>(), ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
        // Each Linux host has this one.
        assert!(own_v4(&text_of(IPV4_ADDRESSES)).any(|ip| ip == Ipv4Addr::LOCALHOST));
    }

    /// The host has 192.0.2.2 and 2001:db8::7.
    #[test]
    fn an_address_leads_to_the_socket_that_takes_it() {
        let (always, here) = (Some(Leads::Always), Some(Leads::Here));
        for (target, bind, leads) in [
            ("127.0.0.1:6380", "127.0.0.1:6380", always),
            ("127.0.0.1:6379", "127.0.0.1:6380", None),
            ("127.0.0.2:6380", "127.0.0.1:6380", None),
            ("127.0.0.2:6380", "0.0.0.0:6380", always),
            ("localhost:6380", "127.0.0.1:6380", always),
            ("LOCALHOST.:6380", "[::1]:6380", always),
            ("0.0.0.0:6380", "127.0.0.1:6380", always),
            ("[::]:6380", "[::1]:6380", always),
            ("[::ffff:127.0.0.1]:6380", "127.0.0.1:6380", always),
            ("127.0.0.1:6380", "[::]:6380", always),
            ("[::1]:6380", "[::]:6380", always),
            ("[::1]:6380", "0.0.0.0:6380", None),
            ("192.0.2.2:6380", "192.0.2.2:6380", always),
            ("192.0.2.2:6380", "0.0.0.0:6380", here),
            ("192.0.2.2:6380", "[::]:6380", here),
            ("192.0.2.3:6380", "0.0.0.0:6380", None),
            ("[2001:db8::7]:6380", "[::]:6380", here),
            ("[2001:db8::7]:6380", "0.0.0.0:6380", None),
            ("redis:6380", "0.0.0.0:6380", None),
        ] {
            let target = crate::value::socket::remote(target, Path::new("")).unwrap();
            let bind = Local::Tcp(bind.parse().unwrap());
            let own = vec!["192.0.2.2".parse().unwrap(), "2001:db8::7".parse().unwrap()];
            let mut host = Host { asks: true, own: Some(own) };
            assert_eq!(host.leads(&target, &bind), leads, "{target} {bind:?}");
            host.asks = false;
            assert_eq!(host.leads(&target, &bind), leads.filter(|leads| *leads == Leads::Always));
        }
    }
}
