//! The errors by which a node says that it does not serve a command, or not now.

use portcullis_resp::slot::SLOTS;

use super::endpoint::Endpoint;

/// The slot of a redirect that names none. It is the slot of no command, so the redirect is not followed.
const NO_SLOT: u16 = SLOTS;

/// What a node of a cluster says in place of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// `-MOVED SLOT HOST:PORT`: the slot belongs to another node.
    Moved(u16, Target),
    /// `-ASK SLOT HOST:PORT`: the slot is moving to another node, which has this key already. It serves one command
    /// after ASKING.
    Ask(u16, Target),
    /// `-TRYAGAIN`: the slot is moving, and the keys of the command are not all at one node.
    TryAgain,
    /// `-CLUSTERDOWN`: the slot has no owner, or the node does not see a majority of the masters.
    ClusterDown,
}

/// The node that a redirect names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A node at this address. An empty host is the host of the node that answered
    /// (`cluster-preferred-endpoint-type unknown-endpoint`).
    Node(Endpoint),
    /// The host is `?` (`cluster-announce-hostname` is not set), or the address is not one. The next map has the node.
    Unknown,
}

impl Redirect {
    /// Reads an error line, with its type byte and with or without its CR and LF. `asked` is the host of the node that
    /// sent it. Returns `None` for any other error. A redirect without a slot has one that no command has.
    pub fn read(line: &[u8], asked: &str) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_prefix('-')?.trim_end_matches(['\r', '\n']);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "TRYAGAIN" => Some(Self::TryAgain),
            "CLUSTERDOWN" => Some(Self::ClusterDown),
            "MOVED" | "ASK" => {
                let (slot, target) = rest.split_once(' ').unwrap_or((rest, ""));
                let slot = slot.parse().ok().filter(|slot| *slot < SLOTS).unwrap_or(NO_SLOT);
                let target = Endpoint::parse(target, asked).map_or(Target::Unknown, Target::Node);
                Some(if word == "ASK" { Self::Ask(slot, target) } else { Self::Moved(slot, target) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
