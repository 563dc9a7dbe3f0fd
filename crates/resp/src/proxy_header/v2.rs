//! Version 2 of the PROXY protocol: a binary header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{HeaderSource, MAX_V2, Parsed, ProxyHeaderError, agrees};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the fixed part in bytes: signature, version and command, family and protocol, length.
const FIXED: usize = 16;

pub(super) fn parse(buf: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    if !agrees(buf, SIGNATURE) {
        return Err(ProxyHeaderError::Missing);
    }
    let command = buf.get(12).copied().map(Command::of).transpose()?;
    let (Some(command), Some(&family), Some(length)) = (command, buf.get(13), buf.get(14..FIXED)) else {
        return Ok(Parsed::Need { at_least: FIXED });
    };
    let family = if command == Command::Proxy { Family::of(family)? } else { Family::Unknown };
    let length = length.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    let len = FIXED + length;
    if len > MAX_V2 {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(header) = buf.get(..len) else { return Ok(Parsed::Need { at_least: len }) };
    let block = header.get(FIXED..).unwrap_or(&[]);
    let source = match command {
        // In a LOCAL header the addresses may have any form, so the TLVs after them cannot be found.
        Command::Local => HeaderSource::Local,
        Command::Proxy => family.source(header, block)?,
    };
    Ok(Parsed::Header { len, source })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Command {
    Local,
    Proxy,
}

impl Command {
    const fn of(byte: u8) -> Result<Self, ProxyHeaderError> {
        match byte {
            0x20 => Ok(Self::Local),
            0x21 => Ok(Self::Proxy),
            _ => Err(ProxyHeaderError::Unsupported),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Tcp4,
    Tcp6,
    Unix,
    Unknown,
}

impl Family {
    /// Parses the byte of family and protocol. Datagram protocols (0x12, 0x22, 0x32) are refused, because a datagram
    /// cannot arrive over this connection.
    const fn of(byte: u8) -> Result<Self, ProxyHeaderError> {
        match byte {
            0x00 => Ok(Self::Unknown),
            0x11 => Ok(Self::Tcp4),
            0x21 => Ok(Self::Tcp6),
            0x31 => Ok(Self::Unix),
            _ => Err(ProxyHeaderError::Unsupported),
        }
    }

    fn source(self, header: &[u8], block: &[u8]) -> Result<HeaderSource, ProxyHeaderError> {
        let (source, tlvs) = match self {
            Self::Tcp4 => addresses::<4>(block, |octets| Ipv4Addr::from(octets).into()),
            Self::Tcp6 => addresses::<16>(block, |octets| Ipv6Addr::from(octets).into()),
            Self::Unix => block.get(UNIX..).map(|tlvs| (HeaderSource::Unknown, tlvs)),
            // The specification defines no addresses for AF_UNSPEC, and tells the receiver to ignore the block.
            Self::Unknown => return Ok(HeaderSource::Unknown),
        }
        .ok_or(ProxyHeaderError::Block)?;
        check_tlvs(header, tlvs)?;
        Ok(source)
    }
}

/// The length in bytes of AF_UNIX addresses: two paths of 108 bytes.
const UNIX: usize = 216;

/// Parses two addresses and two ports. Returns them and the bytes after them. `None` if the block is too short.
fn addresses<const N: usize>(
    block: &[u8],
    address: impl Fn([u8; N]) -> IpAddr,
) -> Option<(HeaderSource, &[u8])> {
    let (source, rest) = block.split_first_chunk()?;
    let (destination, rest) = rest.split_first_chunk()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, rest) = rest.split_first_chunk()?;
    let source = SocketAddr::new(address(*source), u16::from_be_bytes(*source_port));
    let destination = SocketAddr::new(address(*destination), u16::from_be_bytes(*destination_port));
    Some((HeaderSource::Tcp { source, destination }, rest))
}

/// Checks that the TLVs end exactly at the end of the header. Only the checksum is interpreted.
fn check_tlvs(header: &[u8], tlvs: &[u8]) -> Result<(), ProxyHeaderError> {
    let mut rest = tlvs;
    let mut checked = false;
    while let [kind, high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(len).ok_or(ProxyHeaderError::Block)?;
        if *kind == TLV_CRC32C {
            // Only one checksum is accepted. With many of them, a header could cost time that grows with the square
            // of its length.
            if std::mem::replace(&mut checked, true) {
                return Err(ProxyHeaderError::Block);
            }
            let said = <[u8; 4]>::try_from(value).map_err(|_| ProxyHeaderError::Block)?;
            let at = header.len().saturating_sub(after.len());
            if crc32c(header, at..at.saturating_add(CRC_LEN)) != u32::from_be_bytes(said) {
                return Err(ProxyHeaderError::Checksum);
            }
        }
        rest = next;
    }
    if rest.is_empty() { Ok(()) } else { Err(ProxyHeaderError::Block) }
}

const TLV_CRC32C: u8 = 0x03;
const CRC_LEN: usize = 4;

/// Computes a CRC32C (RFC 4960, appendix B) with zeros in place of the bytes in `zero`. One bit at a time is fast
/// enough, because a header usually has some dozen bytes.
fn crc32c(bytes: &[u8], zero: std::ops::Range<usize>) -> u32 {
    const REFLECTED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for (i, &byte) in bytes.iter().enumerate() {
        crc ^= u32::from(if zero.contains(&i) { 0 } else { byte });
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ REFLECTED_POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}
