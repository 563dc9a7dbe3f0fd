//! Commands that the gate answers itself: CLIENT, HELLO and AUTH; and replies that it rewrites.

pub(crate) mod client_info;
pub(crate) mod clients;
pub(crate) mod hello;
pub(crate) mod rewrite;

pub use self::clients::{Action, ClientFacts, Filter, Findings, Inquiry, Listed};
