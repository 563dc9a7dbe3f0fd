//! Answers of the gate, in place of Redis, about a client itself and about other clients.
//!
//! CLIENT ID, GETNAME, SETNAME, SETINFO, INFO, LIST, KILL and UNBLOCK concern connections. A shared upstream connection
//! does not belong to one client, and under `@public` Redis would show all of its clients. So the gate answers these
//! commands in the words of Redis 7.0. SETINFO, the fields that it sets and KILL's MAXAGE do not exist in 7.0; for them
//! the gate uses the words of later versions.

use portcullis_resp::command::{CommandId, id};
use portcullis_resp::{encode, reply};

use crate::link::{Names, Subscriptions};
use crate::local::clients::{Action, Findings, Inquiry, ListedView};
use crate::local::hello::strict_integer;
use crate::observe::Peer;

mod filter;

pub use self::filter::Filter;

/// The name and library of a client, as set by the client.
#[derive(Debug, Default)]
pub(crate) struct ClientInfo {
    name: Box<str>,
    lib_name: Box<str>,
    lib_ver: Box<str>,
}

/// A name or library that the client sets, for the time until Redis accepts it.
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

/// The other properties of a client, for replies about it.
pub(crate) struct View<'a> {
    pub(crate) peer: &'a dyn Peer,
    /// The user that the client is logged in as, or `default` if the gate requires no login.
    pub(crate) user: &'a str,
    pub(crate) db: u64,
    pub(crate) resp3: bool,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) monitors: bool,
    /// Whether a blocking command of the client may be pending.
    pub(crate) blocks: bool,
    /// The number of commands in the client's transaction. `None` outside MULTI.
    pub(crate) queued: Option<u64>,
    /// Whether the client sees only the clients of its listener and user.
    pub(crate) narrow: bool,
    pub(crate) masked: Masked,
}

/// The client's own address and the address that it connected to. `None` if an address is hidden.
type Addresses = [Option<String>; 2];

/// The addresses that are hidden. Under `@public` a client sees only its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masked {
    None,
    /// The address that the client connected to.
    Local,
    /// The address that the client connected to, and the client's own.
    Both,
}

/// The answer to a command. A reply or an error is complete and encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Reply(Vec<u8>),
    Error(Vec<u8>),
    /// A question to other sessions, which must be answered first.
    Ask(Action, Filter),
}

impl ClientInfo {
    /// Answers a subcommand of CLIENT. `args` are the arguments after the subcommand. If `subcommand` is
    /// [`id::CLIENT`], the subcommand is unknown, and it is the first of `args`.
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

    /// Sets the client's name, from CLIENT SETNAME or HELLO. An empty name removes the name.
    ///
    /// # Errors
    ///
    /// Returns the error line for the client.
    pub(crate) fn set_name(&mut self, name: &[u8]) -> Result<(), &'static [u8]> {
        self.name = check_name(name)?;
        Ok(())
    }

    /// Returns the names that the client has given itself.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { name: &self.name, lib_name: &self.lib_name, lib_ver: &self.lib_ver }
    }

    /// Returns the name of the client.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the library of the client and its version.
    pub(crate) fn library(&self) -> String {
        let (name, version) = (&self.lib_name, &self.lib_ver);
        if version.is_empty() { name.to_string() } else { format!("{name} {version}") }
    }

    /// Returns the bytes of memory.
    pub(crate) fn held(&self) -> usize {
        self.name.len() + self.lib_name.len() + self.lib_ver.len()
    }

    /// Resets the state that RESET ends. The library stays, as in Redis.
    pub(crate) fn clear(&mut self) {
        self.name = Box::default();
    }

    /// Returns the name or library that CLIENT SETNAME or SETINFO sets. `args` are the arguments after the subcommand.
    /// Returns `None` if Redis refuses the command.
    ///
    /// # Errors
    ///
    /// Returns the error line for the client if the text is longer than the gate keeps.
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

    /// Sets a name or library after Redis accepted it.
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
        if let Some(line) = refused_info(attribute, value) {
            return Said::Error(line);
        }
        let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
        let field = if is_name { &mut self.lib_name } else { &mut self.lib_ver };
        *field = printable(value).flatten().unwrap_or_default();
        ok()
    }

    /// Returns the client's line with its fields in Redis's order. Counters that only Redis has are 0.
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
    /// Returns the client's own address and the address that it connected to. `None` if an address is hidden.
    fn addresses(&self) -> Addresses {
        [
            (self.masked != Masked::Both).then(|| self.peer.address()),
            (self.masked == Masked::None).then(|| self.peer.local_address()),
        ]
    }
}

impl ClientInfo {
    /// Returns the client's line and the properties for a filter. Only the line of the client that asks shows its last
    /// command.
    pub(crate) fn listed(&self, view: &View<'_>, asks: bool) -> (String, ListedView) {
        let command = if asks { id::CLIENT_LIST.name() } else { "NULL" };
        let shown = view.addresses();
        let line = self.line(command, view, &shown);
        let [address, local_address] = shown;
        let (kind, age) = (Kind::of(view), view.peer.age());
        (line, ListedView { address, local_address, kind, age, user: view.user.into() })
    }
}

/// Returns the reply to an inquiry. This does not apply to [`Action::Unblock`], which Redis answers.
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

/// Returns Redis's error for a CLIENT TRACKING with REDIRECT. `args` are the arguments after TRACKING. Redis does not
/// know the gate's ids, so no id is valid. Returns `None` if the command may be forwarded.
pub(crate) fn redirect(args: &[&[u8]]) -> Option<&'static [u8]> {
    match redirects_to(args) {
        Redirect::To { id: Some(_), .. } => Some(NO_SUCH_REDIRECT),
        Redirect::To { id: None, .. } => Some(reply::NOT_AN_INTEGER),
        Redirect::None | Redirect::Unknown => None,
    }
}

/// The client that gets the invalidations of CLIENT TRACKING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The client itself.
    None,
    /// The client with this id. The id is `None` if the text is not a number.
    To {
        id: Option<i64>,
        /// The index of the id among the arguments after TRACKING.
        place: usize,
    },
    /// The receiver is not known, because an option is unknown. Redis refuses the command, or knows more options than
    /// the gate.
    Unknown,
}

/// Parses the options of CLIENT TRACKING; `args` are the arguments after TRACKING.
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

/// Returns the error for a command that is not allowed in subscriber mode in RESP2.
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

/// Returns the CLIENT UNBLOCK for Redis. `None` means a client that does not exist; the command then has the id 0.
pub(crate) fn unblock_command(id: Option<i64>, error: bool) -> Vec<u8> {
    let id = id.unwrap_or(0).to_string();
    let reason: &[u8] = if error { b"ERROR" } else { b"TIMEOUT" };
    let mut bytes = Vec::with_capacity(64);
    encode::command(&mut bytes, &[b"CLIENT", b"UNBLOCK", id.as_bytes(), reason]);
    bytes
}

/// The type of clients that the option TYPE selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Pubsub,
    /// Replicas and masters. No client of the gate is one.
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

/// Checks a client's name, and returns the form in which the gate keeps it.
///
/// # Errors
///
/// Returns the error line for the client.
pub(crate) fn check_name(name: &[u8]) -> Result<Box<str>, &'static [u8]> {
    printable(name).ok_or(reply::HELLO_BAD_NAME)?.ok_or(TOO_LONG)
}

/// Checks a text for a name. Returns `None` if Redis does not allow the text, and `Some(None)` if it is longer than the
/// gate keeps.
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

/// Returns the error line for a CLIENT SETINFO that is refused.
pub(crate) fn refused_info(attribute: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let is_known = [&b"lib-name"[..], b"lib-ver"].iter().any(|known| attribute.eq_ignore_ascii_case(known));
    if !is_known {
        return Some(quoting(b"-ERR Unrecognized option '", attribute, b"'\r\n"));
    }
    match printable(value) {
        Some(Some(_)) => None,
        Some(None) => Some(TOO_LONG.to_vec()),
        None => {
            let rest = b" cannot contain spaces, newlines or special characters.\r\n";
            Some(quoting(b"-ERR ", attribute, rest))
        }
    }
}

fn quoting(before: &[u8], text: &[u8], after: &[u8]) -> Vec<u8> {
    let mut line = before.to_vec();
    encode::sanitise(&mut line, text);
    line.extend_from_slice(after);
    line
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
    Said::Error(quoting(b"-ERR Unknown client type '", word, b"'\r\n"))
}

/// The longest name or library in bytes. Redis has no limit, but the gate keeps these texts as long as the client is
/// connected. Names of libraries and people have a few dozen bytes.
const MAX_TEXT: usize = 1 << 10;

const TOO_LONG: &[u8] = b"-ERR portcullis: a name can have 1024 bytes at most\r\n";
/// The address that `@public` shows in place of a hidden one.
const HIDDEN: &str = "0.0.0.0:0";

const NO_SUCH_CLIENT: &[u8] = b"-ERR No such client\r\n";
const NO_SUCH_REDIRECT: &[u8] = b"-ERR The client ID you want redirect to does not exist\r\n";
const UNBLOCK_REASON: &[u8] = b"-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n";
const UNBLOCK_ARGUMENTS: &[u8] =
    b"-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.\r\n";
const TRACKING: [&[u8]; 4] = [b"bcast", b"optin", b"optout", b"noloop"];

#[cfg(test)]
mod tests;
