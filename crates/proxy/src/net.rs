//! Sockets, the buffers between them, and the way bytes take from one to the other.

pub(crate) mod buffer;
pub(crate) mod pipe;
pub(crate) mod socket;
pub(crate) mod stream;
