//! The steps from an accepted socket to an admitted or a refused client. They come before the connection is
//! served.

pub(crate) mod admit;
pub(crate) mod identify;
pub(crate) mod refuse;
