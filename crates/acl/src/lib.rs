//! Decides who may connect, and who may run which command. Pure: no sockets, no files, no clock.
//!
//! An operator's groups and listeners are put into a [`PolicyBuilder`], which compiles them into one immutable
//! [`Policy`]. [`Policy::judge`] answers for one source on one listener; every answer names the entry that decided,
//! so logs, metrics, audit and `explain` all tell the same story.
//!
//! An admitted client logs in ([`Users::authenticate`]) and may run the commands that the [`CommandRules`] of the
//! listener and of the user allow, compiled into one [`CommandPlan`]. [`mod@rate`] counts connects and failed logins
//! per source.
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
pub mod user;

pub use cidr::{Cidr, CidrError};
pub use command_rule::{CommandRules, Refused, RuleError};
pub use cost::{Cost, CostLimits};
pub use decision::{Decision, Denial, Permit, Reason, Rule, RuleId};
pub use group::{Entry, GroupId, Meta, SourceId};
pub use origin::{ClientAddr, UnixSeconds};
pub use plan::{Class, CommandPlan, DecidingRule, Judgement, Refusal, RuleOwner};
pub use policy::{Access, Family, Group, GroupChange, List, ListId, Policy, PolicyBuilder, Shadow, TooMany};
pub use user::{Secret, User, UserId, Users};
