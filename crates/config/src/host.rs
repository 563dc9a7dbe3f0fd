//! Host names in groups: `{host: home.dyndns.example, refresh: 5m, keep: 1h}`.
//!
//! Reading a configuration resolves no name: a host entry is empty at first. [`crate::Config::resolved`] makes the
//! configuration in which host entries hold the addresses of an answer. It is a pure function, so that the owner of the
//! answers decides when and where names are resolved.

mod answer;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::{Entry, GroupId, Meta, PolicyBuilder, SourceId};

pub use self::answer::{Admitted, Dropped, MAX_ADDRESSES};

use crate::message::{Harmless, Message, message};
use crate::problem::{Position, Problem, Severity};

/// A host name that is an entry of a group.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) name: HostName,
    pub(super) refresh: Duration,
    pub(super) keep: Duration,
    pub(super) private: bool,
    pub(super) group: GroupId,
    pub(super) group_name: Option<String>,
    pub(super) source: SourceId,
    pub(super) place: Position,
    pub(super) meta: Meta,
}

impl Host {
    /// The name to resolve.
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// The time from one lookup to the next.
    pub fn refresh(&self) -> Duration {
        self.refresh
    }

    /// The time for which the last good answer counts while lookups fail.
    pub fn keep(&self) -> Duration {
        self.keep
    }

    /// Whether private addresses of an answer are admitted.
    pub fn admits_private(&self) -> bool {
        self.private
    }

    /// The name of its group; `None`: the entry is in the list of a listener or user.
    pub fn group(&self) -> Option<&str> {
        self.group_name.as_deref()
    }

    /// The file of the entry.
    pub fn file(&self) -> &str {
        &self.place.file
    }

    /// The line of the entry, from 1.
    pub fn line(&self) -> u32 {
        self.place.line
    }

    /// The note, the owner and the end of the entry itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The addresses of an answer that the entry admits, and those that it drops.
    pub fn admits(&self, answer: &[IpAddr]) -> Admitted {
        Admitted::of(answer, self.private)
    }

    /// A warning at the place of the entry that its name does not resolve. `reason` is the system's.
    pub fn unresolved(&self, reason: &std::io::Error) -> Problem {
        self.warning(
            message!("cannot resolve {}: {}", self.name, *reason),
            "check the name and the name server; until the name resolves, the entry admits no client",
        )
    }

    /// A warning at the place of the entry that it admits no address of its answer; `None` if it admits one.
    pub fn admits_none(&self, admitted: &Admitted) -> Option<Problem> {
        let dropped = |kind| admitted.dropped.iter().any(|(_, why)| *why == kind);
        let hint = if dropped(Dropped::Private) {
            "if clients connect from private addresses, add private: true"
        } else if dropped(Dropped::Loopback) {
            "a host name never admits loopback; write 127.0.0.1 as an address"
        } else {
            "check the records of the name"
        };
        let message = || message!("{}: {}", self.name, *admitted);
        admitted.addresses.is_empty().then(|| self.warning(message(), hint))
    }

    /// Adds the addresses of an answer that the entry admits to its group.
    pub(super) fn add_to(&self, policy: &mut PolicyBuilder, answer: &[IpAddr]) {
        for ip in self.admits(answer).addresses {
            let meta = Meta { host: Some(self.name.to_string()), ..self.meta.clone() };
            let entry = Entry { cidr: ip.into(), line: self.place.line, meta };
            // Where the tables are full, the address stays out.
            let _ = policy.entry(self.group, self.source, entry);
        }
    }

    fn warning(&self, message: Message, hint: &'static str) -> Problem {
        Problem::new(Severity::Warning, &self.place, message, hint.into())
    }
}

/// A valid DNS name in lower case, with the dot at the end if it was written with one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The caller has checked that the text is a name.
    pub(super) fn of_valid(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A validated host is shown, as the address of an upstream is.
impl Harmless for HostName {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
