//! Parses the PROXY protocol, versions 1 and 2. The parser is strict: it accepts only the canonical form of each
//! header, and guesses nothing.
//!
//! Use this parser only for connections from a trusted sender. The caller decides which senders are trusted, and sets
//! a deadline. The parser limits the size of the header.

mod v1;
mod v2;

use std::net::SocketAddr;

/// The longest version 1 header in bytes, including its CRLF. The number is from the specification.
pub const MAX_V1: usize = 107;
/// The longest accepted version 2 header in bytes. The specification allows 64 KiB. Addresses take 36 bytes, and the
/// TLVs of known senders take a few hundred (endpoint ids of AWS, Azure and GCP, TLS data).
pub const MAX_V2: usize = 4096;

/// The result of parsing the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header is not complete. The buffer must have at least `at_least` bytes, which is more than it has now.
    Need {
        /// The number of bytes, counted from the first byte of the header.
        at_least: usize,
    },
    /// `buf[..len]` is a complete header.
    Header {
        /// The length of the header in bytes.
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
        /// The address of the client according to the sender, unchanged: `::ffff:a.b.c.d` is not converted to IPv4.
        source: SocketAddr,
        /// The address to which the client connected.
        destination: SocketAddr,
    },
    /// The sender itself, for example for its health checks. The source is the address of the sender.
    Local,
    /// A connection without an address (`UNKNOWN`, AF_UNSPEC), or with an address that is not TCP (AF_UNIX). The
    /// policy cannot judge such a client, so it must be refused.
    Unknown,
}

/// The reason why the bytes are not a valid header. The proxy closes the connection without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// The bytes begin neither a version 1 header nor a version 2 header.
    #[error("no proxy header")]
    Missing,
    /// A version 1 line that is not canonical.
    #[error("malformed proxy header, version 1")]
    Malformed,
    /// A version 1 header without a CRLF within [`MAX_V1`] bytes, or a version 2 header with a length beyond
    /// [`MAX_V2`].
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

/// Parses the header at the start of `buf`. Each call parses the bytes from the start, because headers are short.
///
/// # Errors
/// [`ProxyHeaderError`] as soon as no further bytes can complete the header.
pub fn parse(buf: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    match buf.first() {
        None => Ok(Parsed::Need { at_least: 1 }),
        Some(b'P') => v1::parse(buf),
        Some(b'\r') => v2::parse(buf),
        Some(_) => Err(ProxyHeaderError::Missing),
    }
}

/// Returns whether `buf` begins with `start`, as far as its bytes have arrived.
fn agrees(buf: &[u8], start: &[u8]) -> bool {
    buf.iter().zip(start).all(|(byte, wanted)| byte == wanted)
}

#[cfg(test)]
mod tests;
