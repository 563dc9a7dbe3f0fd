//! Facts of this host that a start depends on, tried out for `check` without disturbing a proxy that runs.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use portcullis_config::message::{Masked, Message, message};
use portcullis_config::{AuditPath, Bind, Config, Problem, Tcp};

use super::rlimit::raise_open_files;
use super::threads;
use crate::audit::Output;
use crate::net::held::{Address, HeldElsewhere, place};
use crate::net::socket::{bind_hint, bind_tcp, try_unix};

/// Returns an error for everything that would keep `run` from starting here. An address that the running proxy of the
/// same configuration holds is no error, because a reload keeps it.
pub(crate) fn faults(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let held = HeldElsewhere::by(config.path());
    let mut trial = Trial { held, sockets: Vec::new(), files: HashSet::new() };
    trial.listeners(config, &mut found);
    trial.admin(config, &mut found);
    if let Err(error) = Output::try_open(config.audit().path()) {
        let path = match config.audit().path() {
            AuditPath::Unset | AuditPath::Stdout => message!("stdout"),
            AuditPath::Stderr => message!("stderr"),
            AuditPath::File(path) => message!("{}", Masked::path(path)),
            AuditPath::Syslog(_) => message!("syslog"),
        };
        let fault = message!("cannot open audit output {}: {}", path, error);
        let hint =
            "name a file in a directory that exists, and let the user that runs portcullis write there";
        found.push(config.places().audit(fault, hint.into()));
    }
    if let Err(fault) = limits(config) {
        let hint = "raise the limits of open files and threads (ulimit -n and -u), or lower workers";
        found.push(config.places().process(fault, hint.into()));
    }
    found
}

fn limits(config: &Config) -> Result<(), Message> {
    raise_open_files().map_err(|few| message!("{}", few))?;
    threads::try_start(config.workers()).map_err(|error| message!("{}", error))
}

/// The addresses that were tried so far.
struct Trial {
    held: HeldElsewhere,
    /// They are bound and do not listen, so no client finds them, and a proxy that starts meanwhile can bind them too.
    sockets: Vec<socket2::Socket>,
    /// The socket files: two paths may lead to one file.
    files: HashSet<PathBuf>,
}

impl Trial {
    fn listeners(&mut self, config: &Config, found: &mut Vec<Problem>) {
        for listener in config.listeners() {
            for bind in listener.binds() {
                if let Err(error) = self.bind(bind, listener.limits().tcp()) {
                    let owner = Masked::name(listener.name());
                    let fault = message!("listener '{}': cannot listen on {}: {}", owner, shown(bind), error);
                    found.push(config.places().bind(bind, fault, bind_hint(bind, &error).into()));
                }
            }
        }
    }

    fn admin(&mut self, config: &Config, found: &mut Vec<Problem>) {
        let Some(admin) = config.admin() else { return };
        let bind = Bind::from(admin.bind());
        if let Err(error) = self.bind(&bind, config.limits().tcp()) {
            let fault = message!("admin: cannot listen on {}: {}", shown(&bind), error);
            found.push(config.places().bind(&bind, fault, bind_hint(&bind, &error).into()));
        }
    }

    fn bind(&mut self, bind: &Bind, tcp: &Tcp) -> io::Result<()> {
        let address = Address::of(bind);
        let tried = match bind {
            Bind::Tcp { addr, v6only } => {
                bind_tcp(*addr, *v6only, tcp).map(|socket| self.sockets.push(socket))
            }
            Bind::Unix(file) if !self.files.insert(place(file.path())) => {
                Err(io::ErrorKind::AddrInUse.into())
            }
            Bind::Unix(file) => try_unix(file),
        };
        match tried {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.held.has(address) => Ok(()),
            tried => tried,
        }
    }
}

fn shown(bind: &Bind) -> Message {
    match bind {
        Bind::Tcp { addr, .. } => message!("{}", *addr),
        Bind::Unix(file) => message!("unix:{}", Masked::path(file.path())),
    }
}
