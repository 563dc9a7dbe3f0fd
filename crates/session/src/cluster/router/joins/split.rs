//! The division of a command into parts: by the slots of its keys, or by nodes.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::slot::slot;

use super::Part;
use crate::cluster::NodeIndex;
use crate::cluster::router::kept::MAX_FRAME;
use crate::cluster::router::leg::LegIndex;

/// The most keys of one part. If a part fails after the header of the reply, each of its elements is an error line.
const MAX_KEYS: usize = 1024;

/// The parts of a command that are not sent yet.
#[derive(Debug)]
pub(super) struct Split {
    /// The command.
    frame: Box<[u8]>,
    by: By,
    /// The place of the first key, or node, that is not sent.
    next: usize,
    /// The place after the part that was made last.
    end: usize,
}

#[derive(Debug)]
enum By {
    /// The slot of each key, and the offset of its header in the frame, in the order of the parts. With each key go
    /// `per_key` arguments.
    Slots {
        keys: Box<[(u16, u32)]>,
        per_key: usize,
    },
    /// The whole command for the first node, and another one for the others.
    Nodes {
        nodes: Box<[NodeIndex]>,
        others: Option<Box<[u8]>>,
    },
    Legs(Box<[LegIndex]>),
}

/// The destination of a part.
pub(super) enum Target {
    Slot(u16),
    Node(NodeIndex),
    Leg(LegIndex),
}

impl Split {
    /// Divides a command whose arguments are keys, or keys and values by turns (MSET). The parts of MGET keep the order
    /// of the keys; for other commands, all keys of a slot are one part. `None`: the arguments do not fit.
    pub(super) fn by_slots(command: CommandId, frame: &[u8]) -> Option<Self> {
        let per_key = if command == id::MSET { 2 } else { 1 };
        let mut keys = Vec::new();
        let mut rest = skip_header(frame)?;
        rest = after_argument(frame, rest)?.1;
        while rest < frame.len() {
            let (key, mut next) = after_argument(frame, rest)?;
            keys.push((slot(key), u32::try_from(rest).ok()?));
            for _ in 1..per_key {
                next = after_argument(frame, next)?.1;
            }
            rest = next;
        }
        if command != id::MGET {
            keys.sort_unstable();
        }
        let by = By::Slots { keys: keys.into(), per_key };
        Some(Self { frame: frame.into(), by, next: 0, end: 0 })
    }

    /// Sends the whole command to each node.
    pub(super) fn by_nodes(frame: &[u8], nodes: Vec<NodeIndex>) -> Self {
        let by = By::Nodes { nodes: nodes.into(), others: None };
        Self { frame: frame.into(), by, next: 0, end: 0 }
    }

    /// Sends the whole command to the first node, and another one to the others.
    pub(super) fn by_first_node(frame: &[u8], nodes: Vec<NodeIndex>, others: &[u8]) -> Self {
        let by = By::Nodes { nodes: nodes.into(), others: Some(others.into()) };
        Self { frame: frame.into(), by, next: 0, end: 0 }
    }

    /// Sends the whole command by each leg.
    pub(super) fn by_legs(frame: &[u8], legs: Vec<LegIndex>) -> Self {
        Self { frame: frame.into(), by: By::Legs(legs.into()), next: 0, end: 0 }
    }

    /// Makes the next part: its destination, its frame, and what its reply must have. [`Split::advance`] goes on to the
    /// one after it.
    pub(super) fn part(&mut self) -> Option<(Target, Vec<u8>, Part)> {
        match &self.by {
            By::Legs(legs) => {
                let leg = *legs.get(self.next)?;
                self.end = self.next + 1;
                let part = Part { place: u32::try_from(self.next).unwrap_or(u32::MAX), keys: 0 };
                Some((Target::Leg(leg), self.frame.to_vec(), part))
            }
            By::Nodes { nodes, others } => {
                let node = *nodes.get(self.next)?;
                let frame = others.as_ref().filter(|_| self.next > 0).unwrap_or(&self.frame);
                self.end = self.next + 1;
                let part = Part { place: u32::try_from(self.next).unwrap_or(u32::MAX), keys: 0 };
                Some((Target::Node(node), frame.to_vec(), part))
            }
            By::Slots { keys, per_key } => {
                let (slot, place) = *keys.get(self.next)?;
                let mut body = Vec::new();
                self.end = self.next;
                for (_, at) in keys[self.next..].iter().take(MAX_KEYS).take_while(|(other, _)| *other == slot)
                {
                    let begin = usize::try_from(*at).ok()?;
                    let mut end = begin;
                    for _ in 0..*per_key {
                        end = after_argument(&self.frame, end)?.1;
                    }
                    // A longer frame would not be kept, and could not follow its slot.
                    if !body.is_empty() && body.len() + (end - begin) > MAX_FRAME / 2 {
                        break;
                    }
                    body.extend_from_slice(&self.frame[begin..end]);
                    self.end += 1;
                }
                let count = self.end - self.next;
                let name = skip_header(&self.frame)?;
                let name = &self.frame[name..after_argument(&self.frame, name)?.1];
                let mut frame = format!("*{}\r\n", 1 + count * per_key).into_bytes();
                frame.extend_from_slice(name);
                frame.append(&mut body);
                Some((Target::Slot(slot), frame, Part { place, keys: u32::try_from(count).ok()? }))
            }
        }
    }

    /// Goes on to the part after the one that was made last.
    pub(super) const fn advance(&mut self) {
        self.next = self.end;
    }

    /// Returns whether every part was made.
    pub(super) fn is_over(&self) -> bool {
        let len = match &self.by {
            By::Slots { keys, .. } => keys.len(),
            By::Nodes { nodes, .. } => nodes.len(),
            By::Legs(legs) => legs.len(),
        };
        self.next >= len
    }

    pub(super) fn held(&self) -> usize {
        let places = match &self.by {
            By::Slots { keys, .. } => size_of_val::<[_]>(keys),
            By::Nodes { nodes, others } => {
                size_of_val::<[_]>(nodes) + others.as_ref().map_or(0, |frame| frame.len())
            }
            By::Legs(legs) => size_of_val::<[_]>(legs),
        };
        self.frame.len() + places
    }
}

/// Returns the offset after the header of the array.
fn skip_header(frame: &[u8]) -> Option<usize> {
    frame.iter().position(|byte| *byte == b'\n').map(|end| end + 1)
}

/// Returns the argument whose header is at this offset, and the offset after it.
fn after_argument(frame: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = frame.get(at..)?;
    let header = rest.iter().position(|byte| *byte == b'\r')?;
    let len: usize = std::str::from_utf8(rest.get(1..header)?).ok()?.parse().ok()?;
    let begin = header + 2;
    let argument = rest.get(begin..begin.checked_add(len)?)?;
    Some((argument, at + begin + len + 2))
}
