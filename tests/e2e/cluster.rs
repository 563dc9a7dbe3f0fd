//! Upstreams that are clusters: real nodes, slots that move, and failovers.

mod commands;
mod scripted;
mod watch;
