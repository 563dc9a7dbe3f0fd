//! Who may connect, and who may run what. Pure: no sockets, no files, no clock.
//!
//! An operator's groups and listeners are put into a [`PolicyBuilder`], which compiles them into one immutable
//! [`Policy`]. [`Policy::judge`] answers for one source on one listener; every answer names the entry that decided,
//! so logs, metrics, audit and `explain` all tell the same story.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cidr;
pub mod decision;
pub mod group;
mod lookup;
pub mod origin;
pub mod policy;

pub use cidr::{Cidr, CidrError};
pub use decision::{Decision, Denial, Permit, Reason, Rule, RuleId};
pub use group::{Entry, GroupId, Meta, SourceId};
pub use origin::{ClientAddr, UnixSeconds};
pub use policy::{Access, Family, Group, GroupChange, Policy, PolicyBuilder, Shadow, TooMany};
