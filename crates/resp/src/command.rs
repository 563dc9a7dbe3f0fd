//! The command table: all commands and subcommands of Redis 6.2 to 8 and Valkey.

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
    /// Any command that the table does not have: a command of a module, a renamed command, or a name that means
    /// nothing.
    pub const UNKNOWN: Self = Self(0);
    /// Number of ids, subcommands and [`CommandId::UNKNOWN`] included.
    pub const COUNT: usize = table::TABLE.len() + 1;

    /// A dense index below [`CommandId::COUNT`], for tables by command.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The id at an index.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        let id = u16::try_from(index).ok()?;
        (index < Self::COUNT).then_some(Self(id))
    }

    /// All ids: [`CommandId::UNKNOWN`] first, then in the order of names, each container before its subcommands.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_index)
    }

    /// The entry of the command in the table.
    #[must_use]
    pub fn info(self) -> &'static CommandInfo {
        self.index().checked_sub(1).and_then(|index| table::TABLE.get(index)).unwrap_or(&UNKNOWN)
    }

    /// The name in lower case. A subcommand follows the name of its container and a bar: `client|reply`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The container of a subcommand; the command itself if it is not a subcommand.
    #[must_use]
    pub fn top(self) -> Self {
        lookup::top(self)
    }

    /// Whether the table has subcommands of this command. OBJECT and other containers do nothing without a
    /// subcommand. A client may still send a container alone, or with an unknown subcommand.
    #[must_use]
    pub fn is_container(self) -> bool {
        !lookup::subcommands(self).is_empty()
    }

    /// The subcommands of a container; none for other commands.
    pub fn subcommands(self) -> impl Iterator<Item = Self> {
        lookup::subcommands(self).filter_map(Self::from_index)
    }

    const fn new(id: u16) -> Self {
        Self(id)
    }
}

/// The facts of the table about one command.
#[derive(Debug)]
pub struct CommandInfo {
    /// See [`CommandId::name`].
    pub name: &'static str,
    /// Number of arguments, the name (of both levels) included. A negative number is a minimum.
    pub arity: i16,
    /// Properties of the command.
    pub flags: Flags,
    /// ACL categories.
    pub categories: Categories,
    /// Positions of the keys.
    pub keys: &'static [KeySpec],
    /// The replies that the server sends.
    pub reply: ReplyShape,
    /// Servers that have the command, among the sources of the table.
    pub servers: Servers,
}

impl CommandInfo {
    /// Whether the command accepts this number of arguments, the name included.
    #[must_use]
    pub fn takes(&self, arguments: u64) -> bool {
        let wanted = u64::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= wanted } else { arguments == wanted }
    }
}

/// The replies of the server to one command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ReplyShape {
    /// One reply.
    One,
    /// Commands of the subscribe family: one confirmation for each channel, or one error. Without arguments, the
    /// unsubscribing commands confirm each existing subscription, and send at least one confirmation.
    Confirm,
    /// One reply, then lines until the connection ends.
    Monitor,
    /// A replication stream, which is not RESP.
    Raw,
    /// One reply, in the RESP version that the command selects.
    Hello,
    /// Possibly no reply: CLIENT REPLY (OFF and SKIP), REPLCONF (ACK and GETACK).
    None,
}

/// The positions of keys among the arguments of a command, in the terms of Redis's key specifications.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct KeySpec {
    /// The first key.
    pub begin: Begin,
    /// The keys after the first.
    pub find: Find,
    /// The command's use of the keys.
    pub access: Access,
}

/// The position of the first key of a [`KeySpec`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Begin {
    /// This argument (the name is 0).
    Index(u16),
    /// The argument after this word. The search starts at argument `start`; a negative `start` counts from the end,
    /// and the search goes backwards.
    Keyword {
        /// The word in capitals. The comparison ignores case.
        word: &'static str,
        /// First argument of the search.
        start: i16,
    },
    /// The specification does not say.
    Unknown,
}

/// The positions of the keys of a [`KeySpec`] after the first.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Find {
    /// Every `step`th argument up to `last`, relative to the first key. A negative `last` counts from the end. With
    /// `limit` > 1, only the first `limit`th part of the remaining arguments counts.
    Range {
        /// Position relative to the first key; a negative number counts from the end.
        last: i16,
        /// Distance between keys.
        step: u16,
        /// Divisor of the range; 0 and 1 mean no limit.
        limit: u16,
    },
    /// The number of keys that an argument announces.
    KeyNum {
        /// Position of that argument, relative to the beginning.
        count: u16,
        /// Position of the first key, relative to the beginning.
        first: u16,
        /// Distance between keys.
        step: u16,
    },
    /// The specification does not say.
    Unknown,
}

/// Whether a name is that of the first or second line of an HTTP request: an attacker makes a browser send it. Redis
/// closes the connection without a reply. The proxy must do the same and must never forward the command.
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
