//! The types that are one line of text, of any length.

use crate::error::ReplyError;

/// Which bytes the line may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// `+`, `-` and `(`: anything but CR and LF. Scripts of Redis return as a big number whatever text they like.
    Any,
    /// A double (`,`): the output of C's `%.17g` and of Redis's own formatting, with `inf` and `nan`.
    Double,
}

impl Text {
    pub(super) const fn of(kind: u8) -> Self {
        match kind {
            b',' => Self::Double,
            _ => Self::Any,
        }
    }

    /// Reads on from `at`: the offset behind what is valid, and whether that is the line's end. A CR counts only
    /// with its LF.
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
