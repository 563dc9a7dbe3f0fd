//! The sentinels of an upstream, and the translation of the addresses that they announce.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::credentials;
use super::servers::Kind;
use crate::address::Address;
use crate::fields::Fields;
use crate::message::{Masked, message};
use crate::model::{Sentinel, Translations};
use crate::problem::Position;
use crate::raw::Node;
use crate::scope::Scope;
use crate::validate::tls;
use crate::value;
use crate::value::socket;

/// A planned failover of Redis takes about one second between the event that begins the pause and the new master.
const PAUSE: Duration = Duration::from_secs(3);

/// Clients give up after some seconds without a reply, so a longer pause helps none of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The sentinels. Those that are worth asking are few, because each costs two connections: deployments have three to
/// seven.
const SENTINELS: Kind = Kind {
    most: 32,
    example: "write nodes: [\"10.0.0.1:26379\"]",
    fewer: "name the sentinels of this master only",
    port: "write host:port; sentinels listen on 26379 unless told otherwise",
    announced: "write host:port, as the sentinels announce it",
    file: "write host:port: sentinels and what they announce have hosts and ports",
};

/// Redis has no limit. A longer name is a mistake, and would fill log lines.
const LONGEST_MASTER: usize = 128;

/// Reads `sentinel` and `translate` of an upstream. `key`: the upstream in the configuration.
pub(super) fn read(
    node: &Node,
    translate: Option<&Node>,
    key: &str,
    scope: &mut Scope,
) -> Option<Arc<Sentinel>> {
    let translate =
        translate.map_or_else(|| Some(Translations::default()), |node| SENTINELS.translations(node, scope));
    let mut fields = Fields::of(node, "sentinel", &mut scope.problems)?;
    let name = fields
        .need("master", "write master: mymaster, the name in `sentinel monitor`", &mut scope.problems)
        .and_then(|node| master(node, scope));
    let at = fields.need("nodes", SENTINELS.example, &mut scope.problems);
    let list = at.and_then(|node| SENTINELS.nodes(node, scope));
    let login = fields.take("credentials").map(|node| credentials(node, scope));
    let own = format!("{key}.sentinel");
    let tls = fields.take("tls").map(|node| tls::upstream(node, &own, list.as_deref(), scope));
    let pause = match fields.take("pause") {
        Some(node) => pause(node, scope),
        None => Some(Some(PAUSE)),
    };
    if let Some((place, _)) = fields.find("read_from") {
        let message = "read_from is for clusters: with sentinels, the master executes every command";
        scope.problems.error(
            place,
            message,
            "remove it; an upstream with the address of a replica reads there",
        );
    }
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
