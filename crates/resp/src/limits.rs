//! Limits of requests and replies. The size in a header never causes an allocation.

/// The longest bulk string in bytes: Redis's default `proto-max-bulk-len`.
pub const MAX_BULK: u64 = 512 * 1024 * 1024;
/// The highest number of arguments of one command. Redis up to 6.2 has this limit. Later versions allow `INT_MAX`,
/// which no client needs.
pub const MAX_ARGUMENTS: u64 = 1024 * 1024;
/// The longest inline command in bytes, without its newline: Redis's `PROTO_INLINE_MAX_SIZE`.
pub const MAX_INLINE: usize = 64 * 1024;
/// The highest number of arguments of one command before login (networking.c, `processMultibulkBuffer`).
pub const UNAUTHENTICATED_ARGUMENTS: u64 = 10;
/// The longest bulk string in bytes before login (networking.c, `processMultibulkBuffer`).
pub const UNAUTHENTICATED_BULK: u64 = 16 * 1024;
/// The number of bytes of a command name that the scanner reads. Redis cuts names to this length in its errors, and
/// no command has a longer name.
pub const MAX_NAME: usize = 128;
/// The highest number of nested aggregates in a reply. A script that returns a table within itself makes Redis write
/// about 8000 levels, the limit of Lua's stack (`LUAI_MAXCSTACK`). Each level costs the scanner 8 bytes.
pub const MAX_DEPTH: usize = 16 * 1024;
/// The longest bulk string in a reply, in bytes. The proxy streams replies, so this limit does not protect memory. An
/// upstream may have a larger `proto-max-bulk-len`, but only a broken upstream sends a length above one TiB.
pub const MAX_REPLY_BULK: u64 = 1 << 40;
/// The highest number of elements of one aggregate in a reply, for the same reason. Twice this number (a map) does
/// not overflow.
pub const MAX_REPLY_ELEMENTS: u64 = 1 << 40;

/// The limits of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// The longest bulk string in bytes.
    pub bulk: u64,
    /// The highest number of arguments of one command, including its name.
    pub arguments: u64,
    /// The longest inline command in bytes, without its newline.
    pub inline: usize,
    /// Whether inline commands are accepted.
    pub inline_commands: bool,
    /// Whether the client is logged in. Before login, [`UNAUTHENTICATED_ARGUMENTS`] and [`UNAUTHENTICATED_BULK`]
    /// apply as well, with their own errors.
    pub authenticated: bool,
}

impl RequestLimits {
    /// Returns the same limits for a client that has not logged in.
    #[must_use]
    pub const fn unauthenticated(self) -> Self {
        Self { authenticated: false, ..self }
    }
}

impl RequestLimits {
    /// Returns the highest valid number of arguments at present. A `usize` suffices, because the buffer cannot hold
    /// more arguments.
    #[inline(always)]
    pub(crate) fn arguments_now(&self) -> usize {
        let most =
            if self.authenticated { self.arguments } else { self.arguments.min(UNAUTHENTICATED_ARGUMENTS) };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Returns the longest valid bulk string at present, in bytes. A `usize` suffices for the same reason.
    #[inline(always)]
    pub(crate) fn bulk_now(&self) -> usize {
        let most = if self.authenticated { self.bulk } else { self.bulk.min(UNAUTHENTICATED_BULK) };
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            bulk: MAX_BULK,
            arguments: MAX_ARGUMENTS,
            inline: MAX_INLINE,
            inline_commands: true,
            authenticated: true,
        }
    }
}
