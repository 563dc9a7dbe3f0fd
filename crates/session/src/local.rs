//! Commands that the gate answers itself: CLIENT, HELLO and AUTH.

pub(crate) mod client_info;
pub(crate) mod clients;
pub(crate) mod hello;

pub use self::clients::{Action, Filter, Findings, Inquiry, Listed};
