//! The reply to CLUSTER SLOTS.

use portcullis_resp::value::Value;

use super::{Answer, AnswerFault, Role};
use crate::cluster::endpoint::Endpoint;

const FORM: AnswerFault = AnswerFault::Form("CLUSTER SLOTS");

/// One node of an entry.
struct Entry<'v> {
    host: Option<&'v str>,
    port: u16,
    /// The id. Servers that imitate a cluster may leave it out; then the address identifies the node.
    id: Option<&'v str>,
    /// Further hosts, by their names: `ip`, `hostname`.
    metadata: Option<&'v Value>,
}

impl<'v> Entry<'v> {
    /// Reads `[host, port, id, metadata]`. Later elements, which later servers may add, are ignored.
    fn of(value: &'v Value) -> Result<Self, AnswerFault> {
        let [host, port, rest @ ..] = value.as_array().ok_or(FORM)? else { return Err(FORM) };
        let host = match host {
            Value::Null => None,
            host => Some(host.as_str().ok_or(FORM)?),
        };
        let port = port.as_integer().and_then(|port| u16::try_from(port).ok()).ok_or(FORM)?;
        Ok(Self { host, port, id: rest.first().and_then(Value::as_str), metadata: rest.get(1) })
    }

    fn more(&self, field: &str) -> Option<Endpoint> {
        Endpoint::new(self.metadata?.field(field)?.as_str()?, self.port)
    }

    /// Returns the address to connect to. A host that is null or empty is the one that was asked
    /// (`cluster-preferred-endpoint-type unknown-endpoint`, or a node that met no other). `?` is a host name that is
    /// not set: the address among the metadata is used.
    fn address(&self, asked: &str) -> Option<Endpoint> {
        match self.host {
            None | Some("") => Endpoint::new(asked, self.port),
            Some("?") => self.more("ip"),
            Some(host) => Endpoint::new(host, self.port),
        }
    }
}

impl Answer {
    /// Reads the ranges with their owners, and the replicas of these.
    pub(super) fn read_slots(&mut self, slots: &Value, asked: &str) -> Result<(), AnswerFault> {
        for range in slots.as_array().ok_or(FORM)? {
            let [start, end, master, replicas @ ..] = range.as_array().ok_or(FORM)? else { return Err(FORM) };
            let (Some(start), Some(end)) = (start.as_integer(), end.as_integer()) else { return Err(FORM) };
            let owner = self.add(&Entry::of(master)?, None, asked)?;
            if let Some(owner) = owner {
                self.owners.give((start, end), owner)?;
            }
            let Some(master) = owner.and_then(|owner| self.nodes.get(owner)).map(|node| node.id.clone())
            else {
                continue;
            };
            for replica in replicas.iter().filter(|value| value.as_array().is_some()) {
                self.add(&Entry::of(replica)?, Some(&master), asked)?;
            }
        }
        Ok(())
    }

    /// Adds a node, which is a replica if it has a `master`. Returns its index. `None`: the node has neither an id nor an
    /// address.
    fn add(
        &mut self,
        entry: &Entry<'_>,
        master: Option<&str>,
        asked: &str,
    ) -> Result<Option<usize>, AnswerFault> {
        let address = entry.address(asked);
        let index = match (entry.id, &address) {
            (Some(id), _) => self.node(id)?,
            (None, Some(address)) => self.node(&address.to_string())?,
            (None, None) => return Ok(None),
        };
        let names = [address.clone(), entry.more("ip"), entry.more("hostname")];
        if let Some(node) = self.nodes.get_mut(index) {
            node.role = if master.is_some() { Role::Replica } else { Role::Master };
            node.master = master.map(Into::into);
            node.address = node.address.take().or(address);
            names.into_iter().for_each(|name| node.add_name(name));
        }
        Ok(Some(index))
    }
}
