//! The failures of an upstream, and the advice for each.

use std::fmt;
use std::time::Duration;

use portcullis_config::Upstream;
use portcullis_config::tls::TlsFault;
use portcullis_session::Unavailable;

use crate::metrics::UpstreamErrorKind as Kind;
use crate::upstream::connect::ConnectError;

/// A failed probe. The text never quotes the upstream, because its errors can contain the password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The sentinels have named no master that can be used.
    #[error("the sentinels have not named a master yet")]
    NoMaster,
    /// No node of the cluster has answered.
    #[error("no node of the cluster has answered")]
    NoNode,
    /// All nodes that answer say that the cluster is down.
    #[error("every node of the cluster that answers says cluster_state:fail")]
    ClusterDown,
    /// The server did not answer a command in time.
    #[error("connected, but no answer to {command} within {limit:?}")]
    Silent { command: &'static str, limit: Duration },
    /// The connection ended before the reply was complete.
    #[error("the connection was lost: {0}")]
    Lost(std::io::Error),
    #[error("{}", if *.alert { "it answered with a TLS alert" } else { "it closed the connection without an answer" })]
    Tls { alert: bool },
    /// TLS failed after the handshake, for example because the server refuses the certificate of the proxy (TLS 1.3).
    #[error("connected, but {fault}")]
    Broken { fault: TlsFault, shows_certificate: bool },
    #[error("{0}")]
    Answer(Answer),
}

/// Replies that mean that the upstream cannot serve a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    WrongPassword,
    PasswordWanted,
    NoPasswordSet,
    LoginRefused,
    Loading,
    MaxClients,
    ProtectedMode,
    IllegalAddress,
    /// The server is a replica, where the master is needed.
    Replica,
    /// The server speaks HTTP.
    Http,
    /// The server speaks SSH.
    Ssh,
    /// The server speaks neither RESP nor a protocol that is known here.
    NotRedis,
}

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Connect(error) => error.kind().into(),
            Self::NoMaster => Kind::Resolve,
            Self::NoNode | Self::ClusterDown => Kind::Timeout,
            Self::Silent { .. } => Kind::Timeout,
            Self::Lost(_) => Kind::Connect,
            Self::Tls { .. } | Self::Broken { .. } => Kind::Tls,
            Self::Answer(answer) => answer.kind(),
        }
    }

    /// Returns whether a second probe may succeed. A server that is stopping closes connections without a reply. A
    /// server at its limit may not have noticed yet that the last connection of the probe is closed.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Tls { alert: false } | Self::Answer(Answer::MaxClients))
    }

    /// Returns the advice for the operator about an upstream with fixed addresses.
    pub(crate) fn advice(&self, upstream: &str) -> impl fmt::Display {
        self.advice_about(&Subject::fixed(upstream))
    }

    /// Returns the advice for the operator, which names the configuration keys of `subject`.
    pub(crate) fn advice_about(&self, subject: &Subject) -> String {
        let Subject { key, address, timeout, server } = subject;
        match self {
            Self::Connect(error) => match error.tls() {
                Some((fault, shows_certificate)) => fault.advice(key, shows_certificate).to_string(),
                None => connect_advice(error.kind(), subject),
            },
            Self::NoMaster => {
                format!("see the lines about the sentinels in this log, and check {key}.sentinel")
            }
            Self::NoNode => {
                format!("see the lines about the nodes in this log, and check {key}.cluster")
            }
            Self::ClusterDown => {
                "run redis-cli --cluster check on one of its nodes: a slot has no master, or a majority of the masters \
                 is down"
                    .to_owned()
            }
            Self::Broken { fault, shows_certificate } => fault.advice(key, *shows_certificate).to_string(),
            Self::Silent { .. } => {
                format!("check whether {server} hangs or is overloaded, or raise {timeout}")
            }
            Self::Lost(_) => {
                format!("check the log of {server}, and the network between it and this proxy ({address})")
            }
            Self::Tls { .. } => {
                format!("it seems to require TLS: set {key}.tls, or set {address} to a port without TLS")
            }
            Self::Answer(answer) => answer.advice(subject),
        }
    }
}

/// The configuration keys of a server, for advice.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The owner of `credentials` and `tls`.
    key: String,
    /// The key that says where the server is.
    address: String,
    /// The key of the time limit.
    timeout: String,
    /// The server in a sentence.
    server: &'static str,
}

impl Subject {
    /// The servers of an upstream with fixed addresses.
    fn fixed(upstream: &str) -> Self {
        let key = format!("upstreams.{upstream}");
        Self {
            address: format!("{key}.address"),
            timeout: format!("{key}.connect_timeout"),
            key,
            server: "Redis",
        }
    }

    /// The servers of an upstream.
    pub(crate) fn servers_of(upstream: &Upstream) -> Self {
        let fixed = Self::fixed(upstream.name());
        let is_announced = upstream.is_sentinel() || upstream.is_cluster();
        let address = if is_announced { format!("{}.translate", fixed.key) } else { fixed.address };
        Self { address, ..fixed }
    }

    /// The sentinels of an upstream.
    pub(crate) fn sentinels_of(upstream: &Upstream) -> Self {
        let fixed = Self::fixed(upstream.name());
        let key = format!("{}.sentinel", fixed.key);
        Self { address: format!("{key}.nodes"), key, server: "the sentinel", ..fixed }
    }
}

fn connect_advice(kind: Unavailable, subject: &Subject) -> String {
    let Subject { address, timeout, server, .. } = subject;
    match kind {
        Unavailable::Resolve => format!("correct {address}, or check the name server"),
        Unavailable::Refused => format!("start {server} there, or correct {address}"),
        Unavailable::Timeout => {
            format!("check the firewalls between this machine and {address}, or raise {timeout}")
        }
        _ => {
            format!(
                "check that {address} is reachable from this machine, and the permissions if it is a socket file"
            )
        }
    }
}

impl Answer {
    const fn kind(self) -> Kind {
        match self {
            Self::WrongPassword | Self::PasswordWanted | Self::NoPasswordSet | Self::LoginRefused => {
                Kind::Auth
            }
            Self::Loading => Kind::Loading,
            Self::MaxClients => Kind::Limit,
            Self::ProtectedMode | Self::IllegalAddress => Kind::Refused,
            Self::Replica | Self::Http | Self::Ssh | Self::NotRedis => Kind::Protocol,
        }
    }

    fn advice(self, subject: &Subject) -> String {
        let Subject { key, address, .. } = subject;
        match self {
            Self::WrongPassword => format!("correct {key}.credentials"),
            Self::PasswordWanted => {
                format!("set {key}.credentials: listeners with `auth: trust` log in with them")
            }
            Self::NoPasswordSet => {
                format!("remove {key}.credentials, or set a password (requirepass) in Redis")
            }
            Self::LoginRefused => {
                format!("check whether {key}.credentials are the right ones for that server")
            }
            Self::Loading => "wait until Redis has loaded its data set".to_owned(),
            Self::MaxClients => "raise maxclients in Redis, or lower limits.clients below it".to_owned(),
            Self::ProtectedMode => format!(
                "set a password (requirepass) in Redis and in {key}.credentials, or bind Redis to a private address only \
                 and set `protected-mode no`"
            ),
            Self::IllegalAddress => "add this machine's address to the whitelist of that instance".to_owned(),
            Self::Replica => "wait for the end of the failover; if it lasts, check the sentinels".to_owned(),
            Self::Http | Self::Ssh | Self::NotRedis => format!("set {address} to a Redis server"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongPassword => "Redis refused the user name or password",
            Self::PasswordWanted => "Redis requires a password, but none is configured",
            Self::NoPasswordSet => "a password is configured, but Redis has none for that user",
            Self::LoginRefused => "the server answered AUTH with an error",
            Self::Loading => "Redis is loading its data set",
            Self::MaxClients => "Redis has reached maxclients",
            Self::ProtectedMode => "Redis is in protected mode and refuses the address of this machine",
            Self::IllegalAddress => "the address of this machine is not on the upstream's own whitelist",
            Self::Replica => "the server is a replica",
            Self::Http => "the server there speaks HTTP, not the Redis protocol",
            Self::Ssh => "the server there speaks SSH, not the Redis protocol",
            Self::NotRedis => "the server there does not speak the Redis protocol",
        })
    }
}

/// Names the protocol of bytes that are not RESP.
pub(crate) fn other_protocol(bytes: &[u8]) -> Answer {
    const BEGINNINGS: [(&[u8], Answer); 2] = [(b"HTTP/", Answer::Http), (b"SSH-", Answer::Ssh)];
    let known = BEGINNINGS.iter().find(|(prefix, _)| bytes.starts_with(prefix));
    known.map_or(Answer::NotRedis, |(_, answer)| *answer)
}

/// Reads an error that the server can send in place of any reply, even before it reads a command. `None` for other
/// errors.
pub(crate) fn unasked(line: &[u8]) -> Option<Answer> {
    const MEANINGS: [(&[u8], Answer); 6] = [
        (b"LOADING", Answer::Loading),
        (b"MASTERDOWN", Answer::Loading),
        (b"ERR max number of clients", Answer::MaxClients),
        (b"DENIED", Answer::ProtectedMode),
        (b"ERR illegal address", Answer::IllegalAddress),
        (b"ERR client ip is not in whitelist", Answer::IllegalAddress),
    ];
    MEANINGS.iter().find(|(prefix, _)| line.starts_with(prefix)).map(|(_, meaning)| *meaning)
}

/// Reads an error reply to AUTH (Redis 2 to 8, ApsaraDB).
pub(crate) fn login_error(line: &[u8]) -> Answer {
    const MEANINGS: [(&[u8], Answer); 4] = [
        (b"WRONGPASS", Answer::WrongPassword),
        (b"ERR invalid password", Answer::WrongPassword),
        (b"ERR AUTH <password> called without any password", Answer::NoPasswordSet),
        (b"ERR Client sent AUTH, but no password is set", Answer::NoPasswordSet),
    ];
    let known = MEANINGS.iter().find(|(prefix, _)| line.starts_with(prefix)).map(|(_, meaning)| *meaning);
    unasked(line).or(known).unwrap_or(Answer::LoginRefused)
}
