//! The control thread's work: files are watched, and another configuration takes the place of the one in force.

pub mod reload;
pub mod report;
pub mod watch;
