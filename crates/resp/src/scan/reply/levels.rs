//! Counts the remaining elements of each level of nesting: a stack of counters in place of recursion.

use crate::error::ReplyError;
use crate::limits::MAX_DEPTH;

/// The counters of the innermost level and of the levels around it. The innermost level and four more need no heap.
/// Only replies of COMMAND and of scripts are deeper. Their other counters are on the heap, up to [`MAX_DEPTH`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// The remaining elements of the innermost level, or one of the constants below.
    left: u64,
    depth: usize,
    near: [u64; NEAR],
    far: Vec<u64>,
}

const NEAR: usize = 4;
/// The number of levels whose memory is kept from frame to frame: 512 bytes.
const KEPT: usize = 64;

/// A streamed array or set: elements come until `.`.
pub(super) const STREAMED: u64 = u64::MAX;
/// A streamed map: a key or `.` comes next.
pub(super) const STREAMED_MAP: u64 = u64::MAX - 1;
/// A streamed map: a value comes next.
const STREAMED_VALUE: u64 = u64::MAX - 2;
/// A streamed string: chunks come until an empty one.
pub(super) const STREAMED_STRING: u64 = u64::MAX - 3;
/// As [`STREAMED`] and [`STREAMED_MAP`], but after an attribute: the reply that it describes comes next, not the end.
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

    /// Ends a frame. Releases the memory of a very deep frame, because the connection continues without such frames.
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

    /// Returns the number of remaining elements of the innermost level. 0 for a streamed value, whose elements are
    /// not counted.
    #[inline(always)]
    pub(super) const fn countable(&self) -> u64 {
        if self.left < DECORATED_KEY { self.left } else { 0 }
    }

    /// Counts this number of complete elements. It must be at most [`countable`](Self::countable).
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

    /// Begins an attribute. Not the attribute, but the reply after it, is an element of its level.
    pub(super) fn decorate(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.left = match self.left {
            STREAMED => DECORATED,
            STREAMED_MAP => DECORATED_KEY,
            left => left,
        };
        self.push(elements)
    }

    /// Returns whether the next element is outside any aggregate.
    pub(super) const fn is_outermost(&self) -> bool {
        self.depth == 0
    }

    /// Begins a push between the elements of an aggregate; the push is not an element of it. Redis up to 7.0 sends
    /// such a push in the middle of a reply to a client whose command publishes (ZPOPMIN).
    pub(super) fn interleave(&mut self, elements: u64) -> Result<(), ReplyError> {
        self.push(elements)
    }

    /// Ends a streamed aggregate at its `.`.
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
