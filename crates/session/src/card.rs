//! What a client hears of itself where upstream connections are shared.
//!
//! CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, LIST, KILL and UNBLOCK speak of connections, and no connection there is the
//! client's. So they are answered from here, as by a server that has no other client: in the words of Redis 7.0, and of
//! later ones for what it does not have: SETINFO, the fields that it sets, and KILL's MAXAGE.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::{encode, reply};

use crate::handshake::strict_integer;
use crate::observe::Peer;
use crate::subscriptions::Subscriptions;

mod kill;

/// What a client calls itself.
#[derive(Debug, Default)]
pub(crate) struct Card {
    name: Box<str>,
    lib_name: Box<str>,
    lib_ver: Box<str>,
}

/// What else there is to be said of a client.
pub(crate) struct View<'a> {
    pub(crate) peer: &'a dyn Peer,
    /// Whom it is logged in as; `default` where the gate asks for nobody.
    pub(crate) user: &'a str,
    pub(crate) db: u64,
    pub(crate) resp3: bool,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) monitors: bool,
}

/// How a command is answered: a whole reply, encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Reply(Vec<u8>),
    Error(Vec<u8>),
    /// And then the session ends.
    Killed(Vec<u8>),
}

impl Card {
    /// Answers one of the gate's subcommands of CLIENT; `args` are those after it. [`id::CLIENT`] stands for a subcommand
    /// that the table does not have, which is then the first of `args`.
    pub(crate) fn client(&mut self, subcommand: CommandId, args: &[&[u8]], view: &View<'_>) -> Said {
        let own = if subcommand == id::CLIENT { 1 } else { 2 };
        if !subcommand.info().takes(u64::try_from(args.len()).unwrap_or(u64::MAX).saturating_add(own)) {
            return wrong_arity(subcommand);
        }
        match (subcommand, args) {
            (id::CLIENT, [word, ..]) => unknown_subcommand(word),
            _ if view.subscriptions.active() && !view.resp3 => Said::Error(not_while_subscribed(subcommand)),
            (id::CLIENT_ID, _) => integer(own_id(view)),
            (id::CLIENT_GETNAME, _) => self.get_name(view),
            (id::CLIENT_SETNAME, [name]) => self.set_name(name).map_or_else(error, |()| ok()),
            (id::CLIENT_SETINFO, [attribute, value]) => self.set_info(attribute, value),
            (id::CLIENT_INFO, _) => verbatim(&self.line(subcommand, view), view),
            (id::CLIENT_LIST, _) => self.list(args, view),
            (id::CLIENT_KILL, _) => kill::kill(args, view),
            (id::CLIENT_UNBLOCK, _) => unblock(args),
            _ => error(reply::SYNTAX_ERROR),
        }
    }

    /// Takes the name of CLIENT SETNAME, or of HELLO; an empty one is none.
    ///
    /// # Errors
    /// The line that the client reads.
    pub(crate) fn set_name(&mut self, name: &[u8]) -> Result<(), &'static [u8]> {
        self.name = check_name(name)?;
        Ok(())
    }

    /// Bytes of memory.
    pub(crate) fn held(&self) -> usize {
        self.name.len() + self.lib_name.len() + self.lib_ver.len()
    }

    /// Forgets what RESET does: what a library says of itself stays.
    pub(crate) fn clear(&mut self) {
        self.name = Box::default();
    }

    fn get_name(&self, view: &View<'_>) -> Said {
        let mut out = Vec::new();
        if self.name.is_empty() {
            encode::null(&mut out, view.resp3);
        } else {
            encode::bulk(&mut out, self.name.as_bytes());
        }
        Said::Reply(out)
    }

    fn set_info(&mut self, attribute: &[u8], value: &[u8]) -> Said {
        let field = if attribute.eq_ignore_ascii_case(b"lib-name") {
            &mut self.lib_name
        } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
            &mut self.lib_ver
        } else {
            return quoting(b"-ERR Unrecognized option '", attribute, b"'\r\n");
        };
        match printable(value) {
            Some(Some(value)) => *field = value,
            Some(None) => return error(TOO_LONG),
            None => {
                let rest = b" cannot contain spaces, newlines or special characters.\r\n";
                return quoting(b"-ERR ", attribute, rest);
            }
        }
        ok()
    }

    /// An id that is named twice is listed once: Redis repeats it, and makes a large reply of a small command.
    fn list(&self, args: &[&[u8]], view: &View<'_>) -> Said {
        let listed = match args {
            [] => true,
            [by, kind] if by.eq_ignore_ascii_case(b"type") => match Kind::named(kind) {
                Some(kind) => kind == Kind::of(view),
                None => return unknown_kind(kind),
            },
            [by, ids @ ..] if by.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
                let Some(ids) = ids.iter().map(|id| strict_integer(id)).collect::<Option<Vec<_>>>() else {
                    return error(INVALID_ID);
                };
                ids.contains(&own_id(view))
            }
            _ => return error(reply::SYNTAX_ERROR),
        };
        if listed { verbatim(&self.line(id::CLIENT_LIST, view), view) } else { verbatim("", view) }
    }

    /// In Redis's order. What Redis counts and the gate does not, is 0.
    fn line(&self, command: CommandId, view: &View<'_>) -> String {
        let View { peer, user, db, subscriptions: Subscriptions { channels, patterns, shards }, .. } = view;
        let Self { name, lib_name, lib_ver } = self;
        let (id, age) = (own_id(view), peer.age().as_secs());
        let (address, local_address) = (peer.address(), peer.local_address());
        let (flags, cmd) = (flags(view), command.name());
        let resp = if view.resp3 { 3 } else { 2 };
        format!(
            "id={id} addr={address} laddr={local_address} fd=0 name={name} age={age} idle=0 flags={flags} db={db} \
             sub={channels} psub={patterns} ssub={shards} multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
             obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={cmd} user={user} redir=-1 resp={resp} lib-name={lib_name} \
             lib-ver={lib_ver}\n"
        )
    }
}

/// What CLIENT TRACKING reads where it is to REDIRECT to a client that there is not; `args` are those after TRACKING. No
/// id of another client means anything here, and the client's own none upstream. Nothing: it may travel on.
pub(crate) fn redirect(args: &[&[u8]]) -> Option<&'static [u8]> {
    let mut rest = args.get(1..)?;
    loop {
        rest = match rest {
            [word, id, ..] if word.eq_ignore_ascii_case(b"redirect") => {
                return Some(strict_integer(id).map_or(reply::NOT_AN_INTEGER, |_| NO_SUCH_REDIRECT));
            }
            [word, _, rest @ ..] if word.eq_ignore_ascii_case(b"prefix") => rest,
            [word, rest @ ..] if TRACKING.iter().any(|known| word.eq_ignore_ascii_case(known)) => rest,
            _ => return None,
        };
    }
}

/// What a RESP2 subscriber reads in reply to a command that it may not send.
pub(crate) fn not_while_subscribed(command: CommandId) -> Vec<u8> {
    let mut line = Vec::with_capacity(128);
    reply::not_while_subscribed(&mut line, command.name());
    line
}

/// Nobody else is there to be unblocked, and who asks does not block.
fn unblock(args: &[&[u8]]) -> Said {
    match args {
        [_, reason] if !reason.eq_ignore_ascii_case(b"timeout") && !reason.eq_ignore_ascii_case(b"error") => {
            error(UNBLOCK_REASON)
        }
        [id] | [id, _] => strict_integer(id).map_or_else(|| error(reply::NOT_AN_INTEGER), |_| integer(0)),
        _ => error(UNBLOCK_ARGUMENTS),
    }
}

/// Which sort of clients TYPE means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Pubsub,
    /// Replicas and masters, which no client of the gate is.
    Server,
}

impl Kind {
    fn named(word: &[u8]) -> Option<Self> {
        let kinds: [(&[u8], Self); 5] = [
            (b"normal", Self::Normal),
            (b"pubsub", Self::Pubsub),
            (b"replica", Self::Server),
            (b"slave", Self::Server),
            (b"master", Self::Server),
        ];
        kinds.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
    }

    const fn of(view: &View<'_>) -> Self {
        if view.subscriptions.active() { Self::Pubsub } else { Self::Normal }
    }
}

fn flags(view: &View<'_>) -> String {
    let set = [(view.monitors, 'O'), (Kind::of(view) == Kind::Pubsub, 'P')];
    let flags: String = set.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

fn own_id(view: &View<'_>) -> i64 {
    i64::try_from(view.peer.id()).unwrap_or(i64::MAX)
}

/// Whether a client may have this name, and as what it is kept.
///
/// # Errors
/// The line that the client reads.
pub(crate) fn check_name(name: &[u8]) -> Result<Box<str>, &'static [u8]> {
    printable(name).ok_or(reply::HELLO_BAD_NAME)?.ok_or(TOO_LONG)
}

/// Text that may be a name; within, nothing where it is longer than is kept.
fn printable(text: &[u8]) -> Option<Option<Box<str>>> {
    let text =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Some((text.len() <= MAX_TEXT).then(|| text.into()))
}

fn ok() -> Said {
    Said::Reply(reply::OK.to_vec())
}

fn integer(value: i64) -> Said {
    let mut out = Vec::with_capacity(24);
    encode::integer(&mut out, value);
    Said::Reply(out)
}

fn verbatim(text: &str, view: &View<'_>) -> Said {
    let mut out = Vec::with_capacity(text.len().saturating_add(32));
    encode::verbatim(&mut out, text.as_bytes(), view.resp3);
    Said::Reply(out)
}

fn error(line: &[u8]) -> Said {
    Said::Error(line.to_vec())
}

fn quoting(before: &[u8], text: &[u8], after: &[u8]) -> Said {
    let mut line = before.to_vec();
    encode::sanitise(&mut line, text);
    line.extend_from_slice(after);
    Said::Error(line)
}

fn wrong_arity(command: CommandId) -> Said {
    let mut line = Vec::with_capacity(64);
    reply::wrong_arity(&mut line, command.name());
    Said::Error(line)
}

fn unknown_subcommand(word: &[u8]) -> Said {
    let mut line = Vec::with_capacity(64);
    reply::unknown_subcommand(&mut line, id::CLIENT.name(), word);
    Said::Error(line)
}

fn unknown_kind(word: &[u8]) -> Said {
    quoting(b"-ERR Unknown client type '", word, b"'\r\n")
}

/// Redis keeps a name of any length. Each is kept here as long as its client stays; those that libraries and people give
/// have some dozens of bytes.
const MAX_TEXT: usize = 1 << 10;

const TOO_LONG: &[u8] = b"-ERR portcullis: a name can have 1024 bytes at most\r\n";
const INVALID_ID: &[u8] = b"-ERR Invalid client ID\r\n";
const NO_SUCH_REDIRECT: &[u8] = b"-ERR The client ID you want redirect to does not exist\r\n";
const UNBLOCK_REASON: &[u8] = b"-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n";
const UNBLOCK_ARGUMENTS: &[u8] =
    b"-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.\r\n";
const TRACKING: [&[u8]; 4] = [b"bcast", b"optin", b"optout", b"noloop"];

#[cfg(test)]
mod tests;
