//! Access to the arguments of a command, whatever their storage is.

use std::cell::Cell;

use crate::scan::{self, Arguments, Span};

/// The arguments of a command by number; the name is 0.
pub trait Argv<'b> {
    /// Returns the number of arguments, including the name.
    fn count(&self) -> usize;
    /// Returns the argument with this number. `None` if there is none, or if it has not arrived.
    fn arg(&self, index: usize) -> Option<&'b [u8]>;
}

impl<'b> Argv<'b> for [&'b [u8]] {
    fn count(&self) -> usize {
        self.len()
    }

    fn arg(&self, index: usize) -> Option<&'b [u8]> {
        self.get(index).copied()
    }
}

impl<'b, const N: usize> Argv<'b> for [&'b [u8]; N] {
    fn count(&self) -> usize {
        N
    }

    fn arg(&self, index: usize) -> Option<&'b [u8]> {
        self.get(index).copied()
    }
}

impl<'b> Argv<'b> for Vec<&'b [u8]> {
    fn count(&self) -> usize {
        self.len()
    }

    fn arg(&self, index: usize) -> Option<&'b [u8]> {
        self.get(index).copied()
    }
}

/// A whole canonical frame, parsed in place without allocations. A caller that reads the arguments in order parses
/// each of them only once.
#[derive(Debug)]
pub struct Frame<'b> {
    bytes: &'b [u8],
    count: usize,
    /// The end of the last read: the number of the next argument, and the bytes from it on.
    place: Cell<(usize, &'b [u8])>,
}

impl<'b> Frame<'b> {
    /// Makes the arguments of a frame. `arguments` is the number that the scanner returned with the frame.
    #[must_use]
    pub fn new(bytes: &'b [u8], arguments: u64) -> Self {
        let start = scan::arguments(bytes).rest();
        Self { bytes, count: usize::try_from(arguments).unwrap_or(usize::MAX), place: Cell::new((0, start)) }
    }

    /// Makes the arguments of a frame whose name is known and not cut. The first read begins after the name, because
    /// callers begin with the argument after it.
    #[inline]
    #[must_use]
    pub fn behind(name: Span, bytes: &'b [u8], arguments: u64) -> Self {
        let rest = usize::try_from(name.end).ok().and_then(|end| bytes.get(end..)?.strip_prefix(b"\r\n"));
        let count = usize::try_from(arguments).unwrap_or(usize::MAX);
        Self { bytes, count, place: Cell::new((1, rest.unwrap_or_default())) }
    }
}

impl<'b> Argv<'b> for Frame<'b> {
    fn count(&self) -> usize {
        self.count
    }

    fn arg(&self, index: usize) -> Option<&'b [u8]> {
        let (next, rest) = self.place.get();
        let (mut at, mut arguments) =
            if index >= next { (next, Arguments::new(rest)) } else { (0, scan::arguments(self.bytes)) };
        loop {
            let argument = arguments.next()?;
            at += 1;
            if at > index {
                self.place.set((at, arguments.rest()));
                return Some(argument);
            }
        }
    }
}
