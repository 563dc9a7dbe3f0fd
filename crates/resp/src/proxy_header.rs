//! The PROXY protocol, versions 1 and 2, parsed strictly: each header has one canonical form, and nothing is guessed.
//!
//! Use this parser only for connections from a trusted sender. The caller decides on trust and on a deadline; the
//! size of the header is limited here.

mod v1;
mod v2;

use std::net::SocketAddr;

/// Maximum number of bytes of a version 1 header, its CRLF included (the specification's own figure).
pub const MAX_V1: usize = 107;
/// Maximum number of bytes of a version 2 header. The specification allows 64 KiB. Addresses take 36 bytes, and the
/// TLVs of known senders a few hundred (endpoint ids of AWS, Azure and GCP, TLS facts).
pub const MAX_V2: usize = 4096;

/// The content of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The buffer must grow to `at_least` bytes (more than it has).
    Need {
        /// Number of bytes, counted from the first byte of the header.
        at_least: usize,
    },
    /// `buf[..len]` is a complete header.
    Header {
        /// Bytes of the header.
        len: usize,
        /// The connection that the header describes.
        source: HeaderSource,
    },
}

/// The connection that a header describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// A TCP connection that the sender forwards.
    Tcp {
        /// The address of the client according to the sender. Not folded: `::ffff:a.b.c.d` stays as sent.
        source: SocketAddr,
        /// The address to which the client connected.
        destination: SocketAddr,
    },
    /// The sender itself, for example for health checks: its own address counts.
    Local,
    /// A connection without an address (`UNKNOWN`, AF_UNSPEC) or with an address that is not TCP's (AF_UNIX). The
    /// policy cannot judge the client, so the client must be refused.
    Unknown,
}

/// The reason why the bytes are not a header. The proxy closes the connection without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The bytes begin neither version 1 nor version 2.
    #[error("no proxy header")]
    Missing,
    /// A version 1 line that is not canonical.
    #[error("malformed proxy header, version 1")]
    Malformed,
    /// No CRLF within [`MAX_V1`] bytes, or a version 2 length beyond [`MAX_V2`].
    #[error("proxy header is too long")]
    TooLong,
    /// A version 2 header with an unknown version, command, family or protocol, or one that is not for TCP.
    #[error("unsupported proxy header")]
    Unsupported,
    /// A version 2 block that is shorter than its addresses, or whose TLVs do not end at the end of the block.
    #[error("malformed proxy header, version 2")]
    Block,
    /// The CRC32C in the header does not match the header.
    #[error("wrong checksum in proxy header")]
    Checksum,
}

/// Parses the header at the start of `buf`. Each call reads the bytes again, because a header is short.
///
/// # Errors
/// An error as soon as no further bytes can complete the header.
pub fn parse(buf: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    match buf.first() {
        None => Ok(Parsed::Need { at_least: 1 }),
        Some(b'P') => v1::parse(buf),
        Some(b'\r') => v2::parse(buf),
        Some(_) => Err(ProxyHeaderError::Missing),
    }
}

/// Whether `buf` may still begin with `start`: the bytes that have arrived agree.
fn agrees(buf: &[u8], start: &[u8]) -> bool {
    buf.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

#[cfg(test)]
mod tests;
