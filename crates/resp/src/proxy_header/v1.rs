//! Version 1 of the PROXY protocol: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{HeaderSource, MAX_V1, Parsed, ProxyHeaderError, agrees};

const START: &[u8] = b"PROXY ";

pub(super) fn parse(buf: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    if !agrees(buf, START) {
        return Err(ProxyHeaderError::Missing);
    }
    let head = buf.get(..MAX_V1).unwrap_or(buf);
    let Some(end) = memchr::memchr2(b'\r', b'\n', head) else {
        if buf.len() >= MAX_V1 {
            return Err(ProxyHeaderError::TooLong);
        }
        return Ok(Parsed::Need { at_least: buf.len().max(START.len()) + 1 });
    };
    match head.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if head.len() < MAX_V1 => return Ok(Parsed::Need { at_least: buf.len() + 1 }),
        Some([b'\r']) => return Err(ProxyHeaderError::TooLong),
        _ => return Err(ProxyHeaderError::Malformed),
    }
    let line = head.get(START.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    let source = line.and_then(source).ok_or(ProxyHeaderError::Malformed)?;
    Ok(Parsed::Header { len: end + 2, source })
}

fn source(line: &str) -> Option<HeaderSource> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    if family == "UNKNOWN" {
        // The specification tells the receiver to ignore the rest of the line. Bytes that are not printable text make
        // the header invalid.
        return rest.bytes().all(|byte| (b' '..0x7f).contains(&byte)).then_some(HeaderSource::Unknown);
    }
    let mut fields = rest.split(' ');
    let address = |text: Option<&str>| match family {
        "TCP4" => text?.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => text?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    let (source, destination) = (address(fields.next())?, address(fields.next())?);
    let (source_port, destination_port) = (port(fields.next()?)?, port(fields.next()?)?);
    if fields.next().is_some() {
        return None;
    }
    Some(HeaderSource::Tcp {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Parses a port in canonical form. `str::parse` alone would accept `+80` and `080`.
fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok())?
}
