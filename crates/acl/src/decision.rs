//! The one answer that feeds the log line, the metric, the audit event, `explain` and the status page.

use std::fmt;

use crate::cidr::Cidr;
use crate::origin::UnixSeconds;

/// The decision about one source on one listener.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The source may go on.
    Allow(Permit),
    /// The source gets the listener's refusal.
    Deny(Denial),
}

/// Proof that a source was admitted: only [`crate::Policy::judge`] makes one, and [`crate::Policy::judge_shadow`] one
/// that is never acted on.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) rule: RuleId,
    pub(crate) expires: Option<UnixSeconds>,
}

impl Permit {
    /// The entry that admitted, to be looked up with [`crate::Policy::rule`].
    pub fn rule(&self) -> RuleId {
        self.rule
    }

    /// The first second in which no entry of this policy admits the source any more; `None` when one always will.
    pub fn expires(&self) -> Option<UnixSeconds> {
        self.expires
    }
}

/// The reason why a source was refused.
#[derive(Clone, Debug)]
pub struct Denial {
    pub(crate) reason: Reason,
    pub(crate) rule: Option<RuleId>,
}

impl Denial {
    /// Which of the closed set of reasons.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The entry that refused, or that has expired; `None` when it is the absence of one.
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
    /// Entries under `allow` cover the source, and all have passed their `until`.
    Expired,
}

impl Reason {
    /// The word for logs and metric labels.
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

/// Names one entry of the policy that gave it out. It means nothing to another policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(pub(crate) Which);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    V4(u32),
    V6(u32),
    Unix,
}

/// One entry, with where it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'p> {
    /// The group it was written in; `None` for an address written in place in `allow` or `deny`.
    pub group: Option<&'p str>,
    /// The index of that group in [`crate::Policy::groups`].
    pub group_index: Option<usize>,
    /// The network; `None` for the built-in `unix`.
    pub cidr: Option<Cidr>,
    /// The operator's note, of the entry or else of its group.
    pub note: Option<&'p str>,
    /// The owner of the entry, or else of its group.
    pub owner: Option<&'p str>,
    /// From this second on the entry counts as absent.
    pub until: Option<UnixSeconds>,
    /// The file it was written in; `None` for the built-in `unix`.
    pub file: Option<&'p str>,
    /// The line in that file, from 1; 0 for the built-in `unix`.
    pub line: u32,
}

impl Rule<'_> {
    /// The entry as text: `203.0.113.0/24`, `203.0.113.9` or `unix`.
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
