//! Access control: which sources may connect, and which commands each client may run. This crate uses no sockets, no
//! files and no clock.
//!
//! A [`PolicyBuilder`] compiles an operator's groups and listeners into one immutable [`Policy`]. [`Policy::judge`]
//! decides about one source on one listener. Every decision names the entry that caused it, so logs, metrics, audit
//! trail and `explain` agree.
//!
//! An admitted client logs in ([`Users::authenticate`]) and may run the commands that the [`CommandRules`] of the
//! listener and of the user allow. Both are compiled into one [`CommandPlan`]. [`mod@rate`] counts connections and
//! failed logins of each source.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cidr;
pub mod command_rule;
pub mod cost;
pub mod decision;
pub mod group;
mod lookup;
pub mod origin;
pub mod plan;
pub mod policy;
pub mod rate;
pub mod spelling;
pub mod user;

pub use cidr::{Cidr, CidrError, Networks};
pub use command_rule::{CommandRules, Refused, RuleError};
pub use cost::{Cost, CostLimits};
pub use decision::{Decision, Denial, Permit, Reason, Rule, RuleId};
pub use group::{Entry, GroupId, Meta, SourceId};
pub use origin::{ClientAddr, UnixSeconds};
pub use plan::{Class, CommandPlan, DecidingRule, Judgement, Refusal, RuleOwner};
pub use policy::{
    Access, AdmittedNetwork, Family, Group, GroupChange, List, ListId, Policy, PolicyBuilder, Shadow, TooMany,
};
pub use user::{Secret, User, UserId, Users};
