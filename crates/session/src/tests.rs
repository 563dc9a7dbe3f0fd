//! Tests of session and link together. They are driven as in the relay, against a model of Redis that shares no code
//! with them.

mod crowd;
mod model;
pub(crate) mod pair;
mod properties;
mod renewals;
mod script;
pub(crate) mod simulated_client;
pub(crate) mod users;
