//! The decision of the policy. The log line, the metric, the audit event, `explain` and the status page all use it.

use std::fmt;

use crate::cidr::Cidr;
use crate::origin::UnixSeconds;

/// The policy's decision about one source on one listener.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The source is admitted.
    Allow(Permit),
    /// The source is refused, and gets the refusal of the listener.
    Deny(Denial),
}

/// Proof that the policy admitted a source. Only [`crate::Policy::judge`] makes one; a permit of
/// [`crate::Policy::judge_shadow`] admits no connection.
#[derive(Clone, Debug)]
pub struct Permit {
    pub(crate) rule: RuleId,
    pub(crate) expires: Option<UnixSeconds>,
}

impl Permit {
    /// The entry that admitted the source, for [`crate::Policy::rule`].
    pub fn rule(&self) -> RuleId {
        self.rule
    }

    /// The first second in which no entry of this policy admits the source any more; `None` if an entry always will.
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
    /// The reason of the refusal.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The entry that refused the source, or that has expired; `None` if no entry covers the source.
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
    /// The word for the reason in logs and metric labels.
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

/// The name of one entry in the policy that returned it. Other policies do not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(pub(crate) Which);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    V4(u32),
    V6(u32),
    Unix,
}

/// One entry, with the place in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'p> {
    /// The group that contains the entry; `None` for an address directly in `allow` or `deny`.
    pub group: Option<&'p str>,
    /// The index of that group in [`crate::Policy::groups`].
    pub group_index: Option<usize>,
    /// The network; `None` for the built-in `unix`.
    pub cidr: Option<Cidr>,
    /// The operator's note on the entry, or else on its group.
    pub note: Option<&'p str>,
    /// The owner of the entry, or else of its group.
    pub owner: Option<&'p str>,
    /// The second from which the entry counts as absent.
    pub until: Option<UnixSeconds>,
    /// The file of the entry; `None` for the built-in `unix`.
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
