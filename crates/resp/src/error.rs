//! Errors in the bytes of clients and upstreams.

use std::borrow::Cow;

/// The error of an invalid request. The connection cannot continue.
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
    /// An argument begins with this byte in place of `$`.
    #[error("expected '$', got byte {0:#04x}")]
    ExpectedDollar(u8),
    /// Too many arguments before login.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulk,
    /// An argument that is too long before login.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulk,
    /// An inline command without a newline within the limit.
    #[error("too big inline request")]
    TooBigInline,
    /// An inline command with a quote that is not closed.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Framing that Redis accepts although it is not canonical. Examples are a header that does not end in CRLF, a
    /// bulk string without its CRLF, and a NUL in an inline command.
    #[error("invalid request framing")]
    InvalidFraming,
    /// An inline command on a listener where inline commands are disabled.
    #[error("inline commands are disabled")]
    InlineDisabled,
    /// A TLS handshake on a port without TLS.
    #[error("tls client hello on a plain port")]
    TlsClientHello,
}

impl RequestError {
    /// Returns the error for the client, without the leading `-` and the line end. The text is that of Redis if Redis
    /// has such an error. `None` if the proxy must close the connection without a reply.
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

/// The error of an invalid reply. The connection to the upstream cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A byte that is not a valid reply type at this position.
    #[error("upstream sent unknown reply type {0:#04x}")]
    UnknownType(u8),
    /// A length, count or number that is not canonical.
    #[error("upstream sent an invalid number")]
    InvalidNumber,
    /// A line with a bare CR or LF, or with a byte that its type does not allow.
    #[error("upstream sent an invalid line")]
    InvalidLine,
    /// A bulk string that does not end with CRLF.
    #[error("upstream sent a bulk string without its line end")]
    InvalidBulk,
    /// A length or count beyond [`limits::MAX_REPLY_BULK`](crate::limits::MAX_REPLY_BULK) or
    /// [`limits::MAX_REPLY_ELEMENTS`](crate::limits::MAX_REPLY_ELEMENTS).
    #[error("upstream announced an impossible length")]
    TooLarge,
    /// More levels than [`limits::MAX_DEPTH`](crate::limits::MAX_DEPTH).
    #[error("upstream nested a reply too deeply")]
    TooDeep,
    /// A chunk or an end mark outside a streamed value, another element inside a streamed string, or a streamed map
    /// that ends after a key.
    #[error("upstream broke a streamed value")]
    InvalidStream,
}
