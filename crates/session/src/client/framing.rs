//! Splits the client's bytes into requests. It keeps the progress of the scanner, a request that waits, and the state
//! of a frame whose beginning was consumed.

use portcullis_resp::error::RequestError;
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Beginning, Request, RequestScanner};

/// The framing state of one client.
#[derive(Debug)]
pub(super) struct Framing {
    scan: RequestScanner,
    rest: Rest,
    /// Whether the client drains, so no new frame begins.
    draining: bool,
    /// A request that the scanner has passed and that the session has not handled yet.
    peeked: Option<Request>,
    /// The scanner's error, which is reported after the commands before it are handled.
    failed: Option<RequestError>,
}

/// The handling of the rest of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// No frame has begun.
    None,
    Forwarded,
    Discarded,
}

/// A piece of a frame whose beginning was consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The number of bytes of the buffer that belong to the piece.
    pub(super) len: usize,
    /// Whether the frame ends with this piece.
    pub(super) ends: bool,
    /// Whether the piece goes to the upstream.
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

    /// Returns whether the beginning of a frame was consumed and its end was not.
    pub(super) const fn has_rest(&self) -> bool {
        !matches!(self.rest, Rest::None)
    }

    /// Returns whether a command has begun and is not complete.
    pub(super) const fn is_mid_frame(&self) -> bool {
        self.scan.is_mid_frame()
    }

    /// Begins to drain: no new frame begins.
    pub(super) const fn drain(&mut self) {
        self.draining = true;
    }

    /// Returns whether the client drains and no frame is in progress.
    pub(super) const fn is_drained(&self) -> bool {
        self.draining && !self.is_mid_frame()
    }

    /// Returns whether no frame has begun and no request waits.
    pub(super) const fn is_idle(&self) -> bool {
        !self.is_mid_frame() && self.peeked.is_none()
    }

    /// Returns how many bytes of the buffer were scanned. The caller may pass fewer bytes.
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

    /// Finds the next request. `alike` is the result of [`Framing::next_like`], if it is not `None`.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes break the grammar.
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

    /// Returns the next request if it begins like `last`. Returns `None` otherwise.
    #[inline]
    pub(super) fn next_like(
        &mut self,
        last: Option<&Beginning<'_>>,
        buf: &[u8],
    ) -> Option<Result<Request, RequestError>> {
        last.and_then(|last| self.scan.next_like(last, buf))
    }

    /// Keeps a complete request for later. An incomplete request is not kept, because the scanner finds it again.
    pub(super) const fn keep(&mut self, request: Request) {
        if !matches!(request, Request::Need { .. } | Request::Head { .. }) {
            self.peeked = Some(request);
        }
    }

    /// Keeps an error until the commands before it are sent.
    pub(super) const fn fail_later(&mut self, error: RequestError) {
        self.failed = Some(error);
    }

    /// Takes the error that [`Framing::fail_later`] kept.
    pub(super) const fn take_failure(&mut self) -> Option<RequestError> {
        self.failed.take()
    }

    /// Begins to forward an incomplete frame. Returns how many bytes of `buf` belong to it.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes break the grammar.
    pub(super) fn forward(&mut self, buf: &[u8]) -> Result<usize, RequestError> {
        let streamed = self.scan.stream(buf)?;
        self.rest = Rest::Forwarded;
        Ok(streamed.len)
    }

    /// Begins to discard an incomplete frame. Returns how many bytes of `buf` belong to it.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes break the grammar.
    pub(super) fn discard(&mut self, buf: &[u8]) -> Result<usize, RequestError> {
        let streamed = self.scan.stream(buf)?;
        self.rest = Rest::Discarded;
        Ok(streamed.len)
    }

    /// Continues a frame whose beginning was consumed.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes break the grammar. The frame stays unchanged until [`Framing::give_up`].
    pub(super) fn resume(&mut self, buf: &[u8]) -> Result<Piece, RequestError> {
        let streamed = self.scan.stream(buf)?;
        let forwarded = self.rest == Rest::Forwarded;
        if streamed.done {
            self.rest = Rest::None;
        }
        Ok(Piece { len: streamed.len, ends: streamed.done, forwarded })
    }

    /// Gives up the frame, if it was being forwarded. Returns whether it was.
    pub(super) fn cut_forwarded(&mut self) -> bool {
        self.rest == Rest::Forwarded && self.give_up()
    }

    /// Discards the rest of a frame whose beginning was forwarded.
    pub(super) fn discard_rest(&mut self) {
        if self.rest == Rest::Forwarded {
            self.rest = Rest::Discarded;
        }
    }

    /// Gives up the rest of the frame. Returns whether its beginning was forwarded.
    pub(super) fn give_up(&mut self) -> bool {
        std::mem::replace(&mut self.rest, Rest::None) == Rest::Forwarded
    }
}
