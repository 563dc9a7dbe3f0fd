//! One node's answer to the questions about its cluster.

mod nodes;
mod slots;

use std::collections::HashMap;

use portcullis_resp::slot::SLOTS;
use portcullis_resp::value::{Value, decode};

use super::endpoint::Endpoint;
use super::map::MAX_NODES;

/// The replies of one node, as they were received. `None`: the server refused the question or does not know it. Clouds
/// and proxies that imitate a cluster answer CLUSTER SLOTS only.
#[derive(Clone, Copy, Debug)]
pub struct Replies<'r> {
    /// The host that was asked. It stands for a host that the node does not announce.
    pub asked: &'r str,
    /// The reply to CLUSTER SLOTS.
    pub slots: &'r [u8],
    /// The reply to CLUSTER NODES.
    pub nodes: Option<&'r [u8]>,
    /// The reply to CLUSTER INFO.
    pub info: Option<&'r [u8]>,
}

/// The state of a cluster according to one of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    epoch: u64,
    is_ok: bool,
    myself: Option<Box<str>>,
    nodes: Vec<Announced>,
    /// The index of each node, by its id.
    places: HashMap<Box<str>, usize>,
    owners: Owners,
}

/// A node of the cluster as another node announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The node's id: 40 hex digits, except where a server imitates a cluster.
    pub id: Box<str>,
    /// The address to connect to. `None`: the node has no port, or no host that leads anywhere.
    pub address: Option<Endpoint>,
    /// All addresses under which the node is named.
    pub names: Vec<Endpoint>,
    /// The role of the node.
    pub role: Role,
    /// The slots that the node is moving to other nodes: the slot, and the id of the other node.
    pub migrating: Vec<(u16, Box<str>)>,
    /// The id of the master whose data a replica has.
    pub master: Option<Box<str>>,
}

/// The role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may own slots.
    Master,
    /// It has the data of a master.
    Replica,
}

/// The reason why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The server is no node of a cluster, or not allowed to answer.
    #[error("the server refuses CLUSTER SLOTS")]
    Refused,
    /// A reply has another form than those of Redis.
    #[error("the reply to {0} has an unknown form")]
    Form(&'static str),
    /// A range begins after its end or ends after the last slot.
    #[error("a range of slots is wrong: {0}-{1}")]
    Range(i64, i64),
    /// Two masters have the same slot.
    #[error("slot {0} has two owners")]
    Overlap(u16),
    /// There are more nodes than a map can have.
    #[error("there are more than {MAX_NODES} nodes")]
    TooManyNodes,
}

impl Answer {
    /// Reads the replies of one node.
    ///
    /// # Errors
    /// See [`AnswerFault`]. An answer with a fault is not used at all.
    pub fn read(replies: &Replies<'_>) -> Result<Self, AnswerFault> {
        let mut answer = Self {
            epoch: 0,
            // Servers that do not know CLUSTER INFO serve all their slots.
            is_ok: true,
            myself: None,
            nodes: Vec::new(),
            places: HashMap::new(),
            owners: Owners::default(),
        };
        answer.read_slots(&value(replies.slots, "CLUSTER SLOTS")?, replies.asked)?;
        if let Some(nodes) = text(replies.nodes, "CLUSTER NODES")? {
            answer.read_nodes(&nodes, replies.asked)?;
        }
        if let Some(info) = text(replies.info, "CLUSTER INFO")? {
            answer.read_info(&info);
        }
        Ok(answer)
    }

    /// The epoch of the cluster (`cluster_current_epoch`), or 0 if the node does not tell it.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the node sees a majority of the masters and an owner of each slot (`cluster_state:ok`).
    pub const fn is_ok(&self) -> bool {
        self.is_ok
    }

    /// The id of the node that answered, if it tells it.
    pub fn myself(&self) -> Option<&str> {
        self.myself.as_deref()
    }

    /// All nodes that are named.
    pub fn nodes(&self) -> &[Announced] {
        &self.nodes
    }

    /// The node with this id.
    pub fn node_with(&self, id: &str) -> Option<&Announced> {
        self.nodes.get(*self.places.get(id)?)
    }

    /// The owner of a slot, as an index of [`Self::nodes`].
    pub fn owner(&self, slot: u16) -> Option<usize> {
        self.owners.of(slot)
    }

    fn read_info(&mut self, info: &str) {
        for line in info.lines() {
            match line.split_once(':') {
                Some(("cluster_state", state)) => self.is_ok = state == "ok",
                Some(("cluster_current_epoch", epoch)) => self.epoch = epoch.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// Returns the index of the node with this id, which is added if it is new.
    fn node(&mut self, id: &str) -> Result<usize, AnswerFault> {
        if let Some(known) = self.places.get(id) {
            return Ok(*known);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(AnswerFault::TooManyNodes);
        }
        let place = self.nodes.len();
        self.places.insert(id.into(), place);
        self.nodes.push(Announced {
            id: id.into(),
            address: None,
            names: Vec::new(),
            role: Role::Master,
            migrating: Vec::new(),
            master: None,
        });
        Ok(place)
    }
}

impl Announced {
    /// Adds an address under which the node is named.
    pub(super) fn add_name(&mut self, name: Option<Endpoint>) {
        if let Some(name) = name
            && !self.names.contains(&name)
        {
            self.names.push(name);
        }
    }
}

/// The owner of each slot, as an index of [`Answer::nodes`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owners(Box<[Option<u16>]>);

impl Default for Owners {
    fn default() -> Self {
        Self(vec![None; usize::from(SLOTS)].into())
    }
}

impl Owners {
    fn of(&self, slot: u16) -> Option<usize> {
        self.0.get(usize::from(slot)).copied().flatten().map(usize::from)
    }

    /// Gives a range of slots to a node.
    fn give(&mut self, (start, end): (i64, i64), node: usize) -> Result<(), AnswerFault> {
        let wrong = AnswerFault::Range(start, end);
        let first = u16::try_from(start).map_err(|_| wrong)?;
        let last = u16::try_from(end).ok().filter(|last| *last < SLOTS && first <= *last).ok_or(wrong)?;
        let node = u16::try_from(node).map_err(|_| AnswerFault::TooManyNodes)?;
        for slot in first..=last {
            match self.0.get_mut(usize::from(slot)) {
                Some(owner @ None) => *owner = Some(node),
                Some(Some(_)) => return Err(AnswerFault::Overlap(slot)),
                None => return Err(wrong),
            }
        }
        Ok(())
    }
}

fn value(reply: &[u8], question: &'static str) -> Result<Value, AnswerFault> {
    match decode(reply) {
        Ok(Value::Error(_)) => Err(AnswerFault::Refused),
        Ok(value) => Ok(value),
        Err(_) => Err(AnswerFault::Form(question)),
    }
}

/// Returns the text of a reply. `None` if the server refuses the question.
fn text(reply: Option<&[u8]>, question: &'static str) -> Result<Option<String>, AnswerFault> {
    let Some(reply) = reply else { return Ok(None) };
    match value(reply, question) {
        Ok(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or(AnswerFault::Form(question)),
        Err(AnswerFault::Refused) => Ok(None),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests;
