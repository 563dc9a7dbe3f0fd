//! Scans types that are one line of text of any length.

use crate::error::ReplyError;

/// The set of bytes that a line may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// For `+`, `-` and `(`: all bytes except CR and LF. Scripts of Redis can return any text as a big number.
    Any,
    /// For `,`: the bytes in the output of C's `%.17g` and of Redis's own formatting, including `inf` and `nan`.
    Double,
}

impl Text {
    pub(super) const fn of(kind: u8) -> Self {
        match kind {
            b',' => Self::Double,
            _ => Self::Any,
        }
    }

    /// Reads the line from `at` on. Returns the offset after the valid bytes, and whether the line ends there. A CR
    /// counts only together with its LF.
    #[inline(always)]
    pub(super) fn read(self, buf: &[u8], at: usize) -> Result<(usize, bool), ReplyError> {
        let rest = buf.get(at..).unwrap_or(&[]);
        let stop = match self {
            Self::Any => memchr::memchr2(b'\r', b'\n', rest),
            Self::Double => rest.iter().position(|byte| !b"0123456789+-.eEinfaNIF".contains(byte)),
        };
        let Some(stop) = stop else { return Ok((buf.len().max(at), false)) };
        match rest.get(stop..) {
            Some([b'\r', b'\n', ..]) => Ok((at + stop + 2, true)),
            Some([b'\r']) => Ok((at + stop, false)),
            _ => Err(ReplyError::InvalidLine),
        }
    }
}
