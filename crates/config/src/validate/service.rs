//! The keys about the process itself: admin endpoint, audit, log, workers.

use std::fs::Metadata;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bind;
use crate::Config;
use crate::address::{Address, AdminBind};
use crate::fields::Fields;
use crate::message::{Masked, message};
use crate::model::{
    Admin, Audit, AuditPath, CommandAudit, KeyForm, Log, LogFormat, LogLevel, Observe, Overflow, Reload,
    SyslogServer, Takeover,
};
use crate::platform::{HAS_SIGNALS, HAS_UNIX_SOCKETS, id_at};
use crate::problem::Problems;
use crate::raw::Node;
use crate::scope::Scope;
use crate::value::socket::{self, Local};
use crate::{secret, value};

/// The admin endpoint where the file says nothing.
const ADMIN_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9377);
/// More threads than this is a slip of the keyboard.
const MAX_WORKERS: u64 = 1024;

/// The settings of the process. `None` is a setting with a fault.
pub(super) struct Service {
    /// `Some(None)` is off.
    pub admin: Option<Option<Admin>>,
    pub audit: Option<Audit>,
    pub observe: Option<Observe>,
    pub log: Option<Log>,
    pub reload: Option<Reload>,
    pub takeover: Option<Takeover>,
    pub workers: Option<usize>,
}

impl Service {
    /// Reads the settings.
    pub(super) fn read(fields: &mut Fields<'_>, scope: &mut Scope) -> Self {
        Self {
            admin: admin(fields.take("admin"), scope),
            audit: audit(fields.take("audit"), scope),
            observe: observe(fields.take("observe"), &mut scope.problems),
            log: log(fields.take("log"), &mut scope.problems),
            reload: reload(fields.take("reload"), &mut scope.problems),
            takeover: takeover(fields.take("takeover"), scope),
            workers: workers(fields.take("workers"), &mut scope.problems),
        }
    }
}

/// The admin endpoint: `Some(None)` is off, `None` a setting with a fault.
fn admin(node: Option<&Node>, scope: &mut Scope) -> Option<Option<Admin>> {
    let Some(node) = node else { return Some(Some(Admin { bind: AdminBind::Tcp(ADMIN_BIND), token: None })) };
    if value::is_off(node) {
        return Some(None);
    }
    let mut fields = Fields::of(node, "admin", &mut scope.problems)?;
    let bind_node = fields.take("bind");
    let token = fields.take("token").map(|node| secret::read(node, "admin token", scope));
    fields.finish(&mut scope.problems);
    let bind = match bind_node {
        None => AdminBind::Tcp(ADMIN_BIND),
        Some(node) => admin_bind(node, scope)?,
    };
    if let AdminBind::Tcp(addr) = &bind
        && !is_loopback(addr)
        && token.is_none()
    {
        let place = bind_node.map_or(&node.place, |node| &node.place);
        let hint = "add token: {file: PATH}, or bind it to 127.0.0.1 or unix:/path";
        scope.problems.error(place, message!("admin on {} needs a token", *addr), hint);
    }
    let token = match token {
        None => None,
        Some(token) => Some(token?),
    };
    Some(Some(Admin { bind, token }))
}

fn audit(node: Option<&Node>, scope: &mut Scope) -> Option<Audit> {
    let mut audit = Audit {
        path: AuditPath::Unset,
        commands: CommandAudit::None,
        keys: KeyForm::Off,
        on_overflow: Overflow::Drop,
    };
    let Some(node) = node else { return Some(audit) };
    let mut fields = Fields::of(node, "audit", &mut scope.problems)?;
    if let Some(node) = fields.take("path")
        && let Some(path) = audit_path(node, scope)
    {
        scope.audit = Some(node.place.clone());
        audit.path = path;
    }
    let overflow = [Overflow::Drop, Overflow::Block].map(|overflow| (overflow.as_str(), overflow));
    if let Some(node) = fields.take("on_overflow") {
        audit.on_overflow = value::word(node, "on_overflow", &overflow, &mut scope.problems)?;
    }
    let levels = [CommandAudit::None, CommandAudit::Denied, CommandAudit::Writes, CommandAudit::All];
    if let Some(node) = fields.take("commands") {
        let words = levels.map(|level| (level.as_str(), level));
        audit.commands = value::word(node, "commands", &words, &mut scope.problems)?;
    }
    if let Some(node) = fields.take("keys") {
        audit.keys = key_form(node, &mut scope.problems)?;
    }
    fields.finish(&mut scope.problems);
    Some(audit)
}

/// Reads `stdout`, `stderr`, `syslog`, `syslog:/path`, `syslog:HOST:PORT`, or the path of a file.
fn audit_path(node: &Node, scope: &mut Scope) -> Option<AuditPath> {
    let path = value::text(node, "path", &mut scope.problems)?;
    let server = match (path, path.strip_prefix("syslog:")) {
        ("stdout", _) => return Some(AuditPath::Stdout),
        ("stderr", _) => return Some(AuditPath::Stderr),
        ("syslog", _) if !HAS_UNIX_SOCKETS => {
            let hint = "write syslog:HOST:PORT for a server over TCP, or the path of a file";
            scope.problems.error(&node.place, "Windows has no syslog server of its own", hint);
            return None;
        }
        ("syslog", _) => SyslogServer::Socket(SyslogServer::LOCAL.into()),
        (file, None) => return Some(AuditPath::File(scope.base.join(file))),
        (_, Some(socket)) if socket.starts_with('/') => match socket::unix(socket, &scope.base) {
            Ok(socket) => SyslogServer::Socket(socket),
            Err((message, hint)) => {
                scope.problems.error(&node.place, message, hint);
                return None;
            }
        },
        (_, Some(server)) => match socket::remote(server, &scope.base) {
            Ok(Address::Host { host, port }) => SyslogServer::Tcp { host, port },
            Ok(Address::Unix(_)) | Err(_) => {
                let message = message!("'{}' is not a valid syslog server", Masked::of(path));
                let hint = "write syslog for /dev/log, syslog:/path/of/a/socket, or syslog:HOST:PORT for TCP";
                scope.problems.error(&node.place, message, hint);
                return None;
            }
        },
    };
    Some(AuditPath::Syslog(server))
}

fn key_form(node: &Node, problems: &mut Problems) -> Option<KeyForm> {
    let words = [KeyForm::Off, KeyForm::Hashed, KeyForm::Plain].map(|form| (form.as_str(), form));
    value::word(node, "keys", &words, problems)
}

/// A shorter time is that of most commands on a slow network.
const SLOW: Duration = Duration::from_millis(10);
/// A request or a reply of this size takes milliseconds on a network of 1 Gbit/s, and delays other clients.
const LARGE: u64 = 1 << 20;
/// Smaller requests and replies travel in one piece, and their sizes are not looked at.
const LEAST_LARGE: u64 = 64 << 10;
/// The largest that `limits.bulk` allows is smaller.
const MOST_LARGE: u64 = 1 << 40;

fn observe(node: Option<&Node>, problems: &mut Problems) -> Option<Observe> {
    let mut observe = Observe { slow: Some(SLOW), large: Some(LARGE), hot: false, keys: KeyForm::Hashed };
    let Some(node) = node else { return Some(observe) };
    let mut fields = Fields::of(node, "observe", problems)?;
    if let Some(node) = fields.take("slow") {
        observe.slow = value::duration_or_off(node, "slow", problems)?;
    }
    if let Some(node) = fields.take("large") {
        observe.large = match value::is_off(node) {
            true => None,
            false => Some(value::size(node, "large", (LEAST_LARGE, MOST_LARGE), problems)?),
        };
    }
    if let Some(node) = fields.take("hot") {
        observe.hot = value::word(node, "hot", &[("off", false), ("on", true)], problems)?;
    }
    if let Some(node) = fields.take("keys") {
        observe.keys = key_form(node, problems)?;
    }
    fields.finish(problems);
    Some(observe)
}

/// Reports an audit output that the configuration uses otherwise. Audit lines would be added to a list, for example.
pub(crate) fn report_audit_of_input(config: &Config, scope: &mut Scope) {
    let AuditPath::File(path) = config.audit().path() else { return };
    let Some(place) = config.places().of_audit() else { return };
    let id = |path: &Path| {
        std::fs::metadata(path).ok().filter(Metadata::is_file)?;
        id_at(path).ok()
    };
    let own = id(path);
    let is_same = |other: &&PathBuf| *other == path || (own.is_some() && id(other) == own);
    let mut files = scope.sources.iter().map(|source| &source.path).chain(&scope.unread);
    let message = if let Some(file) = files.find(is_same) {
        message!("the audit output is {}, which the configuration reads", Masked::path(file))
    } else if config.places().sockets().any(|socket| socket == path) {
        message!("the audit output is {}, which is a socket of this configuration", Masked::path(path))
    } else {
        return;
    };
    scope.problems.error(place, message, "name a file of its own for the audit lines");
}

fn log(node: Option<&Node>, problems: &mut Problems) -> Option<Log> {
    let mut log = Log { format: LogFormat::Text, level: LogLevel::Info };
    let Some(node) = node else { return Some(log) };
    let mut fields = Fields::of(node, "log", problems)?;
    if let Some(node) = fields.take("format") {
        log.format =
            value::word(node, "format", &[("text", LogFormat::Text), ("json", LogFormat::Json)], problems)?;
    }
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    if let Some(node) = fields.take("level") {
        log.level = value::word(node, "level", &levels.map(|level| (level.as_str(), level)), problems)?;
    }
    fields.finish(problems);
    Some(log)
}

fn reload(node: Option<&Node>, problems: &mut Problems) -> Option<Reload> {
    let Some(node) = node else { return Some(Reload::Watch) };
    let words = [("watch", Reload::Watch), ("signal", Reload::Signal)];
    let reload = value::word(node, "reload", &words, problems)?;
    if reload == Reload::Signal && !HAS_SIGNALS {
        let hint = "write reload: watch; the admin endpoint reloads as well";
        problems.error(&node.place, "Windows has no signal that reloads", hint);
        return None;
    }
    Some(reload)
}

fn takeover(node: Option<&Node>, scope: &mut Scope) -> Option<Takeover> {
    let Some(node) = node else { return Some(Takeover::Standard) };
    if value::is_off(node) {
        return Some(Takeover::Off);
    }
    if !HAS_UNIX_SOCKETS {
        let hint =
            "remove it, or write takeover: off; on Windows a new process starts when the old one has stopped";
        scope.problems.error(
            &node.place,
            "takeover needs unix sockets, which the proxy does not have on Windows",
            hint,
        );
        return None;
    }
    let text = value::text(node, "takeover", &mut scope.problems)?;
    let path = text.strip_prefix("unix:").unwrap_or(text);
    match socket::unix(path, &scope.base) {
        Ok(path) => Some(Takeover::At(path)),
        Err((message, hint)) => {
            scope.problems.error(&node.place, message, hint);
            None
        }
    }
}

fn workers(node: Option<&Node>, problems: &mut Problems) -> Option<usize> {
    let written = match node {
        Some(node) => value::number(node, "workers", (0, MAX_WORKERS), problems)?,
        None => 0,
    };
    match usize::try_from(written).ok()? {
        0 => Some(std::thread::available_parallelism().map_or(1, NonZero::get)),
        some => Some(some),
    }
}

fn admin_bind(node: &Node, scope: &mut Scope) -> Option<AdminBind> {
    Some(match bind::read(node, scope)? {
        Local::Tcp(addr) => AdminBind::Tcp(addr),
        Local::Unix(file) => AdminBind::Unix(file),
    })
}

/// Whether only this machine can reach it.
fn is_loopback(addr: &SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(v4) => v4.ip().is_loopback(),
        SocketAddr::V6(v6) => v6.ip().is_loopback(),
    }
}
