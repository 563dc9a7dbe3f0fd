//! Sockets that are bound and listen, before and while the proxy accepts on them.

use std::io;

use portcullis_config::{Bind, Config, Origin, Tcp};

use crate::generation::listener::Listener;
use crate::net::ready::ReadySockets;
use crate::net::socket::{BindError, SocketFile, listen_tcp, listen_unix, set_options};

/// A listening socket, with its address.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(super) socket: socket2::Socket,
    pub(super) bind: Bind,
    pub(super) file: Option<SocketFile>,
}

impl Bound {
    fn bind(bind: &Bind, tcp: &Tcp, ready: &mut ReadySockets) -> io::Result<Self> {
        let (socket, file) = match (ready.take(bind, tcp)?, bind) {
            (Some(taken), _) => taken,
            (None, Bind::Tcp { addr, v6only }) => (listen_tcp(*addr, *v6only, tcp)?, None),
            (None, Bind::Unix(file)) => (listen_unix(file)?, Some(SocketFile::at(file.path())?)),
        };
        Ok(Self { socket, bind: bind.clone(), file })
    }

    /// Returns the address, and a further descriptor of the socket for another process.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub(super) fn share(&self) -> io::Result<(Bind, socket2::Socket)> {
        Ok((self.bind.clone(), self.socket.try_clone()?))
    }

    /// Leaves the file of a unix socket to the process that has taken the socket over.
    pub(super) fn give_away(&self) {
        if let Some(file) = &self.file {
            file.give_away();
        }
    }

    /// Sets the options that a reload may change.
    pub(super) fn set_options(&self, listener: &Listener) {
        if let Bind::Tcp { .. } = self.bind
            && let tcp = listener.settings().limits().tcp()
            && let Err(error) = set_options(&socket2::SockRef::from(&self.socket), tcp)
        {
            tracing::warn!(bind = %self.bind, %error, "cannot set limits.tcp on this socket: it keeps the old values");
        }
    }
}

/// Binds the addresses of the configuration for which `is_wanted` returns true.
///
/// # Errors
/// The proxy cannot listen on an address. The sockets that are already bound are closed again.
pub(crate) fn bind_all(config: &Config, is_wanted: impl Fn(&Bind) -> bool) -> Result<Vec<Bound>, BindError> {
    bind_or_take(config, is_wanted, &mut ReadySockets::default())
}

/// Does the same as [`bind_all`], and takes the sockets that listen already where their addresses are wanted.
///
/// # Errors
/// The errors of [`bind_all`].
pub(crate) fn bind_or_take(
    config: &Config,
    is_wanted: impl Fn(&Bind) -> bool,
    ready: &mut ReadySockets,
) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for listener in config.listeners() {
        for bind in listener.binds().iter().filter(|bind| is_wanted(bind)) {
            bound.push(Bound::bind(bind, listener.limits().tcp(), ready).map_err(|source| BindError {
                owner: match config.origin() {
                    Origin::File(_) => format!("listener '{}'", listener.name()),
                    Origin::Document(_) => "--listen".to_owned(),
                },
                bind: bind.clone(),
                source,
            })?);
        }
    }
    Ok(bound)
}
