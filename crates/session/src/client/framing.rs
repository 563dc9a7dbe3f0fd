//! The client's bytes, divided into requests: what was looked at, what is held back, and what happens to the rest of a
//! frame whose beginning was consumed.

use portcullis_resp::error::RequestError;
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Beginning, Request, RequestScanner};

/// The framing state of one client.
#[derive(Debug)]
pub(super) struct Framing {
    scan: RequestScanner,
    rest: Rest,
    /// No frame is begun any more.
    draining: bool,
    /// A request that the scanner has left behind and that was not acted on yet.
    peeked: Option<Request>,
    /// The scanner's error behind commands that had to go first.
    failed: Option<RequestError>,
}

/// What happens to the rest of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// No frame was begun.
    None,
    Forwarded,
    Discarded,
}

/// A piece of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Bytes of the buffer.
    pub(super) len: usize,
    /// Whether the frame ends with it.
    pub(super) ends: bool,
    /// Whether it goes to the upstream.
    pub(super) forwarded: bool,
}

impl Framing {
    pub(super) const fn new(limits: RequestLimits) -> Self {
        Self {
            scan: RequestScanner::new(limits),
            rest: Rest::None,
            draining: false,
            peeked: None,
            failed: None,
        }
    }

    /// Returns whether a frame's beginning was consumed and its end was not.
    pub(super) const fn has_rest(&self) -> bool {
        !matches!(self.rest, Rest::None)
    }

    /// Returns whether a command was begun and its end has not come.
    pub(super) const fn is_mid_frame(&self) -> bool {
        self.scan.is_mid_frame()
    }

    /// No frame is begun any more.
    pub(super) const fn drain(&mut self) {
        self.draining = true;
    }

    /// Returns whether no frame is begun any more and none is under way.
    pub(super) const fn is_drained(&self) -> bool {
        self.draining && !self.is_mid_frame()
    }

    /// Returns whether nothing was begun and no request waits.
    pub(super) const fn is_idle(&self) -> bool {
        !self.is_mid_frame() && self.peeked.is_none()
    }

    /// Returns how much of the buffer is known already. The caller may show less of it.
    pub(super) const fn looked_at(&self) -> usize {
        match self.peeked {
            Some(
                Request::Command { len, .. }
                | Request::Inline { len }
                | Request::Empty { len }
                | Request::Head { scanned: len, .. },
            ) => len,
            Some(Request::Need { .. }) | None => self.scan.looked_at(),
        }
    }

    /// Sets the limits of frames that begin from now on.
    pub(super) const fn set_limits(&mut self, limits: RequestLimits) {
        self.scan.set_limits(limits);
    }

    /// Finds the next request. `alike` is the outcome of [`Framing::next_like`], if it had one.
    ///
    /// # Errors
    /// The bytes break the grammar.
    #[inline]
    pub(super) fn next(
        &mut self,
        buf: &[u8],
        alike: Option<Result<Request, RequestError>>,
    ) -> Result<Request, RequestError> {
        match self.peeked.take() {
            Some(request) => Ok(request),
            None if buf.is_empty() => Ok(Request::Need { at_least: 1 }),
            None => alike.unwrap_or_else(|| self.scan.next(buf)),
        }
    }

    /// Finds the next request if it begins as `last` did.
    #[inline]
    pub(super) fn next_like(
        &mut self,
        last: Option<&Beginning<'_>>,
        buf: &[u8],
    ) -> Option<Result<Request, RequestError>> {
        last.and_then(|last| self.scan.next_like(last, buf))
    }

    /// Keeps a request for later, if all of it is there: one that is not is found again.
    pub(super) const fn keep(&mut self, request: Request) {
        if !matches!(request, Request::Need { .. } | Request::Head { .. }) {
            self.peeked = Some(request);
        }
    }

    /// Keeps an error for when the commands before it were sent.
    pub(super) const fn fail_later(&mut self, error: RequestError) {
        self.failed = Some(error);
    }

    /// Returns the error whose time has come.
    pub(super) const fn take_failure(&mut self) -> Option<RequestError> {
        self.failed.take()
    }

    /// Begins to forward a frame that is not wholly there; returns how much of `buf` belongs to it.
    ///
    /// # Errors
    /// The bytes break the grammar.
    pub(super) fn forward(&mut self, buf: &[u8]) -> Result<usize, RequestError> {
        let streamed = self.scan.stream(buf)?;
        self.rest = Rest::Forwarded;
        Ok(streamed.len)
    }

    /// Begins to drop a frame that is not wholly there; returns how much of `buf` belongs to it.
    ///
    /// # Errors
    /// The bytes break the grammar.
    pub(super) fn discard(&mut self, buf: &[u8]) -> Result<usize, RequestError> {
        let streamed = self.scan.stream(buf)?;
        self.rest = Rest::Discarded;
        Ok(streamed.len)
    }

    /// Goes on with a frame whose beginning was consumed.
    ///
    /// # Errors
    /// The bytes break the grammar. The frame stays as it was until [`Framing::give_up`].
    pub(super) fn resume(&mut self, buf: &[u8]) -> Result<Piece, RequestError> {
        let streamed = self.scan.stream(buf)?;
        let forwarded = self.rest == Rest::Forwarded;
        if streamed.done {
            self.rest = Rest::None;
        }
        Ok(Piece { len: streamed.len, ends: streamed.done, forwarded })
    }

    /// As [`Framing::give_up`], of a frame that was being forwarded.
    pub(super) fn cut_forwarded(&mut self) -> bool {
        self.rest == Rest::Forwarded && self.give_up()
    }

    /// Nothing more of the frame comes. Returns whether its beginning was forwarded.
    pub(super) fn give_up(&mut self) -> bool {
        std::mem::replace(&mut self.rest, Rest::None) == Rest::Forwarded
    }
}
