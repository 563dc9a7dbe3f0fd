//! Setup commands that the gate sends on a fresh upstream connection before the client's first byte.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use portcullis_resp::encode;
use zeroize::Zeroizing;

use super::Unavailable;
use crate::shape::Shape;

/// The login as the default user of an upstream that requires no password for this user. Apart from RESET, no other
/// command returns to this user. An upstream with such a password refuses the login.
pub(crate) const AS_NOBODY: &[u8] = b"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$0\r\n\r\n";

/// The steps that set up a new upstream connection for its client, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// AUTH, if there are credentials.
    Auth,
    /// HELLO, if the connection uses RESP3 or the server must say its role.
    Hello,
    /// SELECT, if the database is not 0.
    Select,
    /// CLIENT SETNAME, if the client has a name that the server is to know.
    Name,
    /// CLIENT SETINFO, if the client has named its library to the server.
    LibName,
    /// CLIENT SETINFO, if the client has named the version of its library to the server.
    LibVer,
    /// CLIENT NO-EVICT ON, if the client has switched the mode on.
    NoEvict,
    /// CLIENT NO-TOUCH ON, if the client has switched the mode on.
    NoTouch,
    /// SCRIPT EXISTS, if the server may have lost scripts that the client has loaded.
    Scripts,
    /// READONLY, if the server is a replica that is to execute commands.
    ReadOnly,
    /// ROLE, if the reply to HELLO does not say the role that the server must say.
    Role,
}

/// Everything that a fresh connection is set up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'s> {
    /// The login, the database and the RESP version.
    pub(crate) key: &'s PoolKey,
    /// The names that the server is to know.
    pub(crate) names: Names<'s>,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    /// The SHA-1 digests of the scripts that the server must have.
    pub(crate) scripts: &'s [Digest],
    /// Whether the server is a replica that is to execute commands.
    pub(crate) is_read_only: bool,
    /// Whether ROLE asks for the role of the server.
    pub(crate) asks_role: bool,
}

/// The SHA-1 digest of a script, in hex.
pub(crate) type Digest = [u8; 40];

/// The names that a client has given itself. A name that it has not given is empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Names<'s> {
    pub(crate) name: &'s str,
    pub(crate) lib_name: &'s str,
    pub(crate) lib_ver: &'s str,
}

impl<'s> Setup<'s> {
    /// Returns the set-up of a connection that has no state but that of its key.
    pub(crate) fn of(key: &'s PoolKey) -> Self {
        Self {
            key,
            names: Names::default(),
            no_evict: false,
            no_touch: false,
            scripts: &[],
            is_read_only: false,
            asks_role: false,
        }
    }

    /// Returns the first step that the connection needs.
    pub(crate) fn first(&self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.command(self).is_some())
    }
}

impl Stage {
    const ALL: [Self; 11] = [
        Self::Auth,
        Self::Hello,
        Self::Select,
        Self::Name,
        Self::LibName,
        Self::LibVer,
        Self::NoEvict,
        Self::NoTouch,
        Self::Scripts,
        Self::ReadOnly,
        Self::Role,
    ];

    /// Returns the first step after this one that a connection needs.
    pub(crate) fn next(self, setup: &Setup<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage > self && stage.command(setup).is_some())
    }

    /// Returns the command of the step. `None` if the connection does not need the step.
    pub(crate) fn command<'s>(self, setup: &Setup<'s>) -> Option<Cow<'s, [u8]>> {
        let made = |args: &[&[u8]]| {
            let mut bytes = Vec::with_capacity(32);
            encode::command(&mut bytes, args);
            Cow::Owned(bytes)
        };
        let Setup { key, names, .. } = *setup;
        let named = |words: &[&[u8]], name: &str| {
            (!name.is_empty()).then(|| made(&[words, &[name.as_bytes()]].concat()))
        };
        let switched = |mode: &[u8], on: bool| on.then(|| made(&[b"CLIENT", mode, b"ON"]));
        match self {
            Self::Auth => key.preamble.as_ref().map(|preamble| Cow::Borrowed(preamble.bytes())),
            Self::Hello if key.resp3 => Some(made(&[b"HELLO", b"3"])),
            Self::Hello => key.asks_role.then(|| made(&[b"HELLO", b"2"])),
            Self::Select => (key.db > 0).then(|| made(&[b"SELECT", key.db.to_string().as_bytes()])),
            Self::Name => named(&[b"CLIENT", b"SETNAME"], names.name),
            Self::LibName => named(&[b"CLIENT", b"SETINFO", b"LIB-NAME"], names.lib_name),
            Self::LibVer => named(&[b"CLIENT", b"SETINFO", b"LIB-VER"], names.lib_ver),
            Self::NoEvict => switched(b"NO-EVICT", setup.no_evict),
            Self::NoTouch => switched(b"NO-TOUCH", setup.no_touch),
            Self::Scripts => (!setup.scripts.is_empty()).then(|| {
                let digests = setup.scripts.iter().map(Digest::as_slice);
                made(&[b"SCRIPT".as_slice(), b"EXISTS"].into_iter().chain(digests).collect::<Vec<_>>())
            }),
            Self::ReadOnly => setup.is_read_only.then(|| made(&[b"READONLY"])),
            Self::Role => setup.asks_role.then(|| made(&[b"ROLE"])),
        }
    }

    /// Returns whether the connection is of use although the server refuses the step.
    pub(crate) const fn is_optional(self) -> bool {
        match self {
            Self::Auth | Self::Hello | Self::Select | Self::Scripts | Self::ReadOnly | Self::Role => false,
            Self::Name | Self::LibName | Self::LibVer | Self::NoEvict | Self::NoTouch => true,
        }
    }

    /// Returns the shape of the reply to the step.
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Hello => Shape::WholeHello,
            Self::Scripts | Self::Role => Shape::Listed,
            _ => Shape::Whole,
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
    /// Whether the server must say that it is a master before it gets a command.
    pub asks_role: bool,
}

/// The meaning of a reply to the HELLO of the set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// The connection can be used.
    Welcome,
    /// The server must say its role, and does not say it here.
    Untold,
    /// The server is a replica.
    Replica,
    /// The server does not accept the HELLO.
    Refused,
    /// The reply is not one to this HELLO.
    Mismatch,
}

impl Greeting {
    /// Reads the reply to the HELLO of the set-up. A server that refuses `HELLO 2` may be older than HELLO, or its ACL
    /// forbids HELLO. A proxy may answer HELLO without a role.
    pub(crate) fn of(reply: &[u8], key: &PoolKey) -> Self {
        match (reply.first(), key.resp3) {
            (Some(b'-'), true) => Self::Refused,
            (Some(b'-'), false) if Unavailable::of_setup(reply).is_some() => Self::Refused,
            (Some(b'-'), false) => Self::Untold,
            (Some(b'%'), true) | (Some(b'*'), false) if !key.asks_role => Self::Welcome,
            (Some(b'%'), true) | (Some(b'*'), false) if says(reply, &REPLICAS) => Self::Replica,
            (Some(b'%'), true) | (Some(b'*'), false) if says(reply, &MASTER) => Self::Welcome,
            (Some(b'%'), true) | (Some(b'*'), false) => Self::Untold,
            _ => Self::Mismatch,
        }
    }
}

const MASTER: [&[u8]; 1] = [b"\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"];
const REPLICAS: [&[u8]; 2] = [b"\r\n$4\r\nrole\r\n$5\r\nslave\r\n", b"\r\n$4\r\nrole\r\n$7\r\nreplica\r\n"];

/// Returns whether the reply to HELLO has one of these fields.
fn says(reply: &[u8], fields: &[&[u8]]) -> bool {
    fields.iter().any(|field| reply.windows(field.len()).any(|bytes| bytes == *field))
}

/// Returns whether a reply to ROLE, or its beginning, says that the server is a replica. An error says nothing: the
/// user may not have the right to run ROLE.
pub(crate) fn is_role_of_replica(reply: &[u8]) -> bool {
    reply.starts_with(b"*5\r\n$5\r\nslave\r\n")
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

    /// Keeps the frame of an AUTH.
    pub(crate) fn of_frame(frame: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(frame.to_vec())))
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
