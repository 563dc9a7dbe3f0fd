//! The watcher of a cluster, without sockets: which nodes are asked and when, the map that follows from their answers,
//! and which nodes are down.
//!
//! ```text
//!   hints, answers ──► Survey ──► map ───┐
//!   answers, probes ─► Health ──► down ──┼──► Follower ──► ClusterView
//!                FormerPlaces ──► silent ┤
//!   lookups ─────────► Names ──► sockets ┘
//! ```

pub(crate) mod facts;
pub(crate) mod follow;
pub(crate) mod former;
pub(crate) mod health;
pub(crate) mod names;
pub(crate) mod survey;

#[cfg(test)]
mod tests;
