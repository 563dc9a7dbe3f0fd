//! Setup commands that the gate sends on a fresh upstream connection before the client's first byte.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use portcullis_resp::encode;
use zeroize::Zeroizing;

use crate::shape::Shape;

/// The login as the default user of an upstream that requires no password for this user. Apart from RESET, no other
/// command returns to this user. An upstream with such a password refuses the login.
pub(crate) const AS_NOBODY: &[u8] = b"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$0\r\n\r\n";

/// The steps that set up a new upstream connection for its client, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// AUTH, if there are credentials.
    Auth,
    /// HELLO 3, if the connection uses RESP3.
    Hello,
    /// SELECT, if the database is not 0.
    Select,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Auth, Self::Hello, Self::Select];

    /// Returns the first step, from this one on, that a connection of this kind needs.
    pub(crate) fn needed_by(self, key: &PoolKey) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage >= self && stage.command(key).is_some())
    }

    /// Returns the first step after this one that a connection of this kind needs.
    pub(crate) fn next(self, key: &PoolKey) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self && stage.command(key).is_some())
    }

    /// Returns the command of the step. `None` if a connection of this kind does not need the step.
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

    /// Returns the shape of the reply to the step.
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Auth | Self::Select => Shape::Whole,
            Self::Hello => Shape::WholeHello,
        }
    }
}

/// The properties of a connection that change the meaning of a client's commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolKey {
    /// The gate's login. `None` if the gate does not log in.
    pub preamble: Option<Preamble>,
    /// The index of the database.
    pub db: u32,
    /// Whether the connection uses RESP3.
    pub resp3: bool,
}

/// The AUTH command that logs the gate in. Clones share the memory, which is wiped when the last clone is dropped.
/// `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Preamble(Arc<Zeroizing<Vec<u8>>>);

impl Preamble {
    /// Creates `AUTH password`, or `AUTH username password` if there is a username.
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

    /// Returns the bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preamble(..)")
    }
}
