//! The scripts that a client has loaded with SCRIPT LOAD, which belong to the server and not to a connection.
//!
//! A server that was restarted has lost them, and so has another master. A client that loaded scripts does not expect
//! that EVALSHA fails. So each new connection after a loss is asked with SCRIPT EXISTS whether its server has them.

use crate::link::Digest;

/// The highest number of scripts that are remembered for one client.
const MAX_SCRIPTS: usize = 64;

/// The digests of the scripts that a client has loaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripts {
    digests: Vec<Digest>,
    /// Whether a connection was lost since the scripts were seen.
    in_doubt: bool,
}

impl Scripts {
    /// Adds the script of a reply to SCRIPT LOAD. An error adds none. Returns false if there are too many, or if the
    /// reply has another form.
    pub(super) fn add(&mut self, reply: &[u8]) -> bool {
        if reply.first() == Some(&b'-') {
            return true;
        }
        let digest = reply.strip_prefix(b"$40\r\n").and_then(|rest| rest.strip_suffix(b"\r\n"));
        let Some(digest) = digest.and_then(|digest| Digest::try_from(digest).ok()) else { return false };
        if self.digests.contains(&digest) {
            return true;
        }
        if self.digests.len() >= MAX_SCRIPTS {
            return false;
        }
        self.digests.push(digest);
        true
    }

    /// Records that a connection is lost, and with it perhaps the server.
    pub(super) const fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Returns the scripts that the server of a new connection must have. `always`: also if no connection was lost.
    pub(super) fn in_doubt(&self, always: bool) -> &[Digest] {
        if always || self.in_doubt { &self.digests } else { &[] }
    }

    /// Returns whether the server has all scripts, by its reply to SCRIPT EXISTS.
    pub(super) fn are_known(&mut self, reply: &[u8]) -> bool {
        let expected = format!("*{}\r\n{}", self.digests.len(), ":1\r\n".repeat(self.digests.len()));
        let known = reply == expected.as_bytes();
        self.in_doubt &= !known;
        known
    }

    /// Returns the bytes of memory that grow with the scripts.
    pub(super) const fn held(&self) -> usize {
        self.digests.capacity() * size_of::<Digest>()
    }
}
