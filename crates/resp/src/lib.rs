//! RESP: bytes to commands and replies, and back. Pure: no sockets, no clock, no serde.
//!
//! - [`scan`] finds where requests and replies begin and end, keeps its place between reads and never buffers.
//! - [`command`] says what a command is: arity, flags, categories, keys, what it gets back.
//! - [`inline`] turns a telnet line into the canonical request, as Redis would.
//! - [`encode`] and [`mod@reply`] write what the proxy says itself, in Redis's own words.
//! - [`value`] decodes small, complete replies; [`slot`] hashes keys; [`proxy_header`] reads PROXY v1 and v2.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod command;
#[cfg(any(test, fuzzing))]
pub mod drive;
pub mod encode;
pub mod error;
pub mod inline;
pub mod limits;
pub mod proxy_header;
pub mod reply;
pub mod scan;
pub mod slot;
pub mod value;
