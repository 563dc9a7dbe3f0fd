//! The `upstreams` mapping.

mod cluster;
mod sentinel;
mod servers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::fields::{Fields, named};
use crate::message::{Masked, Message, did_you_mean, message};
use crate::model::{Cluster, Connections, Credentials, ReadFrom, Sentinel, Upstream};
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::validate::tls;
use crate::value::socket;
use crate::{secret, value};

/// Long enough for one lost SYN (1 s, RFC 6298), short enough for a client that waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Names of managed Redis change their address within a minute of a failover. A lookup costs a name server little.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// A failure asks for a lookup at once, so a shorter interval would only load the name server.
const MIN_RESOLVE_EVERY: Duration = Duration::from_secs(1);

/// Long enough for the restart of a server with little data, short enough for a client that waits.
const FAILOVER_WAIT: Duration = Duration::from_secs(5);

const CONNECTIONS: [(&str, Connections); 2] =
    [("dedicated", Connections::Dedicated), ("shared", Connections::Shared)];

/// The upstreams that were read. A faulty one keeps its name, so that listeners can refer to it.
pub(super) struct Upstreams<'n> {
    list: Vec<Read<'n>>,
    index: HashMap<&'n str, usize>,
}

pub(super) struct Read<'n> {
    pub(super) name: &'n str,
    pub(super) place: &'n Position,
    pub(super) credentials: Option<&'n Position>,
    pub(super) connections: Connections,
    pub(super) is_cluster: bool,
    upstream: Option<Upstream>,
}

impl Read<'_> {
    /// The credentials of the proxy.
    pub(super) fn login(&self) -> Option<&Credentials> {
        self.upstream.as_ref().and_then(Upstream::credentials)
    }
}

impl<'n> Upstreams<'n> {
    /// The index of the upstream a listener names.
    pub(super) fn find(&self, node: &Node, scope: &mut Scope) -> Option<usize> {
        let name = value::text(node, "upstream", &mut scope.problems)?;
        self.find_named(name, &node.place, scope)
    }

    /// The index of the upstream of that name, which is written at `place`.
    pub(super) fn find_named(&self, name: &str, place: &Position, scope: &mut Scope) -> Option<usize> {
        if let Some(index) = self.index.get(name) {
            return Some(*index);
        }
        let known: Vec<&str> = self.list.iter().map(|read| read.name).collect();
        let hint = did_you_mean(name, &known, || match known.is_empty() {
            true => "add it under upstreams".into(),
            false => message!("known upstreams: {}", Masked::names(known.iter().copied())),
        });
        let message = message!("unknown upstream '{}'", Masked::near(name, &known));
        scope.problems.error(place, message, hint);
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Read<'n>> {
        self.list.iter()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Read<'n>> {
        self.list.get(index)
    }

    pub(super) fn finish(self) -> Option<Vec<Arc<Upstream>>> {
        self.list.into_iter().map(|read| read.upstream.map(Arc::new)).collect()
    }
}

pub(super) fn read<'n>(fields: &mut Fields<'n>, scope: &mut Scope) -> Upstreams<'n> {
    let mut upstreams = Upstreams { list: Vec::new(), index: HashMap::new() };
    let example = "add upstreams: {main: {address: \"127.0.0.1:6379\"}}";
    let Some(node) = fields.need("upstreams", example, &mut scope.problems) else { return upstreams };
    for (key, node) in named(node, "upstreams", &mut scope.problems) {
        if let Some((message, hint)) = value::bad_name("upstream", &key.text) {
            scope.problems.error(&key.place, message, hint);
        }
        let connections = Connections::Dedicated;
        let mut read = Read {
            name: &key.text,
            place: &key.place,
            credentials: None,
            connections,
            is_cluster: false,
            upstream: None,
        };
        read.upstream = one(node, &mut read, scope);
        upstreams.index.insert(&key.text, upstreams.list.len());
        upstreams.list.push(read);
    }
    if upstreams.list.is_empty() {
        scope.problems.error(&node.place, "no upstreams", example);
    }
    upstreams
}

/// Reads one upstream. Facts that other checks need go to `read`, because they are known of a faulty upstream too.
fn one<'n>(node: &'n Node, read: &mut Read<'n>, scope: &mut Scope) -> Option<Upstream> {
    let mut fields = Fields::of(node, "upstream", &mut scope.problems)?;
    let key = message!("upstreams.{}", Masked::name(read.name)).into_string();
    let home = Home::read(&mut fields, &key, scope);
    read.is_cluster = home.as_ref().is_some_and(|home| home.cluster.is_some());
    let addresses = home.as_ref().map(|home| home.addresses.clone());
    let tls_node = fields.take("tls");
    let tls = tls_node.map(|node| tls::upstream(node, &key, addresses.as_deref(), scope));
    if let (Some(Some(tls)), Some(node), Some(cluster)) =
        (&tls, tls_node, home.as_ref().and_then(|home| home.cluster.as_ref()))
    {
        cluster::warn_of_addresses(cluster, tls, &node.place, scope);
    }
    let credentials_node = fields.take("credentials");
    read.credentials = credentials_node.map(|node| &node.place);
    let credentials = credentials_node.map(|node| credentials(node, scope));
    let connections = match fields.take("connections") {
        Some(node) => value::word(node, "connections", &CONNECTIONS, &mut scope.problems),
        None => Some(Connections::Dedicated),
    };
    read.connections = connections.unwrap_or(Connections::Dedicated);
    refuse_shared_readers(node, home.as_ref(), read.connections, scope);
    let connect = match fields.take("connect_timeout") {
        Some(node) => value::duration(node, "connect_timeout", &mut scope.problems),
        None => Some(CONNECT_TIMEOUT),
    };
    let response = match fields.take("response_timeout") {
        Some(node) => value::duration_or_off(node, "response_timeout", &mut scope.problems),
        None => Some(None),
    };
    let resolve_every = match fields.take("resolve_every") {
        Some(node) => resolve_every(node, scope),
        None => Some(RESOLVE_EVERY),
    };
    let failover_wait = match fields.take("failover_wait") {
        Some(node) => value::duration_or_off(node, "failover_wait", &mut scope.problems),
        None => Some(Some(FAILOVER_WAIT)),
    };
    fields.finish(&mut scope.problems);
    let Home { addresses, sentinel, cluster } = home?;
    Some(Upstream {
        name: read.name.to_owned(),
        addresses,
        sentinel,
        cluster,
        credentials: match credentials {
            None => None,
            Some(credentials) => Some(credentials?),
        },
        connections: connections?,
        connect_timeout: connect?,
        response_timeout: response?,
        resolve_every: resolve_every?,
        failover_wait: failover_wait?,
        tls: match tls {
            None => None,
            Some(tls) => Some(tls?),
        },
    })
}

/// The place of an upstream: fixed addresses, sentinels that name the address, or nodes of a cluster.
struct Home {
    addresses: Vec<Address>,
    sentinel: Option<Arc<Sentinel>>,
    cluster: Option<Arc<Cluster>>,
}

impl Home {
    fn read(fields: &mut Fields<'_>, key: &str, scope: &mut Scope) -> Option<Self> {
        let (sentinel, address) = (fields.take_with_key("sentinel"), fields.take_with_key("address"));
        let cluster = fields.take_with_key("cluster");
        let translate = fields.take_with_key("translate");
        if let (None, None, Some((place, _))) = (sentinel, cluster, translate) {
            let hint = "remove it: it translates addresses that sentinels or nodes announce, and address is used as it \
                        is written";
            scope.problems.error(place, "'translate' without 'sentinel' or 'cluster'", hint);
        }
        let translate = translate.map(|(_, node)| node);
        let none = Self { addresses: Vec::new(), sentinel: None, cluster: None };
        match (sentinel, cluster, address) {
            (Some((_, node)), None, None) => {
                Some(Self { sentinel: Some(sentinel::read(node, translate, key, scope)?), ..none })
            }
            (None, Some((_, node)), None) => {
                Some(Self { cluster: Some(cluster::read(node, translate, scope)?), ..none })
            }
            (None, None, Some((_, node))) => Some(Self { addresses: addresses(node, scope)?, ..none }),
            (None, None, None) => {
                let hint = "write address: host:port, or unix:/path, or sentinel: {master: NAME, nodes: [host:port]}";
                scope.problems.error(fields.place, "'address' is missing in upstream", hint);
                None
            }
            (sentinel, cluster, address) => {
                let keys = [("address", address), ("sentinel", sentinel), ("cluster", cluster)];
                exclude_each_other(keys, scope);
                None
            }
        }
    }
}

/// Notes that several of these keys are present. Each stands for another kind of upstream.
fn exclude_each_other(keys: [(&'static str, Option<(&Position, &Node)>); 3], scope: &mut Scope) {
    let mut present = keys.into_iter().filter_map(|(key, found)| found.map(|(place, _)| (key, place)));
    let (Some((first, _)), Some((second, place))) = (present.next(), present.next()) else { return };
    let hint = "keep address for a server that stays where it is, sentinel if sentinels name the master, or cluster if \
                each node has a part of the keys";
    scope.problems.error(place, message!("'{}' and '{}' exclude each other", first, second), hint);
}

/// Notes that a cluster has shared connections and reads from replicas.
fn refuse_shared_readers(node: &Node, home: Option<&Home>, connections: Connections, scope: &mut Scope) {
    let cluster = home.and_then(|home| home.cluster.as_ref());
    let reads_at_replicas = cluster.is_some_and(|cluster| cluster.read_from() == ReadFrom::Replicas);
    if reads_at_replicas && connections == Connections::Shared {
        let message = "read_from: replicas is not possible with shared connections";
        let hint = "write connections: dedicated, or read_from: masters";
        scope.problems.error(&node.place, message, hint);
    }
}

fn resolve_every(node: &Node, scope: &mut Scope) -> Option<Duration> {
    let every = value::duration(node, "resolve_every", &mut scope.problems)?;
    if every < MIN_RESOLVE_EVERY {
        let message = message!("resolve_every is shorter than {}", "1s");
        scope.problems.error(&node.place, message, "write resolve_every: 1s, or longer");
        return None;
    }
    Some(every)
}

fn addresses(node: &Node, scope: &mut Scope) -> Option<Vec<Address>> {
    let mut addresses = Vec::new();
    let mut seen = HashSet::new();
    for item in value::list(node) {
        let address = value::text(item, "address", &mut scope.problems)
            .and_then(|text| socket::remote(text, &scope.base).map_err(|why| note(item, why, scope)).ok());
        match address {
            Some(address) if !seen.insert(address.clone()) => {
                let message = message!("{} is listed twice", address);
                scope.problems.error(&item.place, message, "remove one of them");
            }
            Some(address) => {
                scope.targets.push((address.clone(), item.place.clone()));
                addresses.push(address);
            }
            None => {}
        }
    }
    if value::list(node).is_empty() {
        scope.problems.error(&node.place, "address has no value", "write address: host:port, or unix:/path");
    }
    Some(addresses).filter(|addresses| !addresses.is_empty())
}

fn note(node: &Node, (message, hint): (Message, Message), scope: &mut Scope) {
    scope.problems.error(&node.place, message, hint);
}

pub(super) fn credentials(node: &Node, scope: &mut Scope) -> Option<Credentials> {
    if let Value::Scalar(_) = &node.value {
        let hint = "put the password into a file, and write credentials: {password: {file: PATH}}, or \
                    {username: NAME, password: {file: PATH}}";
        scope.problems.error(&node.place, "credentials must be a mapping, not a single value", hint);
        return None;
    }
    let mut fields = Fields::of(node, "credentials", &mut scope.problems)?;
    let username = fields.take("username").map(|node| value::text(node, "username", &mut scope.problems));
    let password = fields
        .need("password", "write password: {file: PATH} or {env: NAME}", &mut scope.problems)
        .and_then(|node| secret::read(node, "password", scope));
    fields.finish(&mut scope.problems);
    let username = match username {
        None => None,
        Some(name) => Some(name?.to_owned()),
    };
    Some(Credentials { username, password: password? })
}
