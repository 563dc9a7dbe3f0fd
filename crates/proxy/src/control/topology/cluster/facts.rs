//! Facts that the nodes tell about their servers: commands of modules, and whether there are several databases.
//!
//! Each node is asked when it answers for the first time, and then every [`EVERY`]. Only the number of its commands is
//! asked for as long as it stays the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::Address;
use portcullis_session::cluster::ServerFacts;
use tokio::time::Instant;

use super::line::Told;

/// The time between two questions to one node. A module can be loaded at any time.
const EVERY: Duration = Duration::from_secs(10);

/// The facts about the servers of one cluster.
#[derive(Debug, Default)]
pub(super) struct FactsOfNodes {
    nodes: HashMap<Address, Known>,
    server: Arc<ServerFacts>,
}

/// The facts known of one node.
#[derive(Clone, Copy, Debug)]
struct Known {
    asked_at: Instant,
    /// The number of its commands, if it has told them.
    count: Option<i64>,
}

impl FactsOfNodes {
    /// Returns the known number of commands of a node, if it is time to ask the node.
    pub(super) fn due(&mut self, address: &Address, now: Instant) -> Option<Option<i64>> {
        let count = match self.nodes.get(address) {
            Some(known) if now < known.asked_at + EVERY => return None,
            known => known.and_then(|known| known.count),
        };
        self.nodes.insert(address.clone(), Known { asked_at: now, count });
        Some(count)
    }

    /// Takes what a node tells. Returns the facts if they have changed.
    pub(super) fn told(&mut self, address: &Address, told: Told) -> Option<Arc<ServerFacts>> {
        if let Some(known) = self.nodes.get_mut(address)
            && (told.facts.is_some() || known.count == Some(told.count))
        {
            known.count = Some(told.count);
        }
        let mut server = ServerFacts::clone(&self.server).with_one_database(told.has_one_database);
        told.facts.into_iter().for_each(|facts| server.merge(facts));
        if server == *self.server {
            return None;
        }
        self.server = Arc::new(server);
        Some(Arc::clone(&self.server))
    }

    /// Forgets the nodes that are gone.
    pub(super) fn retain(&mut self, is_known: impl Fn(&Address) -> bool) {
        self.nodes.retain(|address, _| is_known(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(count: i64, facts: Option<&str>, has_one_database: bool) -> Told {
        let facts = facts.and_then(|reply| ServerFacts::read_commands(reply.as_bytes()));
        Told { count, facts, has_one_database }
    }

    #[test]
    fn a_node_is_asked_again_after_a_while() {
        let node = Address::Host { host: "10.0.0.1".to_owned(), port: 7000 };
        let mut facts = FactsOfNodes::default();
        let now = Instant::now();
        assert_eq!(facts.due(&node, now), Some(None));
        assert_eq!(facts.due(&node, now), None, "it was asked just now");
        let command = "*1\r\n*6\r\n$7\r\ndoc.get\r\n:2\r\n*0\r\n:1\r\n:1\r\n:1\r\n";
        let server = facts.told(&node, told(7, Some(command), true)).expect("something new");
        assert!(server.has_one_database() && server.command(b"doc.get", None).is_some());
        assert_eq!(facts.due(&node, now + EVERY), Some(Some(7)));
        assert_eq!(facts.told(&node, told(7, None, true)), None, "nothing new");
        let server = facts.told(&node, told(7, None, false)).expect("another number of databases");
        assert!(!server.has_one_database() && server.command(b"doc.get", None).is_some());
        facts.retain(|_| false);
        assert_eq!(facts.due(&node, now), Some(None));
    }

    /// The node has refused COMMAND, and is asked for its commands again.
    #[test]
    fn a_number_without_commands_is_not_remembered() {
        let node = Address::Host { host: "10.0.0.1".to_owned(), port: 7000 };
        let mut facts = FactsOfNodes::default();
        let now = Instant::now();
        facts.due(&node, now);
        assert_eq!(facts.told(&node, told(7, None, false)), None);
        assert_eq!(facts.due(&node, now + EVERY), Some(None));
    }
}
