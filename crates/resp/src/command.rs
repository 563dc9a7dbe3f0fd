//! The table of all commands and subcommands of Redis 6.2 to 8 and Valkey.

pub mod keys;
mod lookup;
mod sets;
mod table;

pub use self::lookup::{lookup, lookup_subcommand};
pub use self::sets::{Access, Categories, Flags, Servers};
pub use self::table::id;

/// A command or subcommand of the table, or [`CommandId::UNKNOWN`].
#[derive(Copy, Clone, Eq, PartialEq, Hash, Ord, PartialOrd, Debug)]
pub struct CommandId(u16);

impl CommandId {
    /// Any command that is not in the table: a module's, a renamed one, or none at all.
    pub const UNKNOWN: Self = Self(0);
    /// Number of ids, subcommands and [`CommandId::UNKNOWN`] included.
    pub const COUNT: usize = table::TABLE.len() + 1;

    /// A dense index below [`CommandId::COUNT`], for tables by command.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The id of an index.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        let id = u16::try_from(index).ok()?;
        (index < Self::COUNT).then_some(Self(id))
    }

    /// All ids, [`CommandId::UNKNOWN`] first, then in the order of names, a container before its subcommands.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_index)
    }

    /// The facts about it.
    #[must_use]
    pub fn info(self) -> &'static CommandInfo {
        self.index().checked_sub(1).and_then(|index| table::TABLE.get(index)).unwrap_or(&UNKNOWN)
    }

    /// Lower case, a subcommand behind its container's name and a bar: `client|reply`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The container of a subcommand; any other command itself.
    #[must_use]
    pub fn top(self) -> Self {
        lookup::top(self)
    }

    /// Whether it has subcommands in the table. OBJECT and the like exist in no other form; a container may still be
    /// sent alone or with a subcommand that is not known.
    #[must_use]
    pub fn is_container(self) -> bool {
        !lookup::subcommands(self).is_empty()
    }

    /// The subcommands of a container; none for any other command.
    pub fn subcommands(self) -> impl Iterator<Item = Self> {
        lookup::subcommands(self).filter_map(Self::from_index)
    }

    const fn new(id: u16) -> Self {
        Self(id)
    }
}

/// The facts about a command.
#[derive(Debug)]
pub struct CommandInfo {
    /// See [`CommandId::name`].
    pub name: &'static str,
    /// Number of arguments, the name (of both levels) included; negative: at least so many.
    pub arity: i16,
    /// The flags of the command.
    pub flags: Flags,
    /// ACL categories.
    pub categories: Categories,
    /// The places of its keys.
    pub keys: &'static [KeySpec],
    /// The form of its reply.
    pub reply: ReplyShape,
    /// Servers that have it, among those the table was made from.
    pub servers: Servers,
}

impl CommandInfo {
    /// Whether so many arguments (the name included) are right for it.
    #[must_use]
    pub fn takes(&self, arguments: u64) -> bool {
        let wanted = u64::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= wanted } else { arguments == wanted }
    }
}

/// The form of the reply to one command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ReplyShape {
    /// One reply.
    One,
    /// The subscribe family: one confirmation a channel, or one error. Without arguments the unsubscribing ones
    /// confirm every subscription there is, and at least one.
    Confirm,
    /// One reply, then lines without end.
    Monitor,
    /// No RESP any more: a replication stream.
    Raw,
    /// One reply, in the RESP version it has switched to.
    Hello,
    /// Possibly nothing: CLIENT REPLY (OFF and SKIP), REPLCONF (ACK and GETACK).
    None,
}

/// The places of keys among the arguments of a command, as Redis's key specifications define them.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct KeySpec {
    /// The first key.
    pub begin: Begin,
    /// The way to the next keys.
    pub find: Find,
    /// The access to them.
    pub access: Access,
}

/// The start of the keys of a [`KeySpec`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Begin {
    /// At this argument (the name is 0).
    Index(u16),
    /// Behind this word, which is sought from argument `start` on; a negative one counts from the end and goes back.
    Keyword {
        /// In capitals; it is matched in any case.
        word: &'static str,
        /// First argument looked at.
        start: i16,
    },
    /// Cannot be said.
    Unknown,
}

/// The way from one key of a [`KeySpec`] to the next.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Find {
    /// Every `step`th argument up to `last`, relative to the beginning; a negative `last` counts from the end, and
    /// with `limit` > 1 only the first `limit`th part of what is there is meant.
    Range {
        /// Relative to the first key, or negative.
        last: i16,
        /// Distance of keys.
        step: u16,
        /// 0 and 1: no limit.
        limit: u16,
    },
    /// An argument holds the number of keys.
    KeyNum {
        /// The place of the number, relative to the start.
        count: u16,
        /// The place of the first key, relative to the start.
        first: u16,
        /// Distance of keys.
        step: u16,
    },
    /// Cannot be said.
    Unknown,
}

/// Whether a name is that of an HTTP request's first or second line: a browser was made to send it. Redis closes the
/// connection without a word, and so must the proxy: never to be forwarded.
#[must_use]
pub fn is_cross_protocol(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

static UNKNOWN: CommandInfo = CommandInfo {
    name: "unknown",
    arity: -1,
    flags: Flags::NONE,
    categories: Categories::NONE,
    keys: &[],
    reply: ReplyShape::One,
    servers: Servers::NONE,
};

#[cfg(test)]
mod tests;
