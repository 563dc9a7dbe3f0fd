//! The reply to CLUSTER NODES.

use portcullis_resp::slot::SLOTS;

use super::{Answer, AnswerFault, Role};
use crate::cluster::endpoint::Endpoint;

const FORM: AnswerFault = AnswerFault::Form("CLUSTER NODES");

impl Answer {
    /// Reads the lines of the reply:
    /// `ID IP:PORT@BUS[,HOSTNAME] FLAGS MASTER PING PONG EPOCH LINK [SLOTS ...]`. CLUSTER SLOTS leaves out masters
    /// without slots; this reply has them.
    pub(super) fn read_nodes(&mut self, nodes: &str, asked: &str) -> Result<(), AnswerFault> {
        for line in nodes.lines().filter(|line| !line.is_empty()) {
            let mut words = line.split(' ');
            let (Some(id), Some(place), Some(flags)) = (words.next(), words.next(), words.next()) else {
                return Err(FORM);
            };
            let flags: Vec<&str> = flags.split(',').collect();
            // The first is a node whose id is not known yet, the second one that nobody can reach.
            if flags.contains(&"handshake") || flags.contains(&"noaddr") {
                continue;
            }
            if flags.contains(&"myself") {
                self.myself = Some(id.into());
            }
            let master = words.next().filter(|master| *master != "-");
            let slots: Vec<&str> = words.skip(4).collect();
            // A replica has taken its place. It hears of that when it answers again, and is then a replica.
            let is_replaced = flags.contains(&"fail") && slots.is_empty();
            let is_master = flags.contains(&"master") && !is_replaced;
            let index = self.node(id)?;
            let prefers_names = self.prefers_names();
            let Some(node) = self.nodes.get_mut(index) else { return Err(FORM) };
            let (ip, hostname) = addresses(place, asked)?;
            let address = if prefers_names { hostname.clone().or_else(|| ip.clone()) } else { ip.clone() };
            node.role = if is_master { Role::Master } else { Role::Replica };
            node.master = master.filter(|_| !is_master).map(Into::into);
            node.address = node.address.take().or(address);
            node.add_name(ip);
            node.add_name(hostname);
            node.migrating = slots.into_iter().filter_map(migrating).collect();
        }
        Ok(())
    }

    /// Returns whether the nodes announce names instead of addresses (`cluster-preferred-endpoint-type hostname`). So
    /// must a node be reached that owns no slot.
    fn prefers_names(&self) -> bool {
        let is_name = |address: &Endpoint| address.host().parse::<std::net::IpAddr>().is_err();
        self.nodes.iter().filter_map(|node| node.address.as_ref()).any(is_name)
    }
}

/// Reads `IP:PORT@BUS[,HOSTNAME[,FIELD=VALUE ...]]`. Returns the address and the name.
fn addresses(place: &str, asked: &str) -> Result<(Option<Endpoint>, Option<Endpoint>), AnswerFault> {
    let mut parts = place.split(',');
    let address = parts.next().unwrap_or_default();
    // Before version 4 there is no bus port.
    let address = address.split_once('@').map_or(address, |(address, _)| address);
    let (_, port) = address.rsplit_once(':').ok_or(FORM)?;
    let port = port.parse().map_err(|_| FORM)?;
    let hostname = parts.next().and_then(|name| Endpoint::new(name, port));
    Ok((Endpoint::parse(address, asked), hostname))
}

/// Reads `[SLOT->-ID]`: a slot that is moving to another node.
fn migrating(word: &str) -> Option<(u16, Box<str>)> {
    let (slot, node) = word.strip_prefix('[')?.strip_suffix(']')?.split_once("->-")?;
    let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
    Some((slot, node.into()))
}
