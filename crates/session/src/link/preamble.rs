//! What the gate says on a fresh upstream connection before the client's first byte.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use portcullis_resp::encode;
use zeroize::Zeroizing;

use crate::shape::Shape;

/// Back to the default user of an upstream that asks no password of it: the only way there short of RESET. Any other
/// upstream refuses it.
pub(crate) const AS_NOBODY: &[u8] = b"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$0\r\n\r\n";

/// The steps in which a fresh upstream connection is made what its client's state asks for, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// AUTH, where there are credentials.
    Auth,
    /// HELLO 3, where RESP3 is spoken.
    Hello,
    /// SELECT, where it is another database than the first.
    Select,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Auth, Self::Hello, Self::Select];

    /// The first step from here on that a connection of this kind needs.
    pub(crate) fn needed_by(self, key: &PoolKey) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage >= self && stage.command(key).is_some())
    }

    /// The same behind this one.
    pub(crate) fn next(self, key: &PoolKey) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self && stage.command(key).is_some())
    }

    /// What it sends; none where nothing needs to be said.
    pub(crate) fn command(self, key: &PoolKey) -> Option<Cow<'_, [u8]>> {
        let made = |args: &[&[u8]]| {
            let mut bytes = Vec::with_capacity(32);
            encode::command(&mut bytes, args);
            Cow::Owned(bytes)
        };
        match self {
            Self::Auth => key.preamble.as_ref().map(|preamble| Cow::Borrowed(preamble.bytes())),
            Self::Hello => key.resp3.then(|| made(&[b"HELLO", b"3"])),
            Self::Select => (key.db > 0).then(|| made(&[b"SELECT", key.db.to_string().as_bytes()])),
        }
    }

    /// What it gets back.
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Auth | Self::Select => Shape::Whole,
            Self::Hello => Shape::WholeHello,
        }
    }
}

/// What a connection must be for a client's commands to mean there what they mean to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolKey {
    /// What logs the gate in.
    pub preamble: Option<Preamble>,
    /// The database.
    pub db: u32,
    /// Whether RESP3 is spoken.
    pub resp3: bool,
}

/// The AUTH command that logs the gate in. Clones share it; wiped when the last is dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Preamble(Arc<Zeroizing<Vec<u8>>>);

impl Preamble {
    /// `AUTH password`, or `AUTH username password` where a user is named.
    pub fn auth(username: Option<&str>, password: &str) -> Self {
        let mut frame =
            Zeroizing::new(Vec::with_capacity(64 + password.len() + username.map_or(0, str::len)));
        match username {
            Some(username) => {
                encode::command(&mut frame, &[b"AUTH", username.as_bytes(), password.as_bytes()]);
            }
            None => encode::command(&mut frame, &[b"AUTH", password.as_bytes()]),
        }
        Self(Arc::new(frame))
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preamble(..)")
    }
}
