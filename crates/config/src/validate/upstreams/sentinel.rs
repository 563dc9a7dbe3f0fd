//! The sentinels of an upstream, and the translation of the addresses that they announce.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::credentials;
use crate::address::Address;
use crate::fields::{Fields, named};
use crate::message::{Masked, message};
use crate::model::Sentinel;
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::validate::tls;
use crate::value;
use crate::value::socket;

/// A planned failover of Redis takes about one second between the event that begins the pause and the new master.
const PAUSE: Duration = Duration::from_secs(3);

/// Clients give up after some seconds without a reply, so a longer pause helps none of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Sentinels that are worth asking: each costs two connections. Deployments have three to seven.
const MAX_NODES: usize = 32;

/// Redis has no limit. A longer name is a mistake, and would fill log lines.
const LONGEST_MASTER: usize = 128;

/// The hints for addresses without a port.
const SENTINEL_PORT: &str = "write host:port; sentinels listen on 26379 unless told otherwise";
const SERVER_PORT: &str = "write host:port, as the sentinels announce it";

/// Reads `sentinel` and `translate` of an upstream. `key`: the upstream in the configuration.
pub(super) fn read(
    node: &Node,
    translate: Option<&Node>,
    key: &str,
    scope: &mut Scope,
) -> Option<Arc<Sentinel>> {
    let translate = translate.map_or(Some(Vec::new()), |node| translations(node, scope));
    let mut fields = Fields::of(node, "sentinel", &mut scope.problems)?;
    let name = fields
        .need("master", "write master: mymaster, the name in `sentinel monitor`", &mut scope.problems)
        .and_then(|node| master(node, scope));
    let at = fields.need("nodes", "write nodes: [\"10.0.0.1:26379\"]", &mut scope.problems);
    let list = at.and_then(|node| nodes(node, scope));
    let login = fields.take("credentials").map(|node| credentials(node, scope));
    let own = format!("{key}.sentinel");
    let tls = fields.take("tls").map(|node| tls::upstream(node, &own, list.as_deref(), scope));
    let pause = match fields.take("pause") {
        Some(node) => pause(node, scope),
        None => Some(Some(PAUSE)),
    };
    fields.finish(&mut scope.problems);
    let (nodes, login, tls) = (
        list?,
        login.map_or(Some(None), |login| login.map(Some))?,
        tls.map_or(Some(None), |tls| tls.map(Some))?,
    );
    if let Some(at) = at.filter(|_| tls.is_none()) {
        warn_of_plain_text(&nodes, &at.place, scope);
    }
    Some(Arc::new(Sentinel {
        master: name?,
        nodes,
        credentials: login,
        tls,
        pause: pause?,
        translate: translate?,
    }))
}

/// Notes that `translate` has nothing to translate.
pub(super) fn without_sentinel(place: &Position, scope: &mut Scope) {
    let hint =
        "remove it: it translates addresses that sentinels announce, and address is used as it is written";
    scope.problems.error(place, "'translate' without 'sentinel'", hint);
}

/// Redis documents these characters for the name in `sentinel monitor`.
fn master(node: &Node, scope: &mut Scope) -> Option<String> {
    let name = value::text(node, "master", &mut scope.problems)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.len() <= LONGEST_MASTER && name.bytes().all(fits) {
        return Some(name.to_owned());
    }
    let hint = match socket::remote(name, &scope.base) {
        Ok(_) => {
            "write the name that `sentinel monitor` gives the master, such as mymaster, and the addresses of \
                  the sentinels under nodes"
        }
        Err(_) => {
            "write the name that `sentinel monitor` gives the master: letters, digits, '.', '-' and '_'"
        }
    };
    scope.problems.error(&node.place, message!("'{}' is not the name of a master", Masked::of(name)), hint);
    None
}

fn nodes(node: &Node, scope: &mut Scope) -> Option<Vec<Address>> {
    let mut nodes = Vec::new();
    let mut seen = HashSet::new();
    for item in value::list(node) {
        match address(item, "nodes", SENTINEL_PORT, scope) {
            Some(address) if !seen.insert(address.clone()) => {
                let message = message!("{} is listed twice", address);
                scope.problems.error(&item.place, message, "remove one of them");
            }
            Some(address) => nodes.push(address),
            None => {}
        }
    }
    if value::list(node).is_empty() {
        scope.problems.error(&node.place, "nodes has no address", "write nodes: [\"10.0.0.1:26379\"]");
    }
    if nodes.len() > MAX_NODES {
        let message = message!("nodes has {} addresses, and {} are allowed", nodes.len(), MAX_NODES);
        scope.problems.error(&node.place, message, "name the sentinels of this master only");
    }
    Some(nodes).filter(|nodes| !nodes.is_empty())
}

/// Reads the address of one server or sentinel. A socket file is none: sentinels announce hosts and ports.
fn address(node: &Node, what: &'static str, no_port: &'static str, scope: &mut Scope) -> Option<Address> {
    let text = value::text(node, what, &mut scope.problems)?;
    tcp(text, &node.place, no_port, scope)
}

/// `no_port`: the hint where the port is missing.
fn tcp(text: &str, place: &Position, no_port: &'static str, scope: &mut Scope) -> Option<Address> {
    if socket::is_host(text) {
        let message = message!("'{}' has no port", Masked::of(text));
        scope.problems.error(place, message, no_port);
        return None;
    }
    match socket::remote(text, &scope.base) {
        Ok(Address::Unix(_)) => {
            let hint = "write host:port: sentinels and what they announce have hosts and ports";
            scope.problems.error(place, "a socket file cannot be used here", hint);
            None
        }
        Ok(address) => Some(address),
        Err((message, hint)) => {
            scope.problems.error(place, message, hint);
            None
        }
    }
}

fn translations(node: &Node, scope: &mut Scope) -> Option<Vec<(Address, Address)>> {
    let Value::Map(_) = &node.value else {
        let message = message!("translate must be a mapping, not {}", node.kind());
        let hint = "write translate: {\"172.17.0.2:6379\": \"redis-1.example:7001\"}";
        scope.problems.error(&node.place, message, hint);
        return None;
    };
    let mut pairs = Some(Vec::new());
    for (key, node) in named(node, "translate", &mut scope.problems) {
        let (from, to) =
            (tcp(&key.text, &key.place, SERVER_PORT, scope), address(node, "translate", SERVER_PORT, scope));
        match (from, to, &mut pairs) {
            (Some(from), Some(to), Some(pairs)) => pairs.push((from, to)),
            _ => pairs = None,
        }
    }
    pairs
}

fn pause(node: &Node, scope: &mut Scope) -> Option<Option<Duration>> {
    let pause = value::duration_or_off(node, "pause", &mut scope.problems)?;
    if pause.is_some_and(|pause| pause > LONGEST_PAUSE) {
        let message = message!("pause is longer than {}", "60s");
        scope.problems.error(&node.place, message, "write pause: 3s, or off to never hold commands back");
        return None;
    }
    Some(pause)
}

/// The answers of sentinels decide where the proxy sends passwords and commands.
fn warn_of_plain_text(nodes: &[Address], place: &Position, scope: &mut Scope) {
    let remote = nodes.iter().find(|node| match node {
        Address::Host { host, .. } => {
            host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Address::Unix(_) => false,
    });
    if let Some(node) = remote {
        let message = message!(
            "sentinel {} is reached without TLS: a host that can change this traffic can name another master, which \
             then gets the commands and the credentials",
            node.clone()
        );
        scope.problems.warning(
            place,
            message,
            "set sentinel.tls, or reach the sentinels through a network that you trust",
        );
    }
}
