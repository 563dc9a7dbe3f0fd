//! From an accepted socket to an admitted client, or to a refusal: the steps before a connection is served.

pub mod admit;
pub mod identify;
pub mod refuse;
