//! Limits of requests and replies. No memory is reserved because a header announces a size.

/// Bytes of one bulk string: Redis's default `proto-max-bulk-len`.
pub const MAX_BULK: u64 = 512 * 1024 * 1024;
/// Arguments of one command. Redis up to 6.2 has this limit; later versions allow `INT_MAX`, which no client needs.
pub const MAX_ARGUMENTS: u64 = 1024 * 1024;
/// Bytes of an inline command without its newline: Redis's `PROTO_INLINE_MAX_SIZE`.
pub const MAX_INLINE: usize = 64 * 1024;
/// Arguments of one command before login (networking.c, `processMultibulkBuffer`).
pub const UNAUTHENTICATED_ARGUMENTS: u64 = 10;
/// Bytes of one bulk string before login (networking.c, `processMultibulkBuffer`).
pub const UNAUTHENTICATED_BULK: u64 = 16 * 1024;
/// Bytes of a command name that the scanner reads. Redis cuts names here in its errors, and no command has a longer
/// name.
pub const MAX_NAME: usize = 128;
/// Levels of aggregates in a reply. A script that returns a table within itself makes Redis write about 8000 levels,
/// the limit of Lua's stack (`LUAI_MAXCSTACK`). Each level costs the scanner 8 bytes.
pub const MAX_DEPTH: usize = 16 * 1024;
/// Bytes of a bulk string in a reply. The proxy streams replies, so this limit bounds no memory. An upstream may have
/// a larger `proto-max-bulk-len`, but a length above one TiB comes from a broken upstream.
pub const MAX_REPLY_BULK: u64 = 1 << 40;
/// Elements of one aggregate in a reply, for the same reason. Twice this number (a map) does not overflow.
pub const MAX_REPLY_ELEMENTS: u64 = 1 << 40;

/// The limits of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of one bulk string.
    pub bulk: u64,
    /// Arguments of one command, its name included.
    pub arguments: u64,
    /// Bytes of an inline command, without its newline.
    pub inline: usize,
    /// Whether inline commands are accepted.
    pub inline_commands: bool,
    /// Whether the client is logged in. Before login, [`UNAUTHENTICATED_ARGUMENTS`] and [`UNAUTHENTICATED_BULK`]
    /// apply as well, with error texts of their own.
    pub authenticated: bool,
}

impl RequestLimits {
    /// The same limits for a client that has not logged in.
    #[must_use]
    pub const fn unauthenticated(self) -> Self {
        Self { authenticated: false, ..self }
    }
}

impl RequestLimits {
    /// The largest number of arguments that is valid now. A `usize` suffices: a larger count cannot be in the buffer.
    #[inline(always)]
    pub(crate) fn arguments_now(&self) -> usize {
        let most =
            if self.authenticated { self.arguments } else { self.arguments.min(UNAUTHENTICATED_ARGUMENTS) };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// The longest bulk string that is valid now, as a `usize` for the same reason.
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
