//! The protocol state of one client and of one upstream connection, without I/O: bytes and time come in as arguments.
//!
//! [`Session`] is one client: its requests, its pending replies and the policy in force for it. [`Link`] is one
//! upstream connection: it divides the received bytes into replies and messages. For the client's side the caller calls
//! [`Session::next`] and does what the returned [`Step`] says. For the upstream's side the caller calls [`Link::next`],
//! then [`Session::reply`] for each part. It also calls [`Session::write_local_replies`] whenever the session may have
//! a reply of its own.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
pub mod cluster;
mod face;
mod ids;
mod link;
mod local;
mod observe;
mod pending;
mod plan;
mod pooling;
mod route;
mod shape;
mod tick;

pub use client::{
    Aftermath, CloseReason, Continuity, Delivery, Lease, Loss, MAX_RENDERED, PendingLogin, Pooling,
    ReplyAction, Session, Standing, Step, Until,
};
pub use face::Face;
pub use ids::{SessionKey, Ticket};
pub use link::{
    Incoming, Link, LinkFault, MAX_LISTED, MAX_WHOLE_REPLY, Part, PoolKey, Preamble, PushKind, Subscribed,
    Subscriptions, Unavailable,
};
pub use local::{Action, ClientFacts, Filter, Findings, Inquiry, Listed};
pub use observe::{Attempt, Authenticator, Denial, Denied, Host, Observer, Peer};
pub use pending::MAX_RUNS;
pub use plan::{Auth, Plan};
pub use pooling::{LARGE_REPLY, Pin, PoolFault, PooledLink, Shared};
pub use route::Route;
pub use shape::{QueuedConfirmations, Shape, Verb};
pub use tick::Tick;

#[cfg(test)]
mod tests;
