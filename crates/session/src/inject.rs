//! What the gate says on a fresh upstream connection before the client's first byte.

use std::fmt;
use std::sync::Arc;

use portcullis_resp::encode;
use zeroize::Zeroizing;

/// Back to the default user of an upstream that asks no password of it: the only way there short of RESET. Any other
/// upstream refuses it.
pub(crate) const AS_NOBODY: &[u8] = b"*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$0\r\n\r\n";

/// The AUTH command that logs the gate in. Clones share it; wiped when the last is dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Preamble(Arc<Zeroizing<Vec<u8>>>);

impl Preamble {
    /// `AUTH password`, or `AUTH username password` where a user is named.
    pub fn auth(username: Option<&str>, password: &str) -> Self {
        let mut frame =
            Zeroizing::new(Vec::with_capacity(64 + password.len() + username.map_or(0, str::len)));
        match username {
            Some(username) => {
                encode::command(&mut frame, &[b"AUTH", username.as_bytes(), password.as_bytes()]);
            }
            None => encode::command(&mut frame, &[b"AUTH", password.as_bytes()]),
        }
        Self(Arc::new(frame))
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preamble(..)")
    }
}
