//! The configuration: from a YAML file to validated values.
//!
//! A file is read into a located tree (`raw`), and the tree is walked by `validate`, which notes every
//! [`Problem`] with its line and column and goes on. What comes out has private fields and is complete: defaults
//! filled in, paths resolved, groups compiled. Keys of the format that this version cannot honour are errors.

#![forbid(unsafe_code)]

mod address;
mod breaks;
pub mod edit;
mod fields;
mod homes;
mod host;
mod input;
mod limits;
mod load;
mod lock;
pub mod message;
mod model;
mod origin;
mod places;
mod plain;
mod platform;
mod presentation;
mod problem;
mod raw;
mod scope;
mod scripts;
mod secret;
mod select;
mod settings;
pub mod tls;
mod validate;
mod value;
mod version;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use portcullis_acl::{Policy, PolicyBuilder};

pub use address::{Address, AdminBind, Bind, UnixSocket};
pub use breaks::OddCharacter;
pub use host::{Admitted, Dropped, Host, HostName, MAX_ADDRESSES};
pub use input::{Input, name_of};
pub use limits::{Limits, Tcp, Timeouts};
pub use load::{Loaded, Reading, default_path, load, read, read_document};
pub use model::{
    Acl, Admin, Audit, AuditPath, Auth, Cluster, CommandAudit, Connections, Credentials, KeyForm, Listener,
    Log, LogFormat, LogLevel, Observe, Overflow, ProxyProtocol, ReadFrom, Refusal, Reload, Sentinel,
    SyslogServer, Takeover, Upstream, User,
};
pub use origin::{Document, Origin};
pub use places::Places;
pub use platform::{FileId, id_at, id_of, is_null_device, open_without_waiting};
pub use presentation::{Announced, Presentation};
pub use problem::{Problem, Severity};
pub use scope::LoadOptions;
pub use scripts::ScriptLogin;
pub use version::{ConfigFile, Doubt, Loss};

/// The JSON Schema (draft 7) of a configuration file, with a description of each key, for editors.
pub const SCHEMA: &str = include_str!("schema.json");

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    origin: Origin,
    listeners: Vec<Arc<Listener>>,
    upstreams: Vec<Arc<Upstream>>,
    users: Vec<Arc<User>>,
    policy: Arc<Policy>,
    hosts: Arc<[Host]>,
    /// The policy as it was written, where there are host names: without their addresses.
    written: Option<Arc<PolicyBuilder>>,
    limits: Limits,
    admin: Option<Admin>,
    audit: Audit,
    observe: Observe,
    log: Log,
    reload: Reload,
    takeover: Takeover,
    workers: usize,
    places: Places,
}

impl Config {
    /// The path of its file, as it was named; for a document in memory, its name.
    pub fn path(&self) -> &Path {
        self.origin.path()
    }

    /// The file or the document that it was read from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The listeners, at least one; the index is the one for [`Policy::judge`].
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// The listener of that name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name() == name).map(AsRef::as_ref)
    }

    /// The upstreams, at least one, in the order of the file.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Users that can log in, in the order of the file; a listener names the users that can log in there.
    pub fn users(&self) -> &[Arc<User>] {
        &self.users
    }

    /// Access rules of all listeners.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The host names in its groups and lists, in the order of the files.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host names that the allow list of the listener with this index has, in the order of the files.
    pub fn allowed_hosts(&self, listener: usize) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(move |host| self.policy.allows_group(listener, host.group))
    }

    /// The same configuration, in which each host entry holds the addresses of its answer and no others. Addresses that
    /// [`Host::admits`] drops never get into the policy.
    #[must_use]
    pub fn resolved(&self, answer: impl Fn(&Host) -> Vec<IpAddr>) -> Self {
        let mut next = self.clone();
        if let Some(written) = &self.written {
            let mut policy = PolicyBuilder::clone(written);
            self.hosts.iter().for_each(|host| host.add_to(&mut policy, &answer(host)));
            next.policy = Arc::new(policy.build());
        }
        next
    }

    /// Limits of the process; those of a listener are [`Listener::limits`].
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The admin endpoint; `None`: off.
    pub fn admin(&self) -> Option<&Admin> {
        self.admin.as_ref()
    }

    /// The audit trail: its lines and their destination.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The commands of which samples are kept.
    pub fn observe(&self) -> &Observe {
        &self.observe
    }

    /// The format and level of the log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The events that make a running proxy read the files again.
    pub fn reload(&self) -> Reload {
        self.reload
    }

    /// The socket for a process that takes the listening sockets over.
    pub fn takeover(&self) -> &Takeover {
        &self.takeover
    }

    /// Places of the settings that the host must allow.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Number of worker threads, at least one: `workers: 0` has become the number of cores.
    pub fn workers(&self) -> usize {
        self.workers
    }
}

#[cfg(test)]
mod tests;
