//! Upstreams that are clusters: real nodes, slots that move, and failovers.

mod commands;
mod faults;
mod load;
mod locks;
mod logins;
mod lying;
mod memory;
mod places;
mod pubsub;
mod redis_rs;
mod scan;
mod scripted;
mod watch;
