//! Upstreams that are clusters: real nodes, slots that move, and failovers.

mod scripted;
mod watch;
