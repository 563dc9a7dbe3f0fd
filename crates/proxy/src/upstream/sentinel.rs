//! The decision which server is the master of a Sentinel upstream. Without sockets and without a clock: time is an
//! argument.
//!
//! ```text
//!   answers of sentinels --> Answer --> Round --+
//!                                               +--> Follower --> master, pause
//!   messages of sentinels --> Event ------------+
//! ```
//!
//! `control/topology/sentinel.rs` asks the sentinels, and makes views of what a [`follow::Follower`] decides.

pub(crate) mod answer;
pub(crate) mod follow;
pub(crate) mod pause;
pub(crate) mod round;
