//! Addresses and prefixes in lists that do not come from a proxy's configuration.

use std::net::IpAddr;

use ipnet::IpNet;

use super::draft::{Admission, Door, Limits, Name, Target};
use super::express::{Entry, Lists};
use super::place::Bind;
use super::review::Review;
use super::sources::{Net, UNSPECIFIED};

/// The default port of Redis. Such a list does not say where clients connect or where Redis is.
pub(super) const REDIS_PORT: u16 = 6379;
/// A placeholder for the address of Redis. The domain `.invalid` never resolves (RFC 2606), so the operator must first
/// name the real host.
pub(super) const NOWHERE: &str = "redis.invalid:6379";

/// Reads an address, or a prefix whose host bits are zero.
///
/// # Errors
/// The reason why the text is neither.
pub(super) fn network(text: &str) -> Result<Net, &'static str> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return match ip.to_canonical() == ip {
            _ if ip.is_unspecified() => Err(UNSPECIFIED),
            true => Ok(Net::host(ip)),
            false => Err("write the IPv4 address"),
        };
    }
    let (ip, len) = text.split_once('/').ok_or("not an address")?;
    let plain = len.len() <= 3 && len.bytes().all(|byte| byte.is_ascii_digit());
    let (ip, len) = (ip.parse::<IpAddr>(), len.parse::<u8>());
    let (Ok(ip), Ok(len), true) = (ip, len, plain) else { return Err("not an address or a prefix") };
    let net = IpNet::new(ip, len).map_err(|_| "a longer prefix than an address has")?;
    if net.network() != ip {
        return Err("it has bits behind the prefix, so it may mean one address or a network");
    }
    if ip.is_unspecified() && len == net.max_prefix_len() {
        return Err(UNSPECIFIED);
    }
    Ok(Net::Inet(net))
}

/// Returns a listener for a list that does not describe one. The listener has placeholders for its address and its
/// upstream.
pub(super) fn door(
    allow: Vec<Entry>,
    deny: Vec<Entry>,
    review: &Review,
    refusal: Option<&'static str>,
) -> Door {
    Door {
        at: 1.into(),
        name: Name::Ours("public".to_owned()),
        binds: vec![Bind::any_v4(REDIS_PORT)],
        upstream: Target { name: None, addresses: vec![NOWHERE.to_owned()], tls: None },
        admission: Admission::of(Lists { allow, deny }, review),
        senders: None,
        tls: None,
        limits: Limits::default(),
        refusal,
    }
}
