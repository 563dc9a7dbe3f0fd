//! RESP: decodes and encodes commands and replies. This crate uses no sockets, no clock and no serde.
//!
//! - [`scan`] finds the boundaries of requests and replies. It keeps its position between reads and never buffers.
//! - [`command`] describes each command: arity, flags, categories, keys, and the kind of its replies.
//! - [`inline`] converts an inline command to a canonical request, as Redis does.
//! - [`encode`] and [`mod@reply`] write the commands and replies of the proxy itself, in Redis's own words.
//! - [`value`] decodes small, complete replies; [`slot`] hashes keys; [`proxy_header`] parses PROXY v1 and v2.
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
