//! The control thread's work: files are watched, host names are looked up, and another configuration takes the place of
//! the one in force.

pub(crate) mod names;
pub(crate) mod reload;
pub(crate) mod report;
pub(crate) mod topology;
mod unfinished;
pub(crate) mod watch;
