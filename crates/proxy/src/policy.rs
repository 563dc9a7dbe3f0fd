//! How another configuration takes the place of the one in force.

pub mod reload;
pub mod report;
pub mod watch;
