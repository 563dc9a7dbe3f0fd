//! Both machines together, as the relay drives them, against a model of Redis that shares no code with them.

mod crowd;
mod model;
pub(crate) mod pair;
mod properties;
mod renewals;
mod script;
pub(crate) mod simulated_client;
pub(crate) mod users;
