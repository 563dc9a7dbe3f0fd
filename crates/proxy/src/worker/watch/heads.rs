//! The beginnings of the commands that were sent last, so that a slow or large one can be named when its reply comes.

use super::frames::{Frames, Taken};

/// The sessions whose last batch is remembered. A session takes the place of another one with the same remainder.
const PLACES: u64 = 1024;

/// The least room for commands: a small one fits.
const LEAST: usize = 64;

/// The bytes of commands that are kept for a session: with all places in use, 2 MiB for each worker. A batch of 64 small
/// commands fits.
const KEPT: usize = 2048;

/// A position that no command has.
const NONE: u64 = u64::MAX;

/// The beginnings of batches, in a table that is filled as sessions need it.
#[derive(Debug, Default)]
pub(crate) struct Heads(Vec<Head>);

/// The last commands of one session.
#[derive(Clone, Debug)]
struct Head {
    session: u64,
    /// The position of the reply to the first command that is kept.
    first: u64,
    /// The position of the reply to the first command of the last batch.
    batch: u64,
    /// The position after the last command; [`NONE`] if it is not whole, so that no other one can follow it here.
    end: u64,
    /// Room for commands. It grows as they need it, and is not cleared.
    room: Vec<u8>,
    /// The length of the commands that are kept.
    kept: usize,
    /// The bytes so far of a request that is sent in pieces.
    request: u64,
    /// The bytes so far of a reply that comes in pieces.
    reply: u64,
    /// The position of the reply to the first command of the last batch that had a slow command.
    slow: u64,
}

/// Commands that are sent together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'b> {
    /// The position of the reply to the first command.
    pub first: u64,
    /// The number of commands.
    pub commands: u64,
    /// The commands.
    pub bytes: &'b [u8],
    /// Whether the last command is complete.
    pub whole: bool,
    /// Whether no reply to an earlier command is pending, so that the earlier commands can be forgotten.
    pub alone: bool,
}

impl Head {
    const EMPTY: Self = Self {
        session: u64::MAX,
        first: 0,
        batch: 0,
        end: NONE,
        room: Vec::new(),
        kept: 0,
        request: 0,
        reply: 0,
        slow: NONE,
    };

    /// Returns whether the batch can be kept behind the commands that are kept already.
    fn has_room(&self, session: u64, batch: &Batch<'_>) -> bool {
        !batch.alone
            && self.session == session
            && self.end == batch.first
            && self.kept.saturating_add(batch.bytes.len()) <= KEPT
    }

    /// Makes room for so many bytes.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, len: usize) {
        self.room.resize(len.next_power_of_two().max(LEAST), 0);
    }
}

impl Heads {
    /// Remembers commands. This runs for each batch, so the bytes are copied at the end: then few values have to outlive
    /// the copy.
    #[inline(always)]
    pub(crate) fn keep(&mut self, session: u64, batch: &Batch<'_>) {
        let Some(head) = self.place(session) else { return };
        let mut from = head.kept;
        if !head.has_room(session, batch) {
            (from, head.first) = (0, batch.first);
        }
        if head.session != session {
            // A reply to an earlier batch of the same session may still come.
            (head.session, head.reply, head.slow) = (session, 0, NONE);
        }
        head.batch = batch.first;
        head.end = batch.first.wrapping_add(batch.commands);
        let mut bytes = batch.bytes;
        if !batch.whole {
            (head.end, head.request) = (NONE, 0);
        }
        if bytes.len() > KEPT {
            (head.end, bytes) = (NONE, bytes.get(..KEPT).unwrap_or_default());
        }
        let to = from.saturating_add(bytes.len());
        head.kept = to;
        if to > head.room.len() {
            head.grow(to);
        }
        if let Some(room) = head.room.get_mut(from..to) {
            room.copy_from_slice(bytes);
        }
    }

    /// Calls `with` with the command whose reply has this position; `None` if it is not remembered.
    pub(crate) fn named<T>(
        &mut self,
        session: u64,
        seq: u64,
        with: impl FnOnce(Option<&Taken<'_>>) -> T,
    ) -> T {
        let head = self.place(session).filter(|head| head.session == session);
        let Some((head, skipped)) = head.and_then(|head| {
            let skipped = seq.checked_sub(head.first).filter(|skipped| *skipped < KEPT as u64)?;
            Some((head, skipped))
        }) else {
            return with(None);
        };
        with(Frames::of(head.room.get(..head.kept).unwrap_or_default()).nth(skipped).as_ref())
    }

    /// Counts bytes of a request that is sent in pieces. Returns all of them so far, and the position of its reply. The
    /// request is the last command that is kept.
    pub(crate) fn request(&mut self, session: u64, bytes: u64) -> Option<(u64, u64)> {
        let head = self.place(session).filter(|head| head.session == session)?;
        head.request = head.request.saturating_add(bytes);
        Some((head.request, head.batch))
    }

    /// Counts bytes of a reply that comes in pieces. Returns all of them so far. The last piece `ends` the reply.
    pub(crate) fn reply(&mut self, session: u64, bytes: u64, ends: bool) -> Option<u64> {
        let head = self.place(session).filter(|head| head.session == session)?;
        let all = head.reply.saturating_add(bytes);
        head.reply = if ends { 0 } else { all };
        Some(all)
    }

    /// Records that the command whose reply has this position was slow. Returns whether it is the first one of its batch.
    pub(crate) fn is_first_slow(&mut self, session: u64, seq: u64) -> bool {
        match self.place(session).filter(|head| head.session == session && head.batch <= seq) {
            Some(head) => std::mem::replace(&mut head.slow, head.batch) != head.batch,
            None => true,
        }
    }

    #[inline(always)]
    fn place(&mut self, session: u64) -> Option<&mut Head> {
        let place = usize::try_from(session % PLACES).ok()?;
        if place >= self.0.len() {
            self.grow(place);
        }
        self.0.get_mut(place)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, place: usize) {
        self.0.resize(place.saturating_add(1), Head::EMPTY);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::KeyForm;

    use super::*;

    fn key(heads: &mut Heads, session: u64, seq: u64) -> Option<String> {
        heads.named(session, seq, |taken| taken.map(|taken| taken.shown_keys(KeyForm::Plain).concat()))
    }

    /// A batch of whole commands, while no reply is pending.
    fn batch(first: u64, commands: u64, bytes: &[u8]) -> Batch<'_> {
        Batch { first, commands, bytes, whole: true, alone: true }
    }

    fn gets(from: u64, commands: u64) -> Vec<u8> {
        let get = |n| format!("*2\r\n$3\r\nGET\r\n$4\r\n{n:04}\r\n").into_bytes();
        (from..from + commands).flat_map(get).collect()
    }

    #[test]
    fn a_command_is_named_by_the_position_of_its_reply() {
        let mut heads = Heads::default();
        heads.keep(7, &batch(100, 3, b"GET a\r\nSET b 1\r\nGET c\r\n"));
        assert_eq!(key(&mut heads, 7, 100).as_deref(), Some("a"));
        assert_eq!(key(&mut heads, 7, 102).as_deref(), Some("c"));
        assert_eq!((key(&mut heads, 7, 103), key(&mut heads, 7, 99)), (None, None));
        heads.keep(7 + PLACES, &batch(5, 1, b"GET d\r\n"));
        assert_eq!((key(&mut heads, 7, 100), key(&mut heads, 7 + PLACES, 5).as_deref()), (None, Some("d")));
    }

    #[test]
    fn all_commands_of_a_batch_of_64_are_named_and_a_larger_one_is_cut() {
        let mut heads = Heads::default();
        heads.keep(1, &batch(0, 64, &gets(0, 64)));
        assert_eq!(key(&mut heads, 1, 63).as_deref(), Some("0063"));
        heads.keep(1, &batch(64, 1000, &gets(64, 1000)));
        assert_eq!((key(&mut heads, 1, 64).as_deref(), key(&mut heads, 1, 800)), (Some("0064"), None));
        // Nothing can follow a command that is cut.
        heads.keep(1, &Batch { alone: false, ..batch(1064, 1, &gets(1064, 1)) });
        assert_eq!((key(&mut heads, 1, 1064).as_deref(), key(&mut heads, 1, 64)), (Some("1064"), None));
    }

    #[test]
    fn commands_with_pending_replies_are_kept_while_there_is_room() {
        let mut heads = Heads::default();
        for n in 0..200 {
            heads.keep(1, &Batch { alone: n == 0, ..batch(n, 1, &gets(n, 1)) });
            assert_eq!(key(&mut heads, 1, n), Some(format!("{n:04}")));
            // 2048 bytes have room for 89 of these commands.
            assert_eq!(key(&mut heads, 1, 0).is_some(), n < 89, "{n}");
        }
        // Position 200 is of a reply that the proxy gave, so the next command is not behind the last one.
        heads.keep(1, &Batch { alone: false, ..batch(201, 1, &gets(201, 1)) });
        assert_eq!((key(&mut heads, 1, 201).as_deref(), key(&mut heads, 1, 199)), (Some("0201"), None));
        heads.keep(1, &batch(202, 1, &gets(202, 1)));
        assert_eq!((key(&mut heads, 1, 202).as_deref(), key(&mut heads, 1, 201)), (Some("0202"), None));
    }

    #[test]
    fn one_command_of_a_batch_is_slow() {
        let mut heads = Heads::default();
        assert!(heads.is_first_slow(1, 0) && heads.is_first_slow(1, 1), "nothing is remembered");
        heads.keep(1, &batch(5, 2, b"GET a\r\nGET b\r\n"));
        assert!(heads.is_first_slow(1, 5) && !heads.is_first_slow(1, 6) && heads.is_first_slow(1, 4));
        heads.keep(1, &Batch { alone: false, ..batch(7, 1, b"GET c\r\n") });
        assert!(heads.is_first_slow(1, 7));
    }

    #[test]
    fn pieces_are_counted_until_their_end() {
        let mut heads = Heads::default();
        assert_eq!(heads.request(3, 10), None);
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$999\r\n";
        heads.keep(3, &Batch { whole: false, ..batch(8, 1, bytes) });
        assert_eq!((heads.request(3, 10), heads.request(3, 5)), (Some((10, 8)), Some((15, 8))));
        assert_eq!(
            (heads.reply(3, 7, false), heads.reply(3, 1, true), heads.reply(3, 2, true)),
            (Some(7), Some(8), Some(2))
        );
        heads.keep(3, &Batch { alone: false, ..batch(9, 1, b"GET a\r\n") });
        assert_eq!(key(&mut heads, 3, 9).as_deref(), Some("a"));
    }
}
