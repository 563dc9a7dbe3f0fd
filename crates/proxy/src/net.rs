//! Sockets, the buffers between them, and the way bytes take from one to the other.

pub mod buffer;
pub mod pipe;
pub mod socket;
pub mod stream;
