//! The steps of a test and their results, from which both forms of the output are made.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// The characters of a text of a peer that are shown. It chose the text.
const SHOWN: usize = 100;

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepName {
    /// Ask a sentinel for the master.
    Ask,
    /// Decide which server is the master.
    Decide,
    /// Ask the proxy for the master, as a client of a sentinel.
    Sentinel,
    /// Look a name up.
    Resolve,
    /// Connect to a socket.
    Connect,
    /// Perform a TLS handshake.
    Tls,
    /// Log in.
    Auth,
    /// Send PING.
    Ping,
    /// Ask for the role and the version.
    Role,
    /// Ask a node for the state of its cluster.
    Cluster,
    /// Connect to a node of the cluster.
    Node,
    /// Look whether all slots have an owner.
    Slots,
}

impl StepName {
    /// Returns the word of the text and the word of JSON.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ask => ("ask", "ask"),
            Self::Decide => ("decide", "decide"),
            Self::Sentinel => ("SENTINEL", "sentinel"),
            Self::Resolve => ("resolve", "resolve"),
            Self::Connect => ("connect", "connect"),
            Self::Tls => ("TLS", "tls"),
            Self::Auth => ("AUTH", "auth"),
            Self::Ping => ("PING", "ping"),
            Self::Role => ("ROLE", "role"),
            Self::Cluster => ("CLUSTER", "cluster"),
            Self::Node => ("node", "node"),
            Self::Slots => ("slots", "slots"),
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.words().0)
    }
}

/// One step of a test, and its result.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: StepName,
    /// The address or the name that the step was about.
    pub(super) target: Option<String>,
    pub(super) took: Duration,
    pub(super) finding: Option<Finding>,
    pub(super) trouble: Option<Trouble>,
}

/// The result of a step that succeeded.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// The master that a sentinel names.
    Master { address: String, epoch: u64 },
    /// The address that the proxy names to clients.
    Announced(String),
    /// The addresses of a name.
    Addresses(Vec<String>),
    /// The certificate of the server.
    Certificate { subject: String, days_left: i64 },
    /// The user of a login, and the user of the proxy for whom the login is.
    User { name: String, behalf_of: Option<String> },
    /// The reply to PING, or a description of it.
    Reply(&'static str),
    /// The role and the software of a server.
    Role(Server),
    /// The state of a cluster, its epoch, and the number of its nodes.
    Cluster { is_ok: bool, epoch: u64, nodes: usize },
    /// A node of a cluster, with the ranges of its slots and how many these are.
    Node { id: String, role: &'static str, slots: String, count: usize, reached_at: String },
    /// The slots with an owner, the number of owners, and the ranges of slots without one.
    Slots { covered: usize, owners: usize, missing: String },
}

/// Facts about a server. `None`: the server does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// `master`, `replica` or `sentinel`.
    pub(super) role: Option<&'static str>,
    /// The number of connected replicas of a master.
    pub(super) replicas: Option<usize>,
    /// The address of a replica's master.
    pub(super) master: Option<String>,
    /// The names that a sentinel monitors.
    pub(super) monitored: Vec<String>,
    /// The name of the software, `redis` or `valkey`.
    pub(super) software: Option<String>,
    pub(super) version: Option<String>,
    /// `standalone`, `cluster` or `sentinel`.
    pub(super) mode: Option<String>,
}

/// A problem that a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) severity: Severity,
    /// A stable word for programs.
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) advice: String,
}

/// The effect of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// The step failed.
    Failure,
    /// The step succeeded, but probably not as intended.
    Warning,
    /// The step could not be tested.
    NotTested,
}

impl Step {
    /// Makes a step without a result.
    pub(super) fn new(name: StepName, target: impl Into<Option<String>>, took: Duration) -> Self {
        Self { name, target: target.into(), took, finding: None, trouble: None }
    }

    /// Sets the finding.
    #[must_use]
    pub(super) fn found(self, finding: Finding) -> Self {
        Self { finding: Some(finding), ..self }
    }

    /// Sets the problem.
    #[must_use]
    pub(super) fn with(self, trouble: impl Into<Option<Trouble>>) -> Self {
        Self { trouble: trouble.into(), ..self }
    }

    /// Returns whether the step failed.
    pub(super) fn failed(&self) -> bool {
        self.has(Severity::Failure)
    }

    /// Returns whether the step has a problem of this severity.
    pub(super) fn has(&self, severity: Severity) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.severity == severity)
    }

    /// Renders the step as JSON.
    pub(super) fn json(&self) -> Value {
        let result = match self.trouble.as_ref().map(|trouble| trouble.severity) {
            None => "ok",
            Some(Severity::Failure) => "failed",
            Some(Severity::Warning) => "warning",
            Some(Severity::NotTested) => "not_tested",
        };
        let mut step = Map::new();
        step.insert("step".to_owned(), self.name.words().1.into());
        step.insert("target".to_owned(), self.target.clone().into());
        step.insert("result".to_owned(), result.into());
        // Microseconds are exact enough for a network.
        let micros = u32::try_from(self.took.as_micros()).unwrap_or(u32::MAX);
        step.insert("milliseconds".to_owned(), (f64::from(micros) / 1000.0).into());
        step.insert("problem".to_owned(), self.trouble.as_ref().map(Trouble::json).into());
        if let Some(finding) = &self.finding {
            let (key, facts) = finding.json();
            step.insert(key.to_owned(), facts);
        }
        step.into()
    }
}

impl Trouble {
    /// Makes a failure.
    pub(super) fn failure(kind: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Failure, kind, text: text.into(), advice: advice.into() }
    }

    /// Makes a warning.
    pub(super) fn warning(kind: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::failure(kind, text, advice) }
    }

    /// Makes the reason why a step is not tested.
    pub(super) fn not_tested(kind: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::NotTested, ..Self::failure(kind, text, advice) }
    }

    fn json(&self) -> Value {
        json!({"kind": self.kind, "text": self.text, "advice": self.advice})
    }
}

impl Finding {
    /// Returns the key in the step's object, and the facts.
    fn json(&self) -> (&'static str, Value) {
        match self {
            Self::Master { address, epoch } => ("master", json!({"address": address, "epoch": epoch})),
            Self::Announced(address) => ("announced", json!(address)),
            Self::Addresses(addresses) => ("addresses", json!(addresses)),
            Self::Certificate { subject, days_left } => {
                ("certificate", json!({"subject": subject, "days_left": days_left}))
            }
            Self::User { name, behalf_of } => ("login", json!({"user": name, "for": behalf_of})),
            Self::Reply(text) => ("reply", json!(text)),
            Self::Role(server) => ("server", server.json()),
            Self::Cluster { is_ok, epoch, nodes } => {
                let state = if *is_ok { "ok" } else { "fail" };
                ("cluster", json!({"state": state, "epoch": epoch, "nodes": nodes}))
            }
            Self::Node { id, role, slots, count, reached_at } => (
                "node",
                json!({"id": id, "role": role, "slots": slots, "slot_count": count, "reached_at": reached_at}),
            ),
            Self::Slots { covered, owners, missing } => {
                ("slots", json!({"covered": covered, "owners": owners, "uncovered": missing}))
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master { address, epoch } => write!(f, "{address}, epoch {epoch}"),
            Self::Announced(address) => f.write_str(address),
            Self::Addresses(addresses) => f.write_str(&addresses.join(", ")),
            Self::Certificate { subject, days_left } => {
                let days = if *days_left == 1 { "day" } else { "days" };
                write!(f, "{subject}, {days_left} {days} left")
            }
            Self::User { name, behalf_of: None } => write!(f, "as {name}"),
            Self::User { name, behalf_of: Some(user) } => write!(f, "as {name}, for user {user}"),
            Self::Reply(text) => f.write_str(text),
            Self::Role(server) => server.fmt(f),
            Self::Cluster { is_ok, epoch, nodes } => {
                let state = if *is_ok { "ok" } else { "fail" };
                write!(f, "state {state}, {nodes} nodes, epoch {epoch}")
            }
            Self::Node { role, count: 0, .. } => write!(f, "{role}, no slots"),
            Self::Node { role, slots, count, .. } => write!(f, "{role}, {count} slots: {}", shown(slots)),
            Self::Slots { covered, owners, .. } => write!(f, "{covered} of 16384, at {owners} masters"),
        }
    }
}

impl Server {
    fn json(&self) -> Value {
        json!({
            "role": self.role, "replicas": self.replicas, "master": self.master, "monitored": self.monitored,
            "software": self.software, "version": self.version, "mode": self.mode,
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.role.unwrap_or("role unknown"))?;
        match (self.replicas, &self.master) {
            (Some(1), _) => f.write_str(", 1 replica")?,
            (Some(replicas), _) => write!(f, ", {replicas} replicas")?,
            (None, Some(master)) => write!(f, " of {master}")?,
            (None, None) => {}
        }
        let software = match self.software.as_deref() {
            Some("valkey") => "Valkey",
            _ => "Redis",
        };
        match &self.version {
            Some(version) => write!(f, "; {software} {version}"),
            None => Ok(()),
        }
    }
}

/// Makes a text of a peer fit for a terminal: without control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (at, char) in text.chars().enumerate() {
        match char {
            _ if at == SHOWN => return shown + "...",
            '\'' | '"' => shown.push(char),
            char => shown.extend(char.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_peer_cannot_move_the_cursor() {
        assert_eq!(shown("upstream 'main'"), "upstream 'main'");
        assert_eq!(shown("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(shown(&"x".repeat(SHOWN)), "x".repeat(SHOWN));
        assert_eq!(shown(&"x".repeat(SHOWN + 1)), "x".repeat(SHOWN) + "...");
    }
}
