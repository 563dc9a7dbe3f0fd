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
    /// A command that is not in the table: a command of a module, a renamed command, or a meaningless name.
    pub const UNKNOWN: Self = Self(0);
    /// The number of ids, including subcommands and [`CommandId::UNKNOWN`].
    pub const COUNT: usize = table::TABLE.len() + 1;

    /// Returns a dense index below [`CommandId::COUNT`], for arrays with one element for each command.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the id with this index. `None` if the index is out of range.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        let id = u16::try_from(index).ok()?;
        (index < Self::COUNT).then_some(Self(id))
    }

    /// Returns all ids: [`CommandId::UNKNOWN`] first, then in the order of names, each container before its
    /// subcommands.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_index)
    }

    /// Returns the entry of the command in the table.
    #[must_use]
    pub fn info(self) -> &'static CommandInfo {
        self.index().checked_sub(1).and_then(|index| table::TABLE.get(index)).unwrap_or(&UNKNOWN)
    }

    /// Returns the name in lower case. For a subcommand, the name of its container and a bar come first:
    /// `client|reply`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Returns the container of a subcommand, or the command itself if it is not a subcommand.
    #[must_use]
    pub fn top(self) -> Self {
        lookup::top(self)
    }

    /// Returns whether the table has subcommands of this command. Containers such as OBJECT do nothing without a
    /// subcommand. A client may still send a container alone, or with an unknown subcommand.
    #[must_use]
    pub fn is_container(self) -> bool {
        !lookup::subcommands(self).is_empty()
    }

    /// Returns the subcommands of a container. Empty for other commands.
    pub fn subcommands(self) -> impl Iterator<Item = Self> {
        lookup::subcommands(self).filter_map(Self::from_index)
    }

    const fn new(id: u16) -> Self {
        Self(id)
    }
}

/// The entry of one command in the table.
#[derive(Debug)]
pub struct CommandInfo {
    /// The name; see [`CommandId::name`].
    pub name: &'static str,
    /// The number of arguments, including the name (of both levels). A negative number means a minimum.
    pub arity: i16,
    /// The properties of the command.
    pub flags: Flags,
    /// The ACL categories.
    pub categories: Categories,
    /// The positions of the keys.
    pub keys: &'static [KeySpec],
    /// The replies that the server sends.
    pub reply: ReplyShape,
    /// The servers that have the command, among those from which the table was made.
    pub servers: Servers,
}

impl CommandInfo {
    /// Returns whether the command accepts this number of arguments, including the name.
    #[must_use]
    pub fn takes(&self, arguments: u64) -> bool {
        let wanted = u64::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= wanted } else { arguments == wanted }
    }
}

/// The kind of replies that the server sends to one command.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ReplyShape {
    /// One reply.
    One,
    /// The replies of the subscribe family: one confirmation for each channel, or one error. Without arguments, an
    /// unsubscribing command confirms each existing subscription, and sends at least one confirmation.
    Confirm,
    /// One reply, and then lines until the connection ends.
    Monitor,
    /// A replication stream, which is not RESP.
    Raw,
    /// One reply, in the RESP version that the command selects.
    Hello,
    /// One reply or none: CLIENT REPLY (OFF and SKIP), REPLCONF (ACK and GETACK).
    None,
}

/// The positions of keys among the arguments of a command, in the terms of Redis's key specifications.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct KeySpec {
    /// The first key.
    pub begin: Begin,
    /// The keys after the first.
    pub find: Find,
    /// How the command uses the keys.
    pub access: Access,
}

/// The position of the first key of a [`KeySpec`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Begin {
    /// The argument with this number (the name is 0).
    Index(u16),
    /// The argument after this word. The search begins at argument `start`. If `start` is negative, it counts from
    /// the end and the search goes backwards.
    Keyword {
        /// The word in capitals. The comparison ignores case.
        word: &'static str,
        /// The argument at which the search begins.
        start: i16,
    },
    /// The specification does not say where the first key is.
    Unknown,
}

/// The positions of the keys of a [`KeySpec`] after the first.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Find {
    /// Every `step`th argument up to `last`, relative to the first key. A negative `last` counts from the end. If
    /// `limit` is greater than 1, the remaining arguments are divided by it, and only the first part has keys.
    Range {
        /// The position relative to the first key. A negative number counts from the end.
        last: i16,
        /// The distance between keys.
        step: u16,
        /// The divisor of the range. 0 and 1 mean no limit.
        limit: u16,
    },
    /// As many keys as an argument says.
    KeyNum {
        /// The position of that argument, relative to the beginning.
        count: u16,
        /// The position of the first key, relative to the beginning.
        first: u16,
        /// The distance between keys.
        step: u16,
    },
    /// The specification does not say where the other keys are.
    Unknown,
}

/// Returns whether a name begins the first or second line of an HTTP request, which an attacker can make a browser
/// send. Redis closes the connection without a reply. The proxy must do the same and must never forward the command.
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
