//! RESP: bytes to commands and replies, and back. Pure: no sockets, no clock, no serde.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
