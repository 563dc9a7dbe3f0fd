//! One client's and one upstream connection's protocol state, without I/O: bytes and time come in as arguments.
//!
//! [`Session`] is one client: what it asked, what it is owed, what policy holds for it. [`Link`] is one upstream
//! connection: how its bytes divide into replies and messages. Whoever moves the bytes calls, for the client's side,
//! [`Session::next`] and does what the returned [`Step`] says; for the upstream's side [`Link::next`], then
//! [`Session::reply`] for each part, and [`Session::write_local_replies`] whenever the session may have something of its own to say.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod ids;
mod link;
mod local;
mod observe;
mod pending;
mod plan;
mod pooling;
mod shape;
mod tick;

pub use client::{
    CloseReason, Delivery, Lease, MAX_RENDERED, PendingLogin, Pooling, ReplyAction, Session, Step, Until,
};
pub use ids::{SessionKey, Ticket};
pub use link::{
    Incoming, Link, LinkFault, MAX_LISTED, MAX_WHOLE_REPLY, Part, PoolKey, Preamble, PushKind, Subscribed,
    Subscriptions, Unavailable,
};
pub use local::{Action, Filter, Findings, Inquiry, Listed};
pub use observe::{Attempt, Authenticator, Denial, Denied, Host, Observer, Peer};
pub use pending::MAX_RUNS;
pub use plan::{Auth, Plan};
pub use pooling::{LARGE_REPLY, Pin, PoolFault, PooledLink, Shared};
pub use shape::{QueuedConfirmations, Shape, Verb};
pub use tick::Tick;

#[cfg(test)]
mod tests;
