//! Turning a connection away so that the reason arrives.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use portcullis_config::Refusal;
use portcullis_resp::reply;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::admit::Refused;
use crate::metrics::RefusedReason;
use crate::net::stream::Stream;

/// A connection that was told why it must go is kept this long for its last bytes to arrive: closed with bytes unread, the
/// kernel would send a reset, which may overtake the line.
const LINGER: Duration = Duration::from_secs(1);

/// So many are kept at a time; beyond, they are closed at once. Holds a flood to a few hundred descriptors.
const MAX_LINGERING: usize = 256;

/// Size of the reads that discard the data of a lingering client.
const DISCARD: usize = 4 * 1024;

/// The connections of one thread that wait for their last bytes to arrive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lingering(Rc<Cell<usize>>);

impl Lingering {
    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get() == 0
    }

    /// Ends the stream's output and discards its input until the client closes or the time is over. The set being full, the
    /// stream is closed at once.
    pub(crate) fn part(&self, mut stream: Stream) {
        stream.close_write();
        if self.0.get() < MAX_LINGERING {
            let slot = Slot::take(&self.0);
            spawn_local(async move {
                // Whether the client closed or time ran out, the stream is dropped.
                let _ = timeout(LINGER, discard(stream)).await;
                drop(slot);
            });
        }
    }
}

/// Refuses in the listener's way.
pub(crate) fn refuse(refused: Refused, style: Refusal, lingering: &Lingering) {
    let Refused { mut socket, reason, .. } = refused;
    let line = match (style, reason) {
        (Refusal::Close, _) => return,
        (Refusal::Reset, _) => return socket.reset_on_close(),
        (_, RefusedReason::Limit | RefusedReason::SourceLimit) => reply::MAX_CLIENTS,
        (_, RefusedReason::Rate) => reply::TOO_MANY_CONNECTS,
        (_, RefusedReason::Blocked) => reply::BLOCKED,
        (Refusal::Denied, _) => reply::DENIED,
        (Refusal::IllegalAddress, _) => reply::ILLEGAL_ADDRESS,
    };
    // If the line cannot be written, the close tells the client.
    if socket.try_write(line).is_err() {
        return;
    }
    socket.close_write();
    if lingering.0.get() < MAX_LINGERING
        && let Ok(stream) = Stream::register(socket)
    {
        lingering.part(stream);
    }
}

async fn discard(mut stream: Stream) {
    let mut nowhere = [0; DISCARD];
    while let Ok(1..) = poll_fn(|cx| stream.poll_read(cx, &mut nowhere)).await {}
}

struct Slot(Rc<Cell<usize>>);

impl Slot {
    fn take(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests;
