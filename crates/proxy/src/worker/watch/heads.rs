//! The beginnings of the commands that were sent last, so that a slow or large one can be named when its reply comes.

use super::frames::{Frames, Taken};

/// The sessions whose last batch is remembered. A session takes the place of another one with the same remainder.
const PLACES: u64 = 1024;

/// The bytes of a batch that are kept: the first commands, or the name and the key of one.
const KEPT: usize = 112;

/// The beginnings of batches, in a table that is filled as sessions need it.
#[derive(Debug, Default)]
pub(crate) struct Heads(Vec<Head>);

/// The last batch of one session.
#[derive(Clone, Debug)]
struct Head {
    session: u64,
    /// The position of the reply to the first command that is kept.
    seq: u64,
    kept: u8,
    bytes: [u8; KEPT],
    /// The bytes so far of a request that is sent in pieces.
    request: u64,
    /// The bytes so far of a reply that comes in pieces.
    reply: u64,
    /// Whether one of the commands was slow.
    slow: bool,
}

impl Head {
    const EMPTY: Self =
        Self { session: u64::MAX, seq: 0, kept: 0, bytes: [0; KEPT], request: 0, reply: 0, slow: false };

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.kept)).unwrap_or_default()
    }
}

impl Heads {
    /// Remembers commands. `seq` is the position of the reply to the first of them.
    pub(crate) fn keep(&mut self, session: u64, seq: u64, bytes: &[u8]) {
        let Some(head) = self.place(session) else { return };
        let kept = bytes.get(..KEPT).unwrap_or(bytes);
        // A reply to an earlier batch may still come.
        head.reply = if head.session == session { head.reply } else { 0 };
        (head.session, head.seq, head.request, head.slow) = (session, seq, 0, false);
        head.kept = u8::try_from(kept.len()).unwrap_or(0);
        if let Some(room) = head.bytes.get_mut(..kept.len()) {
            room.copy_from_slice(kept);
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
            let skipped = seq.checked_sub(head.seq).filter(|skipped| *skipped < KEPT as u64)?;
            Some((head, skipped))
        }) else {
            return with(None);
        };
        let mut frames = Frames::of(head.bytes());
        for _ in 0..skipped {
            if frames.next().is_none() {
                return with(None);
            }
        }
        with(frames.next().as_ref())
    }

    /// Counts bytes of a request that is sent in pieces. Returns all of them so far, and the position of its reply.
    pub(crate) fn request(&mut self, session: u64, bytes: u64) -> Option<(u64, u64)> {
        let head = self.place(session).filter(|head| head.session == session)?;
        head.request = head.request.saturating_add(bytes);
        Some((head.request, head.seq))
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
        match self.place(session).filter(|head| head.session == session && head.seq <= seq) {
            Some(head) => !std::mem::replace(&mut head.slow, true),
            None => true,
        }
    }

    fn place(&mut self, session: u64) -> Option<&mut Head> {
        let place = usize::try_from(session % PLACES).ok()?;
        if place >= self.0.len() {
            self.0.resize(place + 1, Head::EMPTY);
        }
        self.0.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::KeyForm;

    use super::*;

    fn key(heads: &mut Heads, session: u64, seq: u64) -> Option<String> {
        heads.named(session, seq, |taken| taken.map(|taken| taken.shown_keys(KeyForm::Plain).concat()))
    }

    #[test]
    fn a_command_is_named_by_the_position_of_its_reply() {
        let mut heads = Heads::default();
        heads.keep(7, 100, b"GET a\r\nSET b 1\r\nGET c\r\n");
        assert_eq!(key(&mut heads, 7, 100).as_deref(), Some("a"));
        assert_eq!(key(&mut heads, 7, 102).as_deref(), Some("c"));
        assert_eq!((key(&mut heads, 7, 103), key(&mut heads, 7, 99)), (None, None));
        heads.keep(7 + PLACES, 5, b"GET d\r\n");
        assert_eq!((key(&mut heads, 7, 100), key(&mut heads, 7 + PLACES, 5).as_deref()), (None, Some("d")));
    }

    #[test]
    fn a_batch_is_cut_and_its_first_commands_are_named() {
        let mut heads = Heads::default();
        let batch: Vec<u8> =
            (0..50).flat_map(|n| format!("*2\r\n$3\r\nGET\r\n$2\r\n{n:02}\r\n").into_bytes()).collect();
        heads.keep(1, 0, &batch);
        assert_eq!(key(&mut heads, 1, 2).as_deref(), Some("02"));
        assert_eq!(key(&mut heads, 1, 40), None);
    }

    #[test]
    fn one_command_of_a_batch_is_slow() {
        let mut heads = Heads::default();
        assert!(heads.is_first_slow(1, 0) && heads.is_first_slow(1, 1), "nothing is remembered");
        heads.keep(1, 5, b"GET a\r\nGET b\r\n");
        assert!(heads.is_first_slow(1, 5) && !heads.is_first_slow(1, 6) && heads.is_first_slow(1, 4));
        heads.keep(1, 7, b"GET c\r\n");
        assert!(heads.is_first_slow(1, 7));
    }

    #[test]
    fn pieces_are_counted_until_their_end() {
        let mut heads = Heads::default();
        assert_eq!(heads.request(3, 10), None);
        heads.keep(3, 8, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$999\r\n");
        assert_eq!((heads.request(3, 10), heads.request(3, 5)), (Some((10, 8)), Some((15, 8))));
        assert_eq!(
            (heads.reply(3, 7, false), heads.reply(3, 1, true), heads.reply(3, 2, true)),
            (Some(7), Some(8), Some(2))
        );
    }
}
