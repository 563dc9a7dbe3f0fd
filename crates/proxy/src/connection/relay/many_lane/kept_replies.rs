//! Replies that came on a shared connection and are not passed on yet.

use portcullis_session::Part;

/// The error in place of a reply for which there was no room while the client waited for another node.
const TOO_LARGE: &[u8] = b"-ERR portcullis: reply too large out of turn; the command has run\r\n";

/// The memory that is kept while no replies wait.
const KEPT: usize = 4 * 1024;

/// The bytes that were taken from which the others move to the beginning. They are at least half then, so each byte is
/// moved once on average.
const COMPACTED: usize = 64 * 1024;

/// The replies that came for a leg.
pub(super) struct KeptReplies {
    /// The most bytes that wait.
    limit: usize,
    bytes: Vec<u8>,
    /// The number of `bytes` that were taken.
    taken: usize,
    /// The beginning of the incomplete reply in `bytes`, of which nothing was taken.
    begun: Option<usize>,
    /// Whether the rest of the incomplete reply is dropped.
    drops: bool,
}

impl KeptReplies {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), taken: 0, begun: None, drops: false }
    }

    /// Returns the number of bytes that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(super) const fn is_full(&self) -> bool {
        self.waiting() >= self.limit
    }

    /// Returns the bytes of memory that the replies occupy.
    pub(super) const fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Moves bytes into `room`. Returns their number.
    pub(super) fn take(&mut self, room: &mut [u8]) -> usize {
        let waiting = &self.bytes[self.taken..];
        let n = waiting.len().min(room.len());
        room[..n].copy_from_slice(&waiting[..n]);
        self.taken += n;
        self.begun = self.begun.filter(|begun| *begun >= self.taken);
        if self.taken == self.bytes.len() {
            self.taken = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
        } else if self.taken >= COMPACTED && self.taken * 2 >= self.bytes.len() {
            self.bytes.drain(..self.taken);
            self.begun = self.begun.map(|begun| begun - self.taken);
            self.taken = 0;
        }
        n
    }

    /// Adds a part of a reply. A reply that does not fit becomes an error, if it is not the turn of the leg: the
    /// connection is read for other clients too, and must not wait for another node.
    pub(super) fn add(&mut self, part: &Part<'_>, is_in_turn: bool) {
        let is_too_long = !is_in_turn && self.waiting() + part.bytes.len() > self.limit;
        match self.begun {
            _ if self.drops => return self.refuse(part.ended),
            _ if !is_too_long => {}
            _ if part.first => return self.refuse(part.ended),
            Some(begun) => {
                self.bytes.truncate(begun);
                return self.refuse(part.ended);
            }
            // The client has read the beginning.
            None => {}
        }
        if part.ended > 0 {
            self.begun = None;
        } else if part.first {
            self.begun = Some(self.bytes.len());
        }
        self.bytes.extend_from_slice(part.bytes);
    }

    /// Adds errors in place of `n` replies. If there are none, the reply is incomplete.
    fn refuse(&mut self, n: u64) {
        self.begun = None;
        self.drops = n == 0;
        (0..n).for_each(|_| self.bytes.extend_from_slice(TOO_LARGE));
    }
}

#[cfg(test)]
mod tests {
    use portcullis_session::{Incoming, Link, SessionKey, Shape, Ticket};

    use super::*;

    const LIMIT: usize = 64;

    /// Adds what the link makes of the bytes, which come in pieces of this size.
    fn add(replies: &mut KeptReplies, bytes: &[u8], piece: usize, is_in_turn: bool) {
        let mut link = Link::new();
        link.expect(Ticket { session: SessionKey(1), seq: 0 }, 1000, Shape::One);
        let (mut at, mut end) = (0, 0);
        while at < bytes.len() {
            end = bytes.len().min(end + piece);
            while let Incoming::Part(part) = link.next(&bytes[at..end]) {
                replies.add(&part, is_in_turn);
                at += part.bytes.len();
            }
        }
    }

    fn take_all(replies: &mut KeptReplies) -> String {
        let mut bytes = Vec::new();
        let mut room = [0; 7];
        loop {
            match replies.take(&mut room) {
                0 => return String::from_utf8(bytes).expect("text"),
                n => bytes.extend_from_slice(&room[..n]),
            }
        }
    }

    fn bulk(len: usize) -> String {
        format!("${len}\r\n{}\r\n", "x".repeat(len))
    }

    #[test]
    fn replies_pass_unchanged_in_turn() {
        for piece in [1, 5, 100, 10_000] {
            let all = [bulk(3), bulk(1000), bulk(5)].concat();
            let mut replies = KeptReplies::new(LIMIT);
            add(&mut replies, all.as_bytes(), piece, true);
            assert!(replies.is_full());
            assert_eq!(take_all(&mut replies), all, "pieces of {piece}");
            assert!(replies.held() <= KEPT);
        }
    }

    #[test]
    fn a_reply_that_does_not_fit_out_of_turn_becomes_one_error() {
        let error = std::str::from_utf8(TOO_LARGE).expect("text");
        for piece in [1, 5, 100] {
            let mut replies = KeptReplies::new(LIMIT);
            add(&mut replies, bulk(20).as_bytes(), piece, false);
            add(&mut replies, bulk(1000).as_bytes(), piece, false);
            assert_eq!(take_all(&mut replies), [&bulk(20), error].concat(), "pieces of {piece}");
            add(&mut replies, bulk(20).as_bytes(), piece, false);
            assert_eq!(take_all(&mut replies), bulk(20), "there is room again");
        }
    }

    #[test]
    fn what_the_client_has_read_in_part_comes_whole() {
        let mut replies = KeptReplies::new(LIMIT);
        let reply = bulk(1000);
        let part = |range: std::ops::Range<usize>, first, ended| Part {
            ticket: Ticket { session: SessionKey(1), seq: 0 },
            ended,
            first,
            head: portcullis_resp::scan::ReplyHead { kind: b'$', count: 1000 },
            confirmation: false,
            bytes: &reply.as_bytes()[range],
        };
        replies.add(&part(0..100, true, 0), true);
        assert_eq!(take_all(&mut replies).len(), 100);
        replies.add(&part(100..reply.len(), false, 1), false);
        assert_eq!(take_all(&mut replies), reply[100..]);
    }
}
