//! What a client hears of itself and of others where the gate answers for Redis.
//!
//! CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, LIST, KILL and UNBLOCK speak of connections. Where upstream connections are
//! shared, none of them is the client's; and under `@public` Redis would show all of its clients. So they are answered from
//! here: in the words of Redis 7.0, and of later ones for what it does not have: SETINFO, the fields that it sets, and KILL's
//! MAXAGE.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::{encode, reply};

use crate::link::Subscriptions;
use crate::local::clients::{Action, Findings, Inquiry, ListedView};
use crate::local::hello::strict_integer;
use crate::observe::Peer;

mod filter;

pub use self::filter::Filter;

/// What a client calls itself.
#[derive(Debug, Default)]
pub(crate) struct ClientInfo {
    name: Box<str>,
    lib_name: Box<str>,
    lib_ver: Box<str>,
}

/// A client's words about itself, until Redis has taken them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Introduction {
    field: Field,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    LibName,
    LibVer,
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
    /// It may be waiting in a blocking command.
    pub(crate) blocks: bool,
    /// The number of commands in its transaction, if it is in one.
    pub(crate) queued: Option<u64>,
    /// Whether it sees only the clients of its listener and user.
    pub(crate) narrow: bool,
    pub(crate) masked: Masked,
}

/// Where a client comes from and where it came to; nothing for what is hidden.
type Addresses = [Option<String>; 2];

/// Which addresses are hidden. Under `@public` a client learns no address but the one that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masked {
    None,
    /// Where the client came to.
    Local,
    /// That, and where it comes from.
    Both,
}

/// How a command is answered: a whole reply, encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Reply(Vec<u8>),
    Error(Vec<u8>),
    /// Other sessions have to be asked first.
    Ask(Action, Filter),
}

impl ClientInfo {
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
            (id::CLIENT_INFO, _) => {
                verbatim(&self.line(subcommand.name(), view, &view.addresses()), view.resp3)
            }
            (id::CLIENT_LIST, _) => {
                Filter::of_list(args).map_or_else(|said| said, |filter| Said::Ask(Action::List, filter))
            }
            (id::CLIENT_KILL, _) => Filter::of_kill(args, view)
                .map_or_else(|said| said, |(action, filter)| Said::Ask(action, filter)),
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

    /// What CLIENT SETNAME or SETINFO says of the client; `args` are those after the subcommand. Nothing where Redis refuses
    /// it.
    ///
    /// # Errors
    /// The line that the client reads where it is more than is kept.
    pub(crate) fn introduction(
        subcommand: CommandId,
        args: &[&[u8]],
    ) -> Option<Result<Introduction, &'static [u8]>> {
        let (field, text) = match (subcommand, args) {
            (id::CLIENT_SETNAME, [name]) => (Field::Name, name),
            (id::CLIENT_SETINFO, [field, value]) if field.eq_ignore_ascii_case(b"lib-name") => {
                (Field::LibName, value)
            }
            (id::CLIENT_SETINFO, [field, value]) if field.eq_ignore_ascii_case(b"lib-ver") => {
                (Field::LibVer, value)
            }
            _ => return None,
        };
        printable(text).map(|text| text.map(|text| Introduction { field, text }).ok_or(TOO_LONG))
    }

    /// Keeps what the client says of itself.
    pub(crate) fn take(&mut self, introduction: Introduction) {
        let Introduction { field, text } = introduction;
        match field {
            Field::Name => self.name = text,
            Field::LibName => self.lib_name = text,
            Field::LibVer => self.lib_ver = text,
        }
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

    /// In Redis's order. What Redis counts and the gate does not, is 0.
    fn line(&self, command: &str, view: &View<'_>, shown: &Addresses) -> String {
        let View { peer, user, db, subscriptions: Subscriptions { channels, patterns, shards }, .. } = view;
        let Self { name, lib_name, lib_ver } = self;
        let (id, age, idle) = (own_id(view), peer.age().as_secs(), peer.idle().as_secs());
        let [address, local_address] = shown.each_ref().map(|known| known.as_deref().unwrap_or(HIDDEN));
        let (flags, cmd) = (flags(view), command);
        let multi = view.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        let resp = if view.resp3 { 3 } else { 2 };
        format!(
            "id={id} addr={address} laddr={local_address} fd=0 name={name} age={age} idle={idle} flags={flags} db={db} \
             sub={channels} psub={patterns} ssub={shards} multi={multi} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
             obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={cmd} user={user} redir=-1 resp={resp} lib-name={lib_name} \
             lib-ver={lib_ver}\n"
        )
    }
}

impl View<'_> {
    /// Where the client comes from and where it came to; nothing for what is hidden.
    fn addresses(&self) -> Addresses {
        [
            (self.masked != Masked::Both).then(|| self.peer.address()),
            (self.masked == Masked::None).then(|| self.peer.local_address()),
        ]
    }
}

impl ClientInfo {
    /// The client's line and what a filter looks at. Which command a client sent last is known of the asker only.
    pub(crate) fn listed(&self, view: &View<'_>, asks: bool) -> (String, ListedView) {
        let command = if asks { id::CLIENT_LIST.name() } else { "NULL" };
        let shown = view.addresses();
        let line = self.line(command, view, &shown);
        let [address, local_address] = shown;
        let (kind, age) = (Kind::of(view), view.peer.age());
        (line, ListedView { address, local_address, kind, age, user: view.user.into() })
    }
}

/// The reply to an inquiry. [`Action::Unblock`] has none: Redis gives it.
pub(crate) fn reply_to(inquiry: &Inquiry, findings: &Findings, resp3: bool) -> Said {
    let Findings { lines, clients, knows_user, .. } = findings;
    match (inquiry.action, inquiry.filter.user()) {
        (Action::List, _) => verbatim(lines, resp3),
        (Action::KillAddress, _) if *clients > 0 => ok(),
        (Action::KillAddress, _) => error(NO_SUCH_CLIENT),
        (_, Some(user)) if !inquiry.narrow && !knows_user && user != b"default" => filter::no_such_user(user),
        (Action::Kill | Action::Unblock { .. }, _) => integer(i64::try_from(*clients).unwrap_or(i64::MAX)),
    }
}

/// What CLIENT TRACKING reads where it is to REDIRECT to a client that there is not; `args` are those after TRACKING. No
/// id of another client means anything here, and the client's own none upstream. Nothing: it may travel on.
pub(crate) fn redirect(args: &[&[u8]]) -> Option<&'static [u8]> {
    match redirects_to(args) {
        Redirect::To { id: Some(_), .. } => Some(NO_SUCH_REDIRECT),
        Redirect::To { id: None, .. } => Some(reply::NOT_AN_INTEGER),
        Redirect::None | Redirect::Unknown => None,
    }
}

/// The receiver of CLIENT TRACKING's invalidations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// To the client itself.
    None,
    /// To the client with this number, or to what is no number.
    To {
        id: Option<i64>,
        /// The place of the number among the arguments after TRACKING.
        place: usize,
    },
    /// Nobody can say: an option is not known. Redis refuses it, or knows more than the gate.
    Unknown,
}

/// Reads the options of CLIENT TRACKING; `args` are those after TRACKING.
pub(crate) fn redirects_to(args: &[&[u8]]) -> Redirect {
    let mut rest = args.get(1..).unwrap_or_default();
    loop {
        rest = match rest {
            [] => return Redirect::None,
            [word, id, ..] if word.eq_ignore_ascii_case(b"redirect") => {
                return Redirect::To { id: strict_integer(id), place: args.len() - rest.len() + 1 };
            }
            [word, _, rest @ ..] if word.eq_ignore_ascii_case(b"prefix") => rest,
            [word, rest @ ..] if TRACKING.iter().any(|known| word.eq_ignore_ascii_case(known)) => rest,
            _ => return Redirect::Unknown,
        };
    }
}

/// What a RESP2 subscriber reads in reply to a command that it may not send.
pub(crate) fn not_while_subscribed(command: CommandId) -> Vec<u8> {
    let mut line = Vec::with_capacity(128);
    reply::not_while_subscribed(&mut line, command.name());
    line
}

fn unblock(args: &[&[u8]]) -> Said {
    let (id, error_asked) = match args {
        [id] => (id, false),
        [id, reason] if reason.eq_ignore_ascii_case(b"timeout") => (id, false),
        [id, reason] if reason.eq_ignore_ascii_case(b"error") => (id, true),
        [_, _] => return error(UNBLOCK_REASON),
        _ => return error(UNBLOCK_ARGUMENTS),
    };
    let ask = |id| Said::Ask(Action::Unblock { error: error_asked }, Filter::of_ids(vec![id]));
    strict_integer(id).map_or_else(|| error(reply::NOT_AN_INTEGER), ask)
}

/// The CLIENT UNBLOCK that Redis gets for one of the gate's: of this number, or of one that no client has.
pub(crate) fn unblock_command(id: Option<i64>, error: bool) -> Vec<u8> {
    let id = id.unwrap_or(0).to_string();
    let reason: &[u8] = if error { b"ERROR" } else { b"TIMEOUT" };
    let mut bytes = Vec::with_capacity(64);
    encode::command(&mut bytes, &[b"CLIENT", b"UNBLOCK", id.as_bytes(), reason]);
    bytes
}

/// Which sort of clients TYPE means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
    let set = [
        (view.monitors, 'O'),
        (Kind::of(view) == Kind::Pubsub, 'P'),
        (view.queued.is_some(), 'x'),
        (view.blocks, 'b'),
    ];
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

fn verbatim(text: &str, resp3: bool) -> Said {
    let mut out = Vec::with_capacity(text.len().saturating_add(32));
    encode::verbatim(&mut out, text.as_bytes(), resp3);
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
/// The address that `@public` shows.
const HIDDEN: &str = "0.0.0.0:0";

const NO_SUCH_CLIENT: &[u8] = b"-ERR No such client\r\n";
const NO_SUCH_REDIRECT: &[u8] = b"-ERR The client ID you want redirect to does not exist\r\n";
const UNBLOCK_REASON: &[u8] = b"-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n";
const UNBLOCK_ARGUMENTS: &[u8] =
    b"-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.\r\n";
const TRACKING: [&[u8]; 4] = [b"bcast", b"optin", b"optout", b"noloop"];

#[cfg(test)]
mod tests;
