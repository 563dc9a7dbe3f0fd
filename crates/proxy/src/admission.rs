//! From an accepted socket to an admitted client, or to a refusal: the steps before a connection is served.

pub(crate) mod admit;
pub(crate) mod identify;
pub(crate) mod refuse;
