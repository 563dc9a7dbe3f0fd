//! One client's and one upstream connection's protocol state, without I/O: bytes and time come in as arguments.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
