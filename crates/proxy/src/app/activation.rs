//! Sockets that the service manager has bound (socket activation): it passes them from descriptor 3 on, and tells their
//! number, their names and the process that they are for.

use std::env;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, getppid, pidfd_getfd, pidfd_open};
use socket2::{SockRef, Type};

use crate::net::ready::{Binder, ReadyAddress, ReadySocket, ReadySockets};

/// The first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// The highest number of sockets. systemd passes fewer by default.
const MOST: RawFd = 1024;

/// Adds the sockets that the service manager passes to this process. With `is_child` they may be meant for its parent,
/// from which it has inherited them.
pub(super) fn add_sockets(ready: &mut ReadySockets, is_child: bool) {
    let variable = |name| env::var(name).unwrap_or_default();
    let parent = is_child.then(getppid).flatten().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    let owners = [Some(process::id()), parent];
    let Some(count) = count(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), &owners) else { return };
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    for descriptor in FIRST..FIRST + count {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        match duplicate(descriptor).and_then(|own| Ok((address(&own)?, own))) {
            Ok((address, own)) => {
                tracing::info!(socket = name, %address, "got a socket from the service manager");
                ready.add(ReadySocket::new(own, address, Binder::Manager(name.to_owned())));
            }
            Err(error) => {
                tracing::warn!(socket = name, %error, "cannot use a socket of the service manager");
            }
        }
    }
}

/// Returns the number of sockets, if they are meant for one of the `owners`.
fn count(owner: &str, count: &str, owners: &[Option<u32>]) -> Option<RawFd> {
    let owner = owner.parse().ok()?;
    owners.contains(&Some(owner)).then_some(())?;
    count.parse().ok().filter(|count| (1..=MOST).contains(count))
}

/// Returns a descriptor of this process's own for an inherited one, whose number alone is known. The inherited one stays
/// open: the service manager keeps the socket too.
fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this, descriptor, PidfdGetfdFlags::empty())?)
}

/// Returns the address of a listening socket.
fn address(socket: &OwnedFd) -> io::Result<ReadyAddress> {
    let socket = SockRef::from(socket);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::other("it does not listen for connections: use ListenStream= with Accept=no"));
    }
    let local = socket.local_addr()?;
    if let Some(addr) = local.as_socket() {
        let v6only = addr.is_ipv6() && socket.only_v6()?;
        return Ok(ReadyAddress::Tcp { addr, v6only });
    }
    let path = local.as_pathname().map(ToOwned::to_owned);
    path.map(ReadyAddress::Unix).ok_or_else(|| io::Error::other("it has neither a TCP address nor a path"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn sockets_are_for_one_process() {
        let owners = [Some(7), Some(6)];
        assert_eq!(count("7", "2", &owners), Some(2));
        assert_eq!(count("6", "1", &owners), Some(1));
        assert_eq!(count("5", "2", &owners), None);
        assert_eq!(count("7", "0", &owners), None);
        assert_eq!(count("7", "-1", &owners), None);
        assert_eq!(count("", "", &[Some(7), None]), None);
    }

    #[test]
    fn an_inherited_descriptor_is_used_by_its_number() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = duplicate(listener.as_raw_fd()).unwrap();
        let expected = ReadyAddress::Tcp { addr: listener.local_addr().unwrap(), v6only: false };
        assert_eq!(address(&own).unwrap(), expected);
        assert!(duplicate(RawFd::MAX).is_err());
    }

    #[test]
    fn only_listening_sockets_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.sock");
        let listener = OwnedFd::from(UnixListener::bind(&path).unwrap());
        assert_eq!(address(&listener).unwrap(), ReadyAddress::Unix(path));
        assert!(address(&OwnedFd::from(UnixDatagram::unbound().unwrap())).is_err());
    }
}
