//! Commands in the bytes of a client, read a second time where the configuration wants to see their keys.

use portcullis_config::KeyForm;
use portcullis_resp::command::keys::{Frame, keys};
use portcullis_resp::command::{Access, CommandId, id, lookup};
use portcullis_resp::inline;
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Request, RequestScanner, arguments};

use crate::log::shown_key;

/// The keys of a command that are shown. A command may have a million.
const MOST_KEYS: usize = 16;

/// Commands whose arguments are secrets, or hold some. Their keys are never shown.
const SECRET: [CommandId; 5] = [id::AUTH, id::HELLO, id::ACL, id::CONFIG, id::MIGRATE];

/// The commands in the bytes of a client, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frames<'b>(&'b [u8]);

/// One command, or the part of it that is there.
#[derive(Clone, Debug)]
pub(crate) enum Taken<'b> {
    /// A frame and the number of its arguments.
    Frame(&'b [u8], u64),
    /// An inline command in its canonical form.
    Line(Vec<u8>, u64),
}

impl<'b> Frames<'b> {
    /// Takes bytes that begin with a command.
    pub(crate) const fn of(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    /// Skips this number of commands, and returns the next one. `None` if it is not there.
    pub(crate) fn nth(&mut self, place: u64) -> Option<Taken<'b>> {
        for _ in 0..place {
            self.next()?;
        }
        self.next()
    }

    /// Returns the sizes of the commands in bytes.
    pub(crate) fn sizes(mut self) -> impl Iterator<Item = u64> {
        std::iter::from_fn(move || {
            let before = self.0.len();
            self.next()?;
            Some(before.saturating_sub(self.0.len()) as u64)
        })
    }

    /// Returns the bytes after this number of commands.
    pub(crate) fn after(mut self, commands: u64) -> &'b [u8] {
        for _ in 0..commands {
            if self.next().is_none() {
                break;
            }
        }
        self.0
    }

    /// Returns the next command. `None` if too little of one is there.
    pub(crate) fn next(&mut self) -> Option<Taken<'b>> {
        loop {
            // The session has accepted the bytes, so the limits do not matter here.
            match RequestScanner::new(RequestLimits::default()).next(self.0).ok()? {
                Request::Empty { len } => self.0 = self.0.get(len..)?,
                Request::Command { len, arguments, .. } => {
                    let (frame, rest) = self.0.split_at_checked(len)?;
                    self.0 = rest;
                    return Some(Taken::Frame(frame, arguments));
                }
                Request::Head { scanned, arguments, .. } => {
                    let frame = self.0.get(..scanned)?;
                    self.0 = &[];
                    return Some(Taken::Frame(frame, arguments));
                }
                Request::Inline { len } => {
                    let (line, rest) = self.0.split_at_checked(len)?;
                    self.0 = rest;
                    let mut canonical = Vec::new();
                    return match inline::canonicalise(line, &mut canonical).ok()? {
                        0 => continue,
                        arguments => Some(Taken::Line(canonical, arguments)),
                    };
                }
                Request::Need { .. } => return None,
            }
        }
    }
}

impl Taken<'_> {
    fn bytes(&self) -> (&[u8], u64) {
        match self {
            Self::Frame(bytes, arguments) => (bytes, *arguments),
            Self::Line(bytes, arguments) => (bytes, *arguments),
        }
    }

    /// Returns the command.
    pub(crate) fn command(&self) -> CommandId {
        let name = arguments(self.bytes().0).next().unwrap_or_default();
        lookup(name).unwrap_or(CommandId::UNKNOWN)
    }

    /// Calls `each` with the first keys of the command, unless its arguments may be secrets.
    pub(crate) fn keys(&self, mut each: impl FnMut(&[u8])) {
        let (bytes, arguments) = self.bytes();
        let command = self.command();
        if SECRET.contains(&command) {
            return;
        }
        let mut left = MOST_KEYS;
        // The keys of a command that is not whole are shown as far as they are there.
        let _ = keys(command, &Frame::new(bytes, arguments), |key| {
            if left > 0 && !key.access.contains(Access::NOT_KEY) {
                left -= 1;
                each(key.key);
            }
        });
    }

    /// Returns the first keys in this form.
    pub(crate) fn shown_keys(&self, form: KeyForm) -> Vec<String> {
        let mut shown = Vec::new();
        if form != KeyForm::Off {
            self.keys(|key| shown.extend(shown_key(key, form)));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> Vec<Vec<String>> {
        let mut frames = Frames::of(bytes);
        std::iter::from_fn(|| frames.next()).map(|taken| taken.shown_keys(KeyForm::Plain)).collect()
    }

    #[test]
    fn keys_of_whole_cut_and_inline_commands() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nv\r\n\r\nGET b\r\n*3\r\n$4\r\nMGET\r\n$1\r\nc\r\n$1\r\nd\r\n\
                      *3\r\n$3\r\nSET\r\n$1\r\ne\r\n$100\r\nhalf";
        assert_eq!(plain(bytes), [vec!["a"], vec!["b"], vec!["c", "d"], vec!["e"]]);
        assert!(plain(b"*2\r\n$3\r\nGE").is_empty());
    }

    #[test]
    fn commands_have_places_and_sizes() {
        let mut frames = Frames::of(b"GET a\r\nGET bb\r\nGET c\r\n");
        assert_eq!(frames.sizes().collect::<Vec<_>>(), [7, 8, 7]);
        assert_eq!((frames.after(2), frames.after(9)), (&b"GET c\r\n"[..], &b""[..]));
        assert_eq!(frames.nth(1).map(|taken| taken.shown_keys(KeyForm::Plain)), Some(vec!["bb".to_owned()]));
        assert_eq!(frames.nth(0).map(|taken| taken.shown_keys(KeyForm::Plain)), Some(vec!["c".to_owned()]));
        assert!(frames.nth(0).is_none() && frames.nth(3).is_none());
    }

    #[test]
    fn arguments_of_secret_commands_are_no_keys() {
        for line in [
            "AUTH user canary",
            "HELLO 3 AUTH user canary",
            "ACL SETUSER a >canary",
            "CONFIG SET requirepass canary",
            "MIGRATE host 6379 canary 0 10 AUTH canary",
            "PUBLISH canary x",
            "EVAL canary 0",
        ] {
            assert_eq!(plain(format!("{line}\r\n").as_bytes()), [Vec::<String>::new()], "{line}");
        }
    }

    #[test]
    fn a_command_with_many_keys_shows_a_few() {
        let line = format!("DEL {}\r\n", (0..100).map(|n| format!("k{n} ")).collect::<String>());
        assert_eq!(plain(line.as_bytes())[0].len(), MOST_KEYS);
    }
}
