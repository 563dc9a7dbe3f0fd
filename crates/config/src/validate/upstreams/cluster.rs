//! The nodes by which a cluster is found.

use std::net::IpAddr;
use std::sync::Arc;

use super::servers::Kind;
use crate::address::Address;
use crate::fields::Fields;
use crate::message::message;
use crate::model::{Cluster, ReadFrom, Translations};
use crate::problem::Position;
use crate::raw::Node;
use crate::scope::Scope;
use crate::tls::ClientTls;
use crate::value;

/// The configured nodes. Any node knows all others, so that a few are enough to find the cluster when some of them are
/// down.
const NODES: Kind = Kind {
    most: 32,
    example: "write nodes: [\"10.0.0.1:6379\"]",
    fewer: "name a few nodes: each of them knows all others",
    port: "write host:port; nodes listen on 6379 unless told otherwise",
    announced: "write host:port, as the nodes announce it",
    file: "write host:port: nodes and what they announce have hosts and ports",
};

/// Reads `cluster` and `translate` of an upstream.
pub(super) fn read(node: &Node, translate: Option<&Node>, scope: &mut Scope) -> Option<Arc<Cluster>> {
    let translate =
        translate.map_or_else(|| Some(Translations::default()), |node| NODES.translations(node, scope));
    let mut fields = Fields::of(node, "cluster", &mut scope.problems)?;
    let nodes =
        fields.need("nodes", NODES.example, &mut scope.problems).and_then(|node| NODES.nodes(node, scope));
    let read_from =
        fields.take("read_from").map_or_else(|| Some(ReadFrom::default()), |node| read_from(node, scope));
    fields.finish(&mut scope.problems);
    Some(Arc::new(Cluster { nodes: nodes?, read_from: read_from?, translate: translate? }))
}

fn read_from(node: &Node, scope: &mut Scope) -> Option<ReadFrom> {
    let words = [ReadFrom::Masters, ReadFrom::Replicas].map(|value| (value.as_str(), value));
    value::word(node, "read_from", &words, &mut scope.problems)
}

/// Warns where certificates must have addresses, because only these are known of the nodes.
pub(super) fn warn_of_addresses(cluster: &Cluster, tls: &ClientTls, place: &Position, scope: &mut Scope) {
    let is_address = |node: &Address| match node {
        Address::Host { host, .. } => host.parse::<IpAddr>().is_ok(),
        Address::Unix(_) => false,
    };
    if !tls.fixes_name() && cluster.nodes().iter().all(is_address) {
        let message = message!(
            "the nodes are named by addresses only, so the certificate of each node must contain its address"
        );
        let hint = "set tls.server_name to the name that all certificates have, or name the nodes and set \
                    cluster-announce-hostname in Redis";
        scope.problems.warning(place, message, hint);
    }
}
