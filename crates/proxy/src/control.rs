//! The control thread's work: files are watched, and another configuration takes the place of the one in force.

pub(crate) mod reload;
pub(crate) mod report;
pub(crate) mod topology;
mod unfinished;
pub(crate) mod watch;
