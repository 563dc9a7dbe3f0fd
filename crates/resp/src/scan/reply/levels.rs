//! The number of remaining elements of each level: a stack of counters in place of recursion.

use crate::error::ReplyError;
use crate::limits::MAX_DEPTH;

/// The counters of the innermost level and of the levels around it. The innermost level and four more need no heap;
/// only replies of COMMAND and of scripts are deeper. The other counters are on the heap, up to [`MAX_DEPTH`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// Remaining elements of the innermost level, or one of the constants below.
    left: u64,
    depth: usize,
    near: [u64; NEAR],
    far: Vec<u64>,
}

const NEAR: usize = 4;
/// Levels whose memory is kept from frame to frame: 512 bytes.
const KEPT: usize = 64;

/// A streamed array or set: elements until `.`.
pub(super) const STREAMED: u64 = u64::MAX;
/// A streamed map: a key or `.` comes next.
pub(super) const STREAMED_MAP: u64 = u64::MAX - 1;
/// A streamed map: a value comes next.
const STREAMED_VALUE: u64 = u64::MAX - 2;
/// A streamed string: chunks until an empty one.
pub(super) const STREAMED_STRING: u64 = u64::MAX - 3;
/// [`STREAMED`] and [`STREAMED_MAP`] after an attribute: the reply that it decorates comes next, not the end.
const DECORATED: u64 = u64::MAX - 4;
const DECORATED_KEY: u64 = u64::MAX - 5;

impl Levels {
    pub(super) const fn new() -> Self {
        Self { left: 0, depth: 0, near: [0; NEAR], far: Vec::new() }
    }

    /// Begins a frame of one element.
    pub(super) fn begin(&mut self) {
        self.left = 1;
        self.depth = 0;
        self.far.clear();
    }

    /// Ends a frame. The memory of a very deep frame is released, because a connection outlives its deepest reply.
    pub(super) fn finish(&mut self) {
        if self.far.capacity() > KEPT {
            self.far = Vec::new();
        }
    }

    #[inline(always)]
    pub(super) const fn is_over(&self) -> bool {
        self.left == 0 && self.depth == 0
    }

    #[inline(always)]
    pub(super) const fn wants_chunk(&self) -> bool {
        self.left == STREAMED_STRING
    }

    /// Number of remaining elements of the innermost level that can be counted one by one; 0 for a streamed value.
    #[inline(always)]
    pub(super) const fn countable(&self) -> u64 {
        if self.left < DECORATED_KEY { self.left } else { 0 }
    }

    /// Counts this number of complete elements, at most [`countable`](Self::countable).
    #[inline(always)]
    pub(super) fn elements(&mut self, count: u64) {
        self.left -= count;
        self.close();
    }

    /// Counts a complete element.
    #[inline(always)]
    pub(super) fn element(&mut self) -> Result<(), ReplyError> {
        self.count()?;
        self.close();
        Ok(())
    }

    /// Begins an aggregate, which is itself an element of the level around it.
    pub(super) fn open(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.count()?;
        self.push(elements)
    }

    /// Begins an attribute. It is not an element of its level; the reply after it is.
    pub(super) fn decorate(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.left = match self.left {
            STREAMED => DECORATED,
            STREAMED_MAP => DECORATED_KEY,
            left => left,
        };
        self.push(elements)
    }

    /// Whether the next element is outside any aggregate.
    pub(super) const fn is_outermost(&self) -> bool {
        self.depth == 0
    }

    /// Begins a push between the elements of an aggregate; the push is not an element of it. Redis up to 7.0 sends
    /// such a push to a client whose command publishes, such as ZPOPMIN, in the middle of its reply.
    pub(super) fn interleave(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.push(elements)
    }

    /// Ends a streamed aggregate at `.`.
    pub(super) fn end(&mut self) -> Result<(), ReplyError> {
        if !matches!(self.left, STREAMED | STREAMED_MAP) {
            return Err(ReplyError::InvalidStream);
        }
        self.left = 0;
        self.close();
        Ok(())
    }

    /// Ends a streamed string at its empty chunk.
    pub(super) fn end_chunks(&mut self) {
        self.left = 0;
        self.close();
    }

    #[inline(always)]
    fn count(&mut self) -> Result<(), ReplyError> {
        match self.left {
            0 => return Err(ReplyError::InvalidStream),
            STREAMED | STREAMED_STRING => {}
            DECORATED => self.left = STREAMED,
            STREAMED_MAP | DECORATED_KEY => self.left = STREAMED_VALUE,
            STREAMED_VALUE => self.left = STREAMED_MAP,
            _ => self.left -= 1,
        }
        Ok(())
    }

    fn push(&mut self, elements: u64) -> Result<(), ReplyError> {
        if self.depth >= MAX_DEPTH {
            return Err(ReplyError::TooDeep);
        }
        match self.near.get_mut(self.depth) {
            Some(slot) => *slot = self.left,
            None => self.far.push(self.left),
        }
        self.depth += 1;
        self.left = elements;
        self.close();
        Ok(())
    }

    /// Closes every level that is complete.
    #[inline(always)]
    fn close(&mut self) {
        while self.left == 0 && self.depth > 0 {
            self.depth -= 1;
            self.left = match self.near.get(self.depth) {
                Some(&slot) => slot,
                None => self.far.pop().unwrap_or(0),
            };
        }
    }
}

#[cfg(test)]
mod tests;
