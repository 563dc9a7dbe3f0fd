//! Counts the elements that are still to come, level by level: a counter stack instead of recursion.

use crate::error::ReplyError;
use crate::limits::MAX_DEPTH;

/// Counts of the innermost level and of those around it. The innermost and four more live in place (deeper than any
/// reply of Redis but COMMAND's and scripts'); the rest is on the heap, once, up to [`MAX_DEPTH`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// Elements left on the innermost level, or one of the marks below.
    left: u64,
    depth: usize,
    near: [u64; NEAR],
    far: Vec<u64>,
}

const NEAR: usize = 4;
/// Levels whose room is kept from frame to frame: 512 bytes.
const KEPT: usize = 64;

/// A streamed array or set: elements until `.`.
pub(super) const STREAMED: u64 = u64::MAX;
/// A streamed map: a key or `.` comes next.
pub(super) const STREAMED_MAP: u64 = u64::MAX - 1;
/// A streamed map: a value comes next.
const STREAMED_VALUE: u64 = u64::MAX - 2;
/// A streamed string: chunks until an empty one.
pub(super) const STREAMED_STRING: u64 = u64::MAX - 3;
/// [`STREAMED`] and [`STREAMED_MAP`] behind an attribute: what it decorates comes next, not the end.
const DECORATED: u64 = u64::MAX - 4;
const DECORATED_KEY: u64 = u64::MAX - 5;

impl Levels {
    pub(super) const fn new() -> Self {
        Self { left: 0, depth: 0, near: [0; NEAR], far: Vec::new() }
    }

    /// A frame begins: one element is to come.
    pub(super) fn begin(&mut self) {
        self.left = 1;
        self.depth = 0;
        self.far.clear();
    }

    /// A frame is over. What a very deep one has taken is given back: a connection lives longer than its deepest reply.
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

    /// Returns how many elements of the innermost level can be counted one by one: none of a streamed value.
    #[inline(always)]
    pub(super) const fn countable(&self) -> u64 {
        if self.left < DECORATED_KEY { self.left } else { 0 }
    }

    /// So many elements are complete, at most [`countable`](Self::countable).
    #[inline(always)]
    pub(super) fn elements(&mut self, count: u64) {
        self.left -= count;
        self.close();
    }

    /// An element is complete.
    #[inline(always)]
    pub(super) fn element(&mut self) -> Result<(), ReplyError> {
        self.count()?;
        self.close();
        Ok(())
    }

    /// An aggregate begins, which is itself an element of the level around it.
    pub(super) fn open(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.count()?;
        self.push(elements)
    }

    /// An attribute begins: it is no element of its level, the reply behind it is.
    pub(super) fn decorate(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.left = match self.left {
            STREAMED => DECORATED,
            STREAMED_MAP => DECORATED_KEY,
            left => left,
        };
        self.push(elements)
    }

    /// Whether what comes next belongs to no aggregate.
    pub(super) const fn is_outermost(&self) -> bool {
        self.depth == 0
    }

    /// A push begins between the elements of an aggregate, and is none of them. Redis up to 7.0 writes one there where a
    /// command such as ZPOPMIN publishes, in the middle of its reply, to the very client that runs it.
    pub(super) fn interleave(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.push(elements)
    }

    /// `.`
    pub(super) fn end(&mut self) -> Result<(), ReplyError> {
        if !matches!(self.left, STREAMED | STREAMED_MAP) {
            return Err(ReplyError::InvalidStream);
        }
        self.left = 0;
        self.close();
        Ok(())
    }

    /// The empty chunk.
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

    /// Leaves every level that is complete.
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
