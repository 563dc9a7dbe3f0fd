//! RESP: decoding and encoding of commands and replies. Pure: no sockets, no clock, no serde.
//!
//! - [`scan`] finds the boundaries of requests and replies, keeps its place between reads and never buffers.
//! - [`command`] describes each command: arity, flags, categories, keys, and the shape of its replies.
//! - [`inline`] turns an inline command into the canonical request, as Redis would.
//! - [`encode`] and [`mod@reply`] write the commands and replies of the proxy itself, in Redis's own words.
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
