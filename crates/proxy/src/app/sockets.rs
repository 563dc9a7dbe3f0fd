//! The sockets to listen on: taken over from the running process, passed by the service manager, or bound here.

use std::io;
use std::rc::Rc;

use portcullis_config::{Admin, Bind, Config, Origin};

use super::takeover::{Taking, path, take};
use super::{RunOptions, StartError, activation};
use crate::admin;
use crate::listener::{Bound, bind_or_take};
use crate::net::held::{Address, HeldElsewhere};
use crate::net::ready::{Binder, ReadyAddress, ReadySockets};
use crate::net::socket::BindError;

/// All listening sockets of the process.
pub(super) struct Sockets {
    /// The sockets of the listeners.
    pub listeners: Vec<Bound>,
    /// The socket of the admin endpoint.
    pub admin: Option<Rc<admin::Bound>>,
    /// The take-over that has begun, if there is one.
    pub taking: Option<Taking>,
}

impl Sockets {
    /// Listens on all addresses of the configuration. A socket that the configuration does not name is closed here.
    ///
    /// # Errors
    /// An address cannot be listened on, or the running process does not give its sockets.
    pub(super) fn open(config: &Config, options: RunOptions) -> Result<Self, StartError> {
        let mut ready = ReadySockets::default();
        activation::add_sockets(&mut ready, options.is_child);
        let mut taking = if options.takeover { begin(config, &mut ready)? } else { None };
        if let Some(taking) = &mut taking {
            make_way(taking, config, &mut ready)?;
        }
        let takes = taking.is_some();
        let bound = bind_or_take(config, |_| true, &mut ready);
        let listeners = bound.map_err(|error| explain(error, config, &ready, takes))?;
        let admin = config.admin().map(|admin| bind_admin(admin, config, &mut ready)).transpose();
        let admin = admin.map_err(|error| explain(error, config, &ready, takes))?.map(Rc::new);
        report_rest(&ready);
        Ok(Self { listeners, admin, taking })
    }
}

fn begin(config: &Config, ready: &mut ReadySockets) -> Result<Option<Taking>, StartError> {
    let Some(path) = path(config) else {
        tracing::warn!("takeover is off in the configuration: starting as without --takeover");
        return Ok(None);
    };
    let taking = take(&path, ready)?;
    if taking.is_none() {
        tracing::info!("no process of this configuration runs: starting as without --takeover");
    }
    Ok(taking)
}

/// Lets the running process close what overlaps with a new address, such as 127.0.0.1:6380 with 0.0.0.0:6380.
fn make_way(taking: &mut Taking, config: &Config, ready: &mut ReadySockets) -> Result<(), StartError> {
    let wanted: Vec<&Bind> = config.listeners().iter().flat_map(|listener| listener.binds()).collect();
    let in_the_way = ready.remove_in_the_way(&wanted);
    if !in_the_way.is_empty() {
        taking.release(&in_the_way)?;
    }
    for address in in_the_way {
        tracing::info!(%address, "closed: another address of the configuration takes its place");
    }
    Ok(())
}

fn bind_admin(admin: &Admin, config: &Config, ready: &mut ReadySockets) -> Result<admin::Bound, BindError> {
    admin::Bound::bind(admin.bind(), config.limits().tcp(), ready).map_err(|error| match config.origin() {
        Origin::File(_) => error,
        // The user may not know of the default.
        Origin::Document(_) => BindError { owner: "--admin ADDRESS".to_owned(), ..error },
    })
}

/// Says who has the address, if that is the running process of this configuration or the service manager. `takes` is
/// whether the sockets of the running process are taken over.
fn explain(error: BindError, config: &Config, ready: &ReadySockets, takes: bool) -> StartError {
    if error.source.kind() != io::ErrorKind::AddrInUse {
        return error.into();
    }
    if let Some((name, address)) = of_manager(ready, &error.bind) {
        return StartError::Manager { bind: error.bind, name, address };
    }
    let is_held = HeldElsewhere::by(config.path()).has(Address::of(&error.bind));
    match is_held && matches!(config.origin(), Origin::File(_)) {
        true if takes => StartError::Overlap(error.bind),
        true => StartError::Running(error.bind),
        false => error.into(),
    }
}

/// Returns a socket of the service manager that is in the way.
fn of_manager(ready: &ReadySockets, bind: &Bind) -> Option<(String, ReadyAddress)> {
    ready.rest().iter().find_map(|socket| match (&socket.binder, &socket.address, bind) {
        (Binder::Manager(name), ReadyAddress::Tcp { addr, .. }, Bind::Tcp { addr: wanted, .. })
            if addr.port() == wanted.port() =>
        {
            Some((name.clone(), socket.address.clone()))
        }
        _ => None,
    })
}

fn report_rest(ready: &ReadySockets) {
    for socket in ready.rest() {
        match &socket.binder {
            Binder::Former(_) => {
                tracing::info!(address = %socket.address, "closed: the configuration does not have this address");
            }
            Binder::Manager(name) => tracing::warn!(
                socket = %name,
                address = %socket.address,
                "no listener has this address of the service manager, so its clients get no answer: set bind to the \
                 address, or remove it from the socket unit"
            ),
        }
    }
}
