//! Scripted situations, and a simulated cluster whose slots move at random.

mod ahead;
mod connection;
mod failover;
mod joins;
mod learned;
mod places;
mod readers;
mod scan;
mod scripted;
mod shared;
mod simulation;
mod subscriptions;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_resp::limits::{MAX_ARGUMENTS, MAX_BULK, MAX_INLINE, RequestLimits};
use portcullis_resp::scan::{Request, RequestScanner, arguments};

use super::{Router, RouterSettings};
use crate::cluster::{Announced, Endpoint, LegIndex, Map, Role};
use crate::link::PoolKey;

const LIMITS: RequestLimits = RequestLimits {
    bulk: MAX_BULK,
    arguments: MAX_ARGUMENTS,
    inline: MAX_INLINE,
    inline_commands: true,
    authenticated: true,
};

fn router(map: Map, held_command: usize) -> Router {
    router_of(map, held_command, None)
}

/// Makes the router of a client on shared connections without a login.
fn shared_router(map: Map, held_command: usize) -> Router {
    router_of(map, held_command, Some(PoolKey::default()))
}

fn router_of(map: Map, held_command: usize, shared: Option<PoolKey>) -> Router {
    let settings = RouterSettings {
        upstream: "main".into(),
        held_command,
        failover_wait: Some(Duration::from_secs(5)),
        reads_at_replicas: false,
        seed: 0,
        shared,
    };
    Router::new(settings, Arc::new(map))
}

/// The address of a simulated node.
fn endpoint(node: usize) -> Endpoint {
    let port = u16::try_from(7000 + node).expect("a port");
    Endpoint::new("10.0.0.1", port).expect("an endpoint")
}

/// Makes the map of `nodes` masters with these owners.
fn map(last: Option<&Map>, nodes: usize, owner: impl Fn(u16) -> Option<usize>) -> Map {
    map_with(last, nodes, |_| Role::Master, owner)
}

/// Makes the map of `nodes` nodes with these roles and owners.
fn map_with(
    last: Option<&Map>,
    nodes: usize,
    role: impl Fn(usize) -> Role,
    owner: impl Fn(u16) -> Option<usize>,
) -> Map {
    Map::make(last, 1, &announced(nodes, role), owner).expect("a map")
}

/// Makes the map that follows, in which a slot is moving.
fn migrating(last: &Map, slot: u16, from: usize, to: usize) -> Map {
    let mut nodes = announced(last.nodes().len(), |_| Role::Master);
    let heir = nodes[to].id.clone();
    nodes[from].migrating.push((slot, heir));
    let owner = |slot| last.owner(slot).map(crate::cluster::NodeIndex::number);
    Map::make(Some(last), 1, &nodes, owner).expect("a map")
}

fn announced(nodes: usize, role: impl Fn(usize) -> Role) -> Vec<Announced> {
    let node = |node| Announced {
        id: format!("{node:040}").into(),
        address: Some(endpoint(node)),
        names: vec![endpoint(node)],
        role: role(node),
        migrating: Vec::new(),
        master: None,
    };
    (0..nodes).map(node).collect()
}

/// Takes what the router writes, as far as it does.
fn write_all(router: &mut Router, written: &mut BTreeMap<LegIndex, Vec<u8>>) {
    let legs: Vec<_> = router.unwritten().collect();
    for leg in legs {
        let bytes = router.bytes_for(leg).to_vec();
        note_written(router, leg, bytes.len());
        written.entry(leg).or_default().extend(bytes);
    }
}

/// Records that bytes of a leg were written: some, or all by a shared connection.
fn note_written(router: &mut Router, leg: LegIndex, n: usize) {
    if !router.is_pooled(leg) {
        return router.wrote(leg, n);
    }
    let mut bytes = &router.bytes_for(leg)[..n];
    assert_eq!(bytes.len(), router.bytes_for(leg).len());
    let mut commands = 0;
    while !bytes.is_empty() {
        let Ok(Request::Command { len, .. }) = RequestScanner::new(LIMITS).next(bytes) else {
            panic!("a part of a command: {bytes:?}");
        };
        let name = arguments(bytes).next().expect("a name");
        assert!(!name.eq_ignore_ascii_case(b"ASKING"), "state on a shared connection");
        bytes = &bytes[len..];
        commands += 1;
    }
    assert_eq!(router.commands_for(leg), commands);
    router.gave(leg);
}

/// The frame of a command.
fn frame(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    portcullis_resp::encode::command(&mut bytes, &words);
    bytes
}
