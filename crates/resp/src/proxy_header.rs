//! The PROXY protocol, versions 1 and 2, read strictly: one canonical form each, nothing guessed.
//!
//! Only for connections whose sender is trusted to send it. Deadline and trust are the caller's; the header's size is
//! bounded here.

mod v1;
mod v2;

use std::net::SocketAddr;

/// Bytes of a version 1 header at the most, its CRLF included (the specification's own figure).
pub const MAX_V1: usize = 107;
/// Bytes of a version 2 header at the most. The specification allows 64 KiB; addresses take 36 bytes and known
/// senders' TLVs a few hundred (AWS, Azure and GCP endpoint ids, TLS facts).
pub const MAX_V2: usize = 4096;

/// The start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The buffer must grow to `at_least` bytes (more than it has).
    Need {
        /// Bytes, from the header's first.
        at_least: usize,
    },
    /// `buf[..len]` is a header.
    Header {
        /// Bytes of the header.
        len: usize,
        /// The client that it names.
        source: Source,
    },
}

/// The client that a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A TCP connection that the sender forwards.
    Tcp {
        /// The client's address, as the sender reports it. Not folded: `::ffff:a.b.c.d` stays as it is.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
    /// The sender itself, as for its health checks: its own address counts.
    Local,
    /// A connection without an address (`UNKNOWN`, AF_UNSPEC) or with one that is not TCP's (AF_UNIX): it cannot be
    /// judged, and so it is refused.
    Unknown,
}

/// The reason why the bytes are not a header. The connection is closed without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// Neither version's first bytes.
    #[error("no proxy header")]
    Missing,
    /// A version 1 line that is not canonical.
    #[error("malformed proxy header, version 1")]
    Malformed,
    /// No CRLF within [`MAX_V1`] bytes, or a version 2 length beyond [`MAX_V2`].
    #[error("proxy header is too long")]
    TooLong,
    /// A version 2 version, command, family or protocol that is not known, or not TCP's.
    #[error("unsupported proxy header")]
    Unsupported,
    /// A version 2 block that is shorter than its addresses, or whose TLVs do not end with it.
    #[error("malformed proxy header, version 2")]
    Block,
    /// The CRC32C that the header carries is not its own.
    #[error("wrong checksum in proxy header")]
    Checksum,
}

/// Reads the header at the start of `buf`. Looks at the bytes again on each call: a header is short.
///
/// # Errors
/// As soon as no bytes that may follow would make it a header.
pub fn parse(buf: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    match buf.first() {
        None => Ok(Parsed::Need { at_least: 1 }),
        Some(b'P') => v1::parse(buf),
        Some(b'\r') => v2::parse(buf),
        Some(_) => Err(ProxyHeaderError::Missing),
    }
}

/// Whether `buf` may still begin with `start`: all of it that is in agrees.
fn agrees(buf: &[u8], start: &[u8]) -> bool {
    buf.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

#[cfg(test)]
mod tests;
