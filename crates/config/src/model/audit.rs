//! The audit trail.

use std::fmt;
use std::path::PathBuf;

use super::KeyForm;

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub(crate) path: AuditPath,
    pub(crate) commands: CommandAudit,
    pub(crate) keys: KeyForm,
    pub(crate) on_overflow: Overflow,
}

impl Audit {
    /// The destination of the lines.
    pub fn path(&self) -> &AuditPath {
        &self.path
    }

    /// The commands that have lines.
    pub fn commands(&self) -> CommandAudit {
        self.commands
    }

    /// The form of keys in the lines of commands.
    pub fn keys(&self) -> KeyForm {
        self.keys
    }

    /// The treatment of lines that arrive faster than they can be written.
    pub fn on_overflow(&self) -> Overflow {
        self.on_overflow
    }

    /// Whether the lines go to the same place in the same way.
    pub fn has_output_of(&self, other: &Self) -> bool {
        self.path == other.path && self.on_overflow == other.on_overflow
    }
}

/// The destination of audit lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditPath {
    /// Standard output, unless that is a terminal: the configuration does not say where.
    Unset,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, to which lines are appended.
    File(PathBuf),
    /// A syslog server, which gets a message for each line.
    Syslog(SyslogServer),
}

/// The address of a syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// The socket file of the server on this machine; usually `/dev/log`.
    Socket(PathBuf),
    /// A server over TCP: its host (IPv6 without brackets) and its port.
    Tcp {
        /// A name or an address.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
}

/// The form in the file.
impl fmt::Display for AuditPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset | Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
            Self::Syslog(server) => server.fmt(f),
        }
    }
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) if path.as_os_str() == Self::LOCAL => f.write_str("syslog"),
            Self::Socket(path) => write!(f, "syslog:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "syslog:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "syslog:{host}:{port}"),
        }
    }
}

impl SyslogServer {
    /// The socket file of the server on this machine.
    pub const LOCAL: &'static str = "/dev/log";
}

/// The commands that have audit lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandAudit {
    /// No command.
    None,
    /// Commands that the proxy refuses.
    Denied,
    /// Refused commands, and commands that may write.
    Writes,
    /// All commands.
    All,
}

impl CommandAudit {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Denied => "denied",
            Self::Writes => "writes",
            Self::All => "all",
        }
    }
}

/// The treatment of audit lines when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// They are dropped and counted.
    Drop,
    /// The thread that wrote it waits.
    Block,
}

impl Overflow {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Block => "block",
        }
    }
}
