//! Rules for nftables: one set for each listener and address family, and one chain.

use std::fmt::Write as _;
use std::net::SocketAddr;

use ipnet::IpNet;
use portcullis_acl::{AdmittedNetwork, UnixSeconds};
use portcullis_config::Bind;

use super::Exported;

/// The name of the table. Loading the file again replaces the whole table.
const TABLE: &str = "inet portcullis";

/// Returns a file for `nft -f`. `made` says when and from what. An entry that ends has the time that is left.
pub(super) fn table(exported: &[Exported<'_>], made: &str, now: UnixSeconds) -> String {
    let (mut sets, mut rules) = (String::new(), String::new());
    for listener in exported.iter().filter(|listener| listener.binds.iter().any(is_tcp)) {
        set(&mut sets, listener, "v4", |net| matches!(net, IpNet::V4(_)), now);
        set(&mut sets, listener, "v6", |net| matches!(net, IpNet::V6(_)), now);
        for bind in listener.binds {
            if let Bind::Tcp { addr, v6only } = bind {
                rule(&mut rules, listener.name, *addr, *v6only);
            }
        }
    }
    format!(
        "# Made by 'portcullis export nftables' at {made}.\n\
         # Load it with 'nft -f FILE'. Make it again when the configuration changes, or an entry is extended.\n\
         table {TABLE}\n\
         delete table {TABLE}\n\
         table {TABLE} {{\n{sets}\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n{rules}\
         \t}}\n\
         }}\n"
    )
}

fn is_tcp(bind: &Bind) -> bool {
    matches!(bind, Bind::Tcp { .. })
}

fn set(
    text: &mut String,
    listener: &Exported<'_>,
    family: &str,
    is_of: impl Fn(&IpNet) -> bool,
    now: UnixSeconds,
) {
    let address = if family == "v4" { "ipv4_addr" } else { "ipv6_addr" };
    let elements: Vec<String> = listener
        .networks
        .iter()
        .filter(|network| is_of(&network.net))
        .map(|AdmittedNetwork { net, until }| match until {
            Some(until) => format!("\t\t\t{} timeout {}", short(net), left(*until, now)),
            None => format!("\t\t\t{}", short(net)),
        })
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\tset {}_{family} {{\n\t\ttype {address}\n\t\tflags interval, timeout",
        listener.name
    );
    if !elements.is_empty() {
        let _ = writeln!(text, "\t\telements = {{\n{}\n\t\t}}", elements.join(",\n"));
    }
    text.push_str("\t}\n");
}

/// Writes the rules for one address that a listener has.
fn rule(text: &mut String, name: &str, addr: SocketAddr, v6only: bool) {
    let mut drop = |family: &str, protocol: &str, to: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\t\t{to}tcp dport {} {protocol} saddr != @{name}_{family} drop", addr.port());
    };
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => drop("v4", "ip", String::new()),
        SocketAddr::V4(v4) => drop("v4", "ip", format!("ip daddr {} ", v4.ip())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            drop("v6", "ip6", String::new());
            // Such a socket takes connections over IPv4 as well.
            if !v6only {
                drop("v4", "ip", String::new());
            }
        }
        SocketAddr::V6(v6) => drop("v6", "ip6", format!("ip6 daddr {} ", v6.ip())),
    }
}

/// Returns the time until a moment. nft refuses more than eight characters between two units, so days have their own.
pub(super) fn left(until: UnixSeconds, now: UnixSeconds) -> String {
    const DAY: i64 = 24 * 60 * 60;
    let seconds = until.0.saturating_sub(now.0);
    match (seconds / DAY, seconds % DAY) {
        (0, seconds) => format!("{seconds}s"),
        (days, 0) => format!("{days}d"),
        (days, seconds) => format!("{days}d{seconds}s"),
    }
}

/// Returns a network as operators write it: a single address without its length.
fn short(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}
