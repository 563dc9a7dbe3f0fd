//! Sockets, buffers, and the transfer of bytes between them.

pub(crate) mod buffer;
#[cfg(unix)]
pub(crate) mod descriptors;
pub(crate) mod held;
pub(crate) mod lookup;
pub(crate) mod pipe;
pub(crate) mod ready;
pub(crate) mod socket;
pub(crate) mod stream;
