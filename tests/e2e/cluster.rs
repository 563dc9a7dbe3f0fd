//! Upstreams that are clusters: real nodes, slots that move, and failovers.

mod commands;
mod redis_rs;
mod scripted;
mod watch;
