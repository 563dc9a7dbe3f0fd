//! The body of an answer that has no end.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// The events for one viewer. The answer ends when the sender of the events is gone.
#[derive(Debug)]
pub(super) struct Feed(mpsc::Receiver<Bytes>);

impl Feed {
    pub(super) fn new(events: mpsc::Receiver<Bytes>) -> Self {
        Self(events)
    }
}

#[cfg(test)]
impl Feed {
    pub(super) fn into_inner(self) -> mpsc::Receiver<Bytes> {
        self.0
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
