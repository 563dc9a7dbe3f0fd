//! The client's connection state, twice: as asked by the commands read, and as confirmed by the replies passed on.

pub mod asked;
pub mod confirmed;
