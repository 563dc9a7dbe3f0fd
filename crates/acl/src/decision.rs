//! The decision of the policy. Log lines, metrics, audit trail, `explain` and the status page all use it.

use std::fmt;

use crate::cidr::Cidr;
use crate::origin::UnixSeconds;

/// The policy's decision about one source on one listener.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The source is admitted.
    Allow(Permit),
    /// The source is refused, in the way that the listener's `refusal` says.
    Deny(Denial),
}

/// The proof that the policy admitted a source. Only [`crate::Policy`] makes permits. A permit of
/// [`crate::Policy::judge_shadow`] admits no connection.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) rule: RuleId,
    pub(crate) expires: Option<UnixSeconds>,
}

impl Permit {
    /// Returns the id of the entry that admitted the source, for [`crate::Policy::rule`].
    pub fn rule(&self) -> RuleId {
        self.rule
    }

    /// Returns the first second from which no entry admits the source any more. `None` if an entry without expiry
    /// admits the source.
    pub fn expires(&self) -> Option<UnixSeconds> {
        self.expires
    }
}

/// A refusal of a source, with its reason.
#[derive(Clone, Debug)]
pub struct Denial {
    pub(crate) reason: Reason,
    pub(crate) rule: Option<RuleId>,
}

impl Denial {
    /// Returns the reason of the refusal.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the entry that refused the source, or an entry that has expired. `None` if no entry covers the source.
    pub fn rule(&self) -> Option<RuleId> {
        self.rule
    }
}

/// Reasons for a refusal by the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No entry admits the source.
    NotAllowed,
    /// An entry under `deny` covers the source.
    Denied,
    /// All entries under `allow` that cover the source have expired (`until`).
    Expired,
}

impl Reason {
    /// Returns the word for the reason in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::Denied => "denied",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of an entry, valid only in the policy that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(pub(crate) Which);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    V4(u32),
    V6(u32),
    Unix,
}

/// One entry, with its file and line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'p> {
    /// The name of the group that contains the entry. `None` for an address directly in `allow` or `deny`.
    pub group: Option<&'p str>,
    /// The index of the group in [`crate::Policy::groups`]. `None` if the group has no name.
    pub group_index: Option<usize>,
    /// The network; `None` for the built-in `unix`.
    pub cidr: Option<Cidr>,
    /// The host name in the file, where the entry is an address that the name resolved to.
    pub host: Option<&'p str>,
    /// The operator's note on the entry, or on its group if the entry has none.
    pub note: Option<&'p str>,
    /// The owner of the entry, or of its group if the entry has none.
    pub owner: Option<&'p str>,
    /// The second from which the entry is ignored.
    pub until: Option<UnixSeconds>,
    /// The file of the entry; `None` for the built-in `unix`.
    pub file: Option<&'p str>,
    /// The line in that file, from 1; 0 for the built-in `unix`.
    pub line: u32,
}

impl Rule<'_> {
    /// Returns the entry as text: `203.0.113.0/24`, `203.0.113.9` or `unix`.
    pub fn entry(&self) -> impl fmt::Display + use<> {
        EntryText(self.cidr)
    }
}

struct EntryText(Option<Cidr>);

impl fmt::Display for EntryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cidr) => cidr.fmt(f),
            None => f.write_str("unix"),
        }
    }
}
