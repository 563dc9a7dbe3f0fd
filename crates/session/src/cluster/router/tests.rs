//! Scripted situations, and a simulated cluster whose slots move at random.

mod scripted;
mod simulation;
mod subscriptions;
mod world;

use std::sync::Arc;
use std::time::Duration;

use portcullis_resp::limits::{MAX_ARGUMENTS, MAX_BULK, MAX_INLINE, RequestLimits};

use super::{Router, RouterSettings};
use crate::cluster::{Announced, Endpoint, Map, Role};

const LIMITS: RequestLimits = RequestLimits {
    bulk: MAX_BULK,
    arguments: MAX_ARGUMENTS,
    inline: MAX_INLINE,
    inline_commands: true,
    authenticated: true,
};

fn router(map: Map, held_command: usize) -> Router {
    let settings = RouterSettings {
        upstream: "main".into(),
        held_command,
        failover_wait: Some(Duration::from_secs(5)),
        seed: 0,
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
    let announced: Vec<Announced> = (0..nodes)
        .map(|node| Announced {
            id: format!("{node:040}").into(),
            address: Some(endpoint(node)),
            names: vec![endpoint(node)],
            role: Role::Master,
            migrating: Vec::new(),
        })
        .collect();
    Map::make(last, 1, &announced, owner).expect("a map")
}

/// The frame of a command.
fn frame(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    portcullis_resp::encode::command(&mut bytes, &words);
    bytes
}
