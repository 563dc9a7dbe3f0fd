//! Who may connect, and who may run what. Pure: no sockets, no files, no clock.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
