//! The sockets that are bound, before and while they are listened on.

use std::io;

use portcullis_config::{Bind, Config, Tcp};

use crate::generation::listener::Listener;
use crate::net::socket::{BindError, SocketFile, listen_tcp, listen_unix, set_options};

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(super) socket: socket2::Socket,
    pub(super) bind: Bind,
    pub(super) file: Option<SocketFile>,
}

impl Bound {
    fn bind(bind: &Bind, tcp: &Tcp) -> io::Result<Self> {
        let (socket, file) = match bind {
            Bind::Tcp { addr, v6only } => (listen_tcp(*addr, *v6only, tcp)?, None),
            Bind::Unix(file) => (listen_unix(file)?, Some(SocketFile::at(file.path())?)),
        };
        Ok(Self { socket, bind: bind.clone(), file })
    }

    /// Sets the options that may differ from one config to the next.
    pub(super) fn set_options(&self, listener: &Listener) {
        if let Bind::Tcp { .. } = self.bind
            && let tcp = listener.settings().limits().tcp()
            && let Err(error) = set_options(&socket2::SockRef::from(&self.socket), tcp)
        {
            tracing::warn!(bind = %self.bind, %error, "cannot set limits.tcp on this socket: it keeps the old values");
        }
    }
}

/// Binds those addresses of the config that are wanted.
///
/// # Errors
/// One cannot be listened on; the others are closed again.
pub(crate) fn bind_all(config: &Config, is_wanted: impl Fn(&Bind) -> bool) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for listener in config.listeners() {
        for bind in listener.binds().iter().filter(|bind| is_wanted(bind)) {
            bound.push(Bound::bind(bind, listener.limits().tcp()).map_err(|source| BindError {
                owner: format!("listener '{}'", listener.name()),
                bind: bind.to_string(),
                source,
            })?);
        }
    }
    Ok(bound)
}
