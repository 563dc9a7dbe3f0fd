//! The parts of a valid configuration. Fields are private: only validation sets them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::ListId;
use portcullis_acl::command_rule::CommandRules;
use portcullis_acl::user::Secret;
use secrecy::{ExposeSecret, SecretString};

use super::address::{Address, AdminBind, Bind};
use super::limits::Limits;
use crate::presentation::Presentation;
use crate::tls::{ClientTls, ServerTls};

pub use self::audit::{Audit, AuditPath, CommandAudit, Overflow, SyslogServer};
pub use self::cluster::{Cluster, ReadFrom};
pub use self::observe::{KeyForm, Observe};
pub use self::sentinel::Sentinel;
pub(crate) use self::translations::Translations;

mod audit;
mod cluster;
mod observe;
mod sentinel;
mod translations;

/// One named listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) binds: Vec<Bind>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) refusal: Refusal,
    pub(super) auth: Auth,
    pub(super) users: Vec<String>,
    pub(super) acl: Option<Acl>,
    pub(super) inline_commands: bool,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    pub(super) presentation: Presentation,
    pub(super) limits: Limits,
    pub(super) tls: Option<Arc<ServerTls>>,
}

impl Listener {
    /// The index into [`super::Config::listeners`], by which [`portcullis_acl::Policy`] knows the listener.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The name: `[a-z][a-z0-9_-]*`, unique.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The listen addresses, at least one.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// The upstream of its clients.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The reply to a refused source; with TLS there is none.
    pub fn refusal(&self) -> Refusal {
        self.refusal
    }

    /// The party that checks credentials.
    pub fn auth(&self) -> Auth {
        self.auth
    }

    /// The names of the users that can log in, with [`Auth::Users`].
    pub fn users(&self) -> &[String] {
        &self.users
    }

    /// Commands that clients may run; `None`: all.
    pub fn acl(&self) -> Option<&Acl> {
        self.acl.as_ref()
    }

    /// Whether load balancers send the header of the PROXY protocol; [`portcullis_acl::Policy::speaks_for_others`]
    /// knows which ones may. `None`: no header is read.
    pub fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol
    }

    /// The kind of server that clients see, and its address.
    pub fn presentation(&self) -> &Presentation {
        &self.presentation
    }

    /// Whether inline commands (as typed in telnet) are taken.
    pub fn inline_commands(&self) -> bool {
        self.inline_commands
    }

    /// Whether the two are the same, apart from their place in the file and what their upstream says besides its name.
    pub fn is_like(&self, other: &Self) -> bool {
        let here = Self { index: other.index, upstream: Arc::clone(&other.upstream), ..self.clone() };
        self.upstream.name == other.upstream.name && here == *other
    }

    /// The limits of the process with this listener's own over them.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The TLS settings; `None`: clients connect without TLS.
    pub fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }
}

/// The use of the PROXY protocol on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    pub(super) only: bool,
}

impl ProxyProtocol {
    /// Whether senders that are not trusted are disconnected, rather than judged by their own address.
    pub fn only(self) -> bool {
        self.only
    }
}

/// The reply to a refused source before the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `-DENIED source address not allowed`.
    Denied,
    /// `-ERR illegal address`.
    IllegalAddress,
    /// No reply.
    Close,
    /// No reply, and a RST instead of a FIN.
    Reset,
}

impl Refusal {
    /// The refusal for a TLS client, which would take a line of text for a broken handshake.
    pub(super) fn without_words(self) -> Self {
        match self {
            Self::Denied | Self::IllegalAddress => Self::Close,
            Self::Close | Self::Reset => self,
        }
    }
}

/// The party that checks credentials on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Redis checks them: AUTH and HELLO are forwarded.
    Passthrough,
    /// No check: every client on the list is accepted, and the proxy logs in upstream with its own credentials.
    Trust,
    /// The proxy checks them: a user of the listener logs in, and the proxy logs in upstream with that user's
    /// credentials.
    Users,
}

impl Auth {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Trust => "trust",
            Self::Users => "users",
        }
    }
}

/// Command rules.
#[derive(Clone, Debug)]
pub struct Acl {
    pub(super) text: Vec<String>,
    pub(super) rules: Arc<CommandRules>,
}

impl Acl {
    /// The rules as written, one or more strings.
    pub fn text(&self) -> &[String] {
        &self.text
    }

    /// The compiled rules.
    pub fn rules(&self) -> &Arc<CommandRules> {
        &self.rules
    }
}

/// Rules with the same text are equal.
impl PartialEq for Acl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Acl {}

/// A user that can log in to the proxy. `Debug` output has no secret.
#[derive(Debug)]
pub struct User {
    pub(super) name: String,
    pub(super) secrets: Vec<Secret>,
    pub(super) from: Option<ListId>,
    pub(super) acl: Option<Acl>,
    pub(super) upstream_credentials: BTreeMap<String, Credentials>,
}

impl User {
    /// The name: `[a-z][a-z0-9_-]*`, unique.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digests of the user's passwords, at least one; each password is valid.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// The networks of the user, for [`portcullis_acl::Policy::admits`]; `None`: all that the listener admits.
    pub fn from(&self) -> Option<ListId> {
        self.from
    }

    /// Commands of the listener that the user may run; `None`: all of them.
    pub fn acl(&self) -> Option<&Acl> {
        self.acl.as_ref()
    }

    /// Credentials for the user at the upstream of that name; `None`: the upstream's own credentials.
    pub fn upstream_credentials(&self, upstream: &str) -> Option<&Credentials> {
        self.upstream_credentials.get(upstream)
    }
}

/// One Redis behind the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub(super) name: String,
    pub(super) addresses: Vec<Address>,
    pub(super) credentials: Option<Credentials>,
    pub(super) connections: Connections,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Option<Duration>,
    pub(super) resolve_every: Duration,
    pub(super) failover_wait: Option<Duration>,
    pub(super) tls: Option<Arc<ClientTls>>,
    pub(super) sentinel: Option<Arc<Sentinel>>,
    pub(super) cluster: Option<Arc<Cluster>>,
}

impl Upstream {
    /// The name: `[a-z][a-z0-9_-]*`, unique.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The addresses, tried in order: at least one, unless sentinels or the nodes of a cluster name the addresses.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The sentinels that name the master; `None`: the upstream has fixed addresses.
    pub fn sentinel(&self) -> Option<&Arc<Sentinel>> {
        self.sentinel.as_ref()
    }

    /// Whether sentinels name the address of the upstream.
    pub fn is_sentinel(&self) -> bool {
        self.sentinel.is_some()
    }

    /// The nodes by which the cluster is found; `None`: the upstream is no cluster.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// Whether the upstream is a cluster.
    pub fn is_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// The credentials: with `auth: trust` for every connection, with `auth: passthrough` for health checks only.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Whether clients share its connections.
    pub fn connections(&self) -> Connections {
        self.connections
    }

    /// Time to resolve, connect, agree on TLS and log in, for one address.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Time between two lookups of the names among its addresses, while nothing fails.
    pub fn resolve_every(&self) -> Duration {
        self.resolve_every
    }

    /// Time for which commands wait while the upstream is unavailable; `None`: a session ends with its upstream
    /// connection. Has no effect with [`Auth::Passthrough`].
    pub fn failover_wait(&self) -> Option<Duration> {
        self.failover_wait
    }

    /// The TLS settings; `None`: the upstream does not use TLS.
    pub fn tls(&self) -> Option<&Arc<ClientTls>> {
        self.tls.as_ref()
    }

    /// Time that a pending reply may take; `None`: no limit. Blocking commands have none.
    pub fn response_timeout(&self) -> Option<Duration> {
        self.response_timeout
    }
}

/// Whether clients share the connections to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Each client has its own connection.
    Dedicated,
    /// Many clients share a few connections for commands that leave no state behind. No listener with
    /// [`Auth::Passthrough`] may use such an upstream.
    Shared,
}

impl Connections {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }
}

/// Credentials of the proxy at an upstream. `Debug` output has no password.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: SecretString,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl Eq for Credentials {}

impl Credentials {
    /// The user name; `None`: the default user.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password. It is not empty, unless the configuration was read without secrets.
    pub fn password(&self) -> &SecretString {
        &self.password
    }
}

/// The admin endpoint.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(super) bind: AdminBind,
    pub(super) token: Option<SecretString>,
}

impl Admin {
    /// The listen address. Any address but loopback or a unix socket needs a token.
    pub fn bind(&self) -> &AdminBind {
        &self.bind
    }

    /// The bearer token, when one is set.
    pub fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }
}

/// The socket through which a new process takes the listening sockets over from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// A socket in the directory of the process's state, named from the path of the configuration file.
    Standard,
    /// A socket at this path.
    At(PathBuf),
    /// No socket.
    Off,
}

/// The events that make a running proxy read the files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A change of any file, and SIGHUP.
    Watch,
    /// SIGHUP alone.
    Signal,
}

/// The format and level of log lines; they go to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
}

impl Log {
    /// Sets the format, and the lowest level that is written.
    pub const fn new(format: LogFormat, level: LogLevel) -> Self {
        Self { format, level }
    }

    /// The format: text or JSON.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// The lowest level that is written.
    pub fn level(&self) -> LogLevel {
        self.level
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines that people read.
    Text,
    /// One JSON object per line.
    Json,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// Warnings, and all above.
    Warn,
    /// Events, and all above.
    Info,
    /// Reasons of events, and all above.
    Debug,
    /// All other details; never client data.
    Trace,
}

impl LogLevel {
    /// The word in the file, which `tracing` understands too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
