//! Protocol errors, by the side at fault.

use std::borrow::Cow;

/// The client sent bytes that no request begins with. The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// `*` is not followed by a canonical number within the limit.
    #[error("invalid multibulk length")]
    InvalidMultibulkLength,
    /// `$` is not followed by a canonical number within the limit.
    #[error("invalid bulk length")]
    InvalidBulkLength,
    /// `*` is followed by more than 64 KiB without a CR.
    #[error("too big mbulk count string")]
    TooBigMbulkCount,
    /// `$` is followed by more than 64 KiB without a CR.
    #[error("too big bulk count string")]
    TooBigBulkCount,
    /// An argument does not begin with `$`, but with this byte.
    #[error("expected '$', got byte {0:#04x}")]
    ExpectedDollar(u8),
    /// Before login: too many arguments.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// Before login: an argument is too long.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// No newline within the limit for inline commands.
    #[error("too big inline request")]
    TooBigInline,
    /// An inline command opens a quote that it does not close.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Redis would take it by laxness, in its own way: a header that does not end in CRLF, a bulk string without its
    /// CRLF, a NUL in an inline command.
    #[error("invalid request framing")]
    InvalidFraming,
    /// An inline command where they are switched off.
    #[error("inline commands are disabled")]
    InlineDisabled,
    /// A TLS handshake on a port that speaks plain RESP.
    #[error("tls client hello on a plain port")]
    TlsClientHello,
}

impl RequestError {
    /// The error reply before the connection is closed, without the leading `-` and the line end, in Redis's words
    /// where Redis has any. `None`: close without a reply.
    #[must_use]
    pub fn reply(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::InvalidMultibulkLength => "ERR Protocol error: invalid multibulk length",
            Self::InvalidBulkLength => "ERR Protocol error: invalid bulk length",
            Self::TooBigMbulkCount => "ERR Protocol error: too big mbulk count string",
            Self::TooBigBulkCount => "ERR Protocol error: too big bulk count string",
            Self::ExpectedDollar(byte) => {
                let got = if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' };
                return Some(Cow::Owned(format!("ERR Protocol error: expected '$', got '{got}'")));
            }
            Self::UnauthenticatedMultibulk => "ERR Protocol error: unauthenticated multibulk length",
            Self::UnauthenticatedBulk => "ERR Protocol error: unauthenticated bulk length",
            Self::TooBigInline => "ERR Protocol error: too big inline request",
            Self::UnbalancedQuotes => "ERR Protocol error: unbalanced quotes in request",
            Self::InvalidFraming => "ERR Protocol error: invalid request framing",
            Self::InlineDisabled => "ERR Protocol error: inline commands are disabled",
            Self::TlsClientHello => return None,
        }))
    }
}

/// The upstream sent bytes that no reply consists of. Its connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// No reply begins with this byte here.
    #[error("upstream sent unknown reply type {0:#04x}")]
    UnknownType(u8),
    /// A length, count or number is not canonical.
    #[error("upstream sent an invalid number")]
    InvalidNumber,
    /// A line holds a bare CR or LF, or a byte its type does not allow.
    #[error("upstream sent an invalid line")]
    InvalidLine,
    /// A bulk string is not followed by CRLF.
    #[error("upstream sent a bulk string without its line end")]
    InvalidBulk,
    /// A length or count beyond [`limits::MAX_REPLY_BULK`](crate::limits::MAX_REPLY_BULK) or
    /// [`limits::MAX_REPLY_ELEMENTS`](crate::limits::MAX_REPLY_ELEMENTS).
    #[error("upstream announced an impossible length")]
    TooLarge,
    /// More levels than [`limits::MAX_DEPTH`](crate::limits::MAX_DEPTH).
    #[error("upstream nested a reply too deeply")]
    TooDeep,
    /// A chunk or an end mark where no streamed value is open, or something else where one is, or a streamed map
    /// that ends after a key.
    #[error("upstream broke a streamed value")]
    InvalidStream,
}
