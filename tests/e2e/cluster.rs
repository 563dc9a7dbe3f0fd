//! Upstreams that are clusters: real nodes, slots that move, and failovers.

mod agree;
mod commands;
mod faults;
mod learned;
mod load;
mod locks;
mod logins;
mod lying;
mod memory;
mod monitors;
mod open_legs;
mod places;
mod pubsub;
mod redis_rs;
mod replicas;
mod scan;
mod scripted;
mod shared;
mod tools;
mod watch;
