//! One client's and one upstream connection's protocol state, without I/O: bytes and time come in as arguments.
//!
//! [`Session`] is one client: what it asked, what it is owed, what policy holds for it. [`Link`] is one upstream
//! connection: how its bytes divide into replies and messages. Whoever moves the bytes calls, for the client's side,
//! [`Session::next`] and does what the returned [`Step`] says; for the upstream's side [`Link::next`], then
//! [`Session::reply`] for each part, and [`Session::write_local_replies`] whenever the session may have something of its own to say.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client_info;
pub mod clients;
mod handshake;
pub mod inject;
pub mod link;
pub mod observe;
pub mod pending;
pub mod pin;
pub mod plan;
pub mod pool;
pub mod session;
pub mod shape;
pub mod state;
pub mod subscriptions;
pub mod tick;
pub mod transaction;

pub use clients::{Action, Findings, Inquiry, Listed};
pub use link::{Incoming, Link, LinkFault, Part, PushKind};
pub use observe::{Attempt, Authenticator, Denial, Denied, Host, Observer, Peer};
pub use pin::Pin;
pub use plan::{Auth, Plan};
pub use pool::{PoolFault, PoolKey, PooledLink};
pub use session::{CloseReason, Delivery, Lease, ReplyAction, Session, Step, Until};
pub use shape::{Shape, Verb};
pub use tick::{SessionKey, Tick, Ticket};

#[cfg(test)]
mod tests;
