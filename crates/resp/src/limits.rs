//! Limits of a request. Memory is never reserved because a header announced a size.

/// Bytes of one bulk string: Redis's default `proto-max-bulk-len`.
pub const MAX_BULK: u64 = 512 * 1024 * 1024;
/// Arguments of one command. Redis up to 6.2 had this cap, later ones take `INT_MAX`, which no client needs.
pub const MAX_ARGUMENTS: u64 = 1024 * 1024;
/// Bytes of an inline command without its newline: Redis's `PROTO_INLINE_MAX_SIZE`.
pub const MAX_INLINE: usize = 64 * 1024;
/// Arguments of one command before login (networking.c, `processMultibulkBuffer`).
pub const UNAUTHENTICATED_ARGUMENTS: u64 = 10;
/// Bytes of one bulk string before login (networking.c, `processMultibulkBuffer`).
pub const UNAUTHENTICATED_BULK: u64 = 16 * 1024;
/// Bytes of a command name that are looked at. Redis cuts names there in its errors, and no command is longer.
pub const MAX_NAME: usize = 128;
/// Levels of aggregates in a reply. A script that returns a table within itself makes Redis write some 8000, where Lua's
/// stack ends (`LUAI_MAXCSTACK`); each level costs the scanner 8 bytes.
pub const MAX_DEPTH: usize = 16 * 1024;
/// Bytes of a bulk string in a reply. Replies are streamed, so this bounds no memory: `proto-max-bulk-len` may be
/// raised upstream, and what exceeds a TiB is a broken upstream, not a value.
pub const MAX_REPLY_BULK: u64 = 1 << 40;
/// Elements of one aggregate in a reply, for the same reason. Twice this (a map) is far from overflowing.
pub const MAX_REPLY_ELEMENTS: u64 = 1 << 40;

/// Limits of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of one bulk string.
    pub bulk: u64,
    /// Arguments of one command, its name included.
    pub arguments: u64,
    /// Bytes of an inline command, without its newline.
    pub inline: usize,
    /// Whether inline commands are taken at all.
    pub inline_commands: bool,
    /// Whether the client is logged in; before that [`UNAUTHENTICATED_ARGUMENTS`] and [`UNAUTHENTICATED_BULK`]
    /// hold as well, and have error texts of their own.
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
    /// The most arguments that are taken now; for counts that fit a machine word, which is all that can be in.
    #[inline(always)]
    pub(crate) fn arguments_now(&self) -> usize {
        let most =
            if self.authenticated { self.arguments } else { self.arguments.min(UNAUTHENTICATED_ARGUMENTS) };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// The longest bulk string that is taken now; for lengths that fit a machine word.
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
