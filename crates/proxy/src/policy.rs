//! The config in force, and how another one takes its place.

pub mod explain;
pub mod logins;
pub mod reload;
pub mod report;
pub mod store;
pub mod watch;
