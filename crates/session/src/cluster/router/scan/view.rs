//! A node's own view of the slots: the reply to CLUSTER NODES.

use portcullis_resp::slot::SLOTS;

/// The reply of a node to CLUSTER NODES, as far as SCAN needs it.
pub(super) struct View<'a> {
    text: &'a str,
    /// The configuration epoch of the node. It rises when the node gets slots, unless it is the highest.
    pub(super) epoch: u64,
    /// The ranges of slots that the node owns.
    owned: Vec<(u16, u16)>,
    /// The slots of which keys are moving to another node, and its id.
    leaving: Vec<(u16, &'a str)>,
    /// The slots of which keys are moving to the node.
    arriving: Vec<u16>,
}

/// The state of a slot at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotState<'a> {
    /// The node owns the slot, and has all its keys.
    Owned,
    /// The node owns the slot, whose keys are moving to the node with this id.
    Leaves(&'a str),
    /// The keys of the slot are moving to the node.
    Arrives,
    /// Another node owns the slot, or none.
    Elsewhere,
}

impl<'a> View<'a> {
    /// Reads the reply. `None`: it is another one.
    pub(super) fn of(reply: &'a [u8]) -> Option<Self> {
        let text = text_of(reply)?;
        let line = text.lines().find(|line| flags(line).any(|flag| flag == "myself"))?;
        let epoch = line.split(' ').nth(6)?.parse().ok()?;
        let (mut leaving, mut arriving) = (Vec::new(), Vec::new());
        for word in slots(line) {
            leaving.extend(moving(word, "->-"));
            arriving.extend(moving(word, "-<-").map(|(slot, _)| slot));
        }
        Some(Self { text, epoch, owned: slots(line).filter_map(range).collect(), leaving, arriving })
    }

    /// Returns the state of a slot at the node.
    pub(super) fn state(&self, slot: u16) -> SlotState<'a> {
        if !self.owned.iter().any(|(first, last)| (first..=last).contains(&&slot)) {
            return if self.arriving.contains(&slot) { SlotState::Arrives } else { SlotState::Elsewhere };
        }
        let leaving = self.leaving.iter().find(|(leaving, _)| *leaving == slot);
        leaving.map_or(SlotState::Owned, |(_, node)| SlotState::Leaves(node))
    }

    /// Returns the first slot from `slot` on, and before `end`, that the node does not own or whose keys are moving.
    pub(super) fn first_unsettled(&self, slot: u16, end: u16) -> u16 {
        (slot..end).find(|slot| self.state(*slot) != SlotState::Owned).unwrap_or(end)
    }

    /// Returns the id of the node that owns a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&'a str> {
        let has = |(first, last): (u16, u16)| (first..=last).contains(&slot);
        let line = self.text.lines().find(|line| slots(line).filter_map(range).any(has))?;
        line.split(' ').next()
    }
}

/// Returns the text of a bulk string or a verbatim string.
pub(super) fn text_of(reply: &[u8]) -> Option<&str> {
    let end = reply.iter().position(|byte| *byte == b'\n')?;
    let body = reply.get(end + 1..)?.strip_suffix(b"\r\n")?;
    let body = match reply.first()? {
        b'$' => body,
        b'=' => body.get(4..)?,
        _ => return None,
    };
    std::str::from_utf8(body).ok()
}

fn flags(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ').nth(2).unwrap_or_default().split(',')
}

fn slots(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ').skip(8)
}

/// Reads a range of slots, such as `0-5460`.
fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let number = |text: &str| text.parse::<u16>().ok().filter(|slot| *slot < SLOTS);
    Some((number(first)?, number(last)?))
}

/// Reads a word such as `[77->-ID]`: a slot that is moving in this direction, and the id of the other node.
fn moving<'a>(word: &'a str, arrow: &str) -> Option<(u16, &'a str)> {
    let (slot, node) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(arrow)?;
    Some((slot.parse().ok()?, node))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "a 10.0.0.1:7000@17000 myself,master - 0 0 7 connected 0-99 200 [50->-b] [150-<-b]\n\
                         b 10.0.0.1:7001@17001 master - 0 1 2 connected 100-199\n";

    #[test]
    fn slots_of_a_node() {
        for reply in
            [format!("${}\r\n{NODES}\r\n", NODES.len()), format!("={}\r\ntxt:{NODES}\r\n", NODES.len() + 4)]
        {
            let view = View::of(reply.as_bytes()).expect("a view");
            assert_eq!(view.epoch, 7);
            assert_eq!(view.state(0), SlotState::Owned);
            assert_eq!(view.state(50), SlotState::Leaves("b"));
            assert_eq!(view.state(150), SlotState::Arrives);
            assert_eq!(view.state(151), SlotState::Elsewhere);
            assert_eq!(view.state(200), SlotState::Owned);
            assert_eq!((view.first_unsettled(0, 100), view.first_unsettled(51, 300)), (50, 100));
            assert_eq!((view.owner(150), view.owner(201)), (Some("b"), None));
        }
    }

    #[test]
    fn other_replies_are_no_view() {
        for reply in [
            &b"-ERR no\r\n"[..],
            b"$0\r\n\r\n",
            b"$3\r\nabc\r\n",
            b"*0\r\n",
            b"$5\r\n\xff\xff\xff\xff\xff\r\n",
        ] {
            assert!(View::of(reply).is_none());
        }
    }
}
