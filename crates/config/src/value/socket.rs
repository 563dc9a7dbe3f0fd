//! Addresses to listen on and to connect to: `host:port`, `[v6]:port`, `unix:/path`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::address::{Address, UnixSocket};
use crate::message::{Masked, Message, message};
use crate::platform::HAS_UNIX_SOCKETS;

/// `sun_path` of Linux without its closing NUL.
const LONGEST_SOCKET_PATH: usize = 107;

/// The hint for a port that is none.
const PORTS: &str = "the port is a number from 1 to 65535";

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    Tcp(SocketAddr),
    Unix(UnixSocket),
}

/// Reads an address to listen on; `Err` is message and hint.
pub(crate) fn local(text: &str, base: &Path) -> Result<Local, (Message, Message)> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path, base).map(|path| Local::Unix(UnixSocket::at(path)));
    }
    match text.parse::<SocketAddr>() {
        Ok(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_some() => {
            let v4 = v6.ip().to_ipv4_mapped().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
            let message = message!("'{}' is an IPv4-mapped address", Masked::of(text));
            Err((message, message!("write {}:{}", v4, v6.port())))
        }
        Ok(addr) => Ok(Local::Tcp(addr)),
        Err(_) => Err((message!("'{}' is not a valid listen address", Masked::of(text)), local_hint(text))),
    }
}

/// Reads an address to connect to; `Err` is message and hint.
pub(crate) fn remote(text: &str, base: &Path) -> Result<Address, (Message, Message)> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path, base).map(Address::Unix);
    }
    let bad = |hint: Message| Err((message!("'{}' is not a valid upstream address", Masked::of(text)), hint));
    if text.contains("://") {
        return bad(
            "write host:port, [v6]:port or unix:/path, without a scheme; a password goes into credentials"
                .into(),
        );
    }
    if let Ok(ip) = text.parse::<std::net::Ipv6Addr>() {
        return bad(message!("write [{}]:6379", ip));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return bad("write host:port, such as redis.internal:6379".into());
    };
    let Some(port) = port_number(port).filter(|port| *port != 0) else {
        return bad(PORTS.into());
    };
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match v6.parse::<SocketAddr>().is_err() && text.parse::<SocketAddr>().is_ok() {
            true => Ok(Address::Host { host: v6.to_owned(), port }),
            false => bad("write [v6]:port, such as [2001:db8::7]:6379".into()),
        };
    }
    if is_host(host) {
        return Ok(Address::Host { host: host.to_owned(), port });
    }
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let hint = if numeric { "write all four parts of the address, in decimal" } else { "write host:port" };
    bad(hint.into())
}

/// Reads the path of a socket file; `Err` is message and hint.
pub(crate) fn unix(path: &str, base: &Path) -> Result<PathBuf, (Message, Message)> {
    if !HAS_UNIX_SOCKETS {
        return Err((
            "the proxy has no unix sockets on Windows".into(),
            "write a TCP address, such as 127.0.0.1:6379".into(),
        ));
    }
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        return Err((
            message!("'unix:{}' is not a valid socket path", Masked::path(Path::new(path))),
            "write unix:/path/to/redis.sock".into(),
        ));
    }
    let path = base.join(path);
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        let message = message!("the socket path {} is too long", Masked::path(&path));
        return Err((message, message!("at most {} bytes", LONGEST_SOCKET_PATH)));
    }
    Ok(path)
}

fn local_hint(text: &str) -> Message {
    if let Some(port) = port_number(text) {
        return message!(
            "write 127.0.0.1:{}, or 0.0.0.0:{} for every IPv4 address of this machine",
            port,
            port
        );
    }
    match text.rsplit_once(':').map(|(host, port)| (host, port_number(port))) {
        Some(("" | "*", Some(port))) => message!("write 0.0.0.0:{} for IPv4, [::]:{} for both", port, port),
        Some(("localhost", Some(port))) => message!("write 127.0.0.1:{} or [::1]:{}", port, port),
        Some((host, Some(port))) if let Ok(ip) = host.parse::<std::net::Ipv6Addr>() => {
            message!("write [{}]:{}", ip, port)
        }
        // A name is no address to listen on, whatever its port.
        Some((host, None)) if is_local(host) => PORTS.into(),
        None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => PORTS.into(),
        _ => match text.parse::<std::net::IpAddr>() {
            Ok(ip) => message!("add a port: {}", SocketAddr::new(ip, 6379)),
            Err(_) => {
                "write address:port, [v6]:port or unix:/path, with an address of this machine and not a name"
                    .into()
            }
        },
    }
}

/// Whether a text is an address, or stands for some, as far as a listen address may begin with it.
fn is_local(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    matches!(host, "" | "*" | "localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || v6.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
}

fn port_number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A DNS name or an IPv4 address. What looks like a number must be a proper address: no octal, no short forms.
pub(crate) fn is_host(text: &str) -> bool {
    /// RFC 1035, 2.3.4, without the closing dot.
    const LONGEST: usize = 253;
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let sane = !name.is_empty() && name.len() <= LONGEST && name.split('.').all(label);
    sane && (!numeric || name.parse::<std::net::Ipv4Addr>().is_ok())
}
