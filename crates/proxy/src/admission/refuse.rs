//! Refuses connections in a way that lets the client read the reason.

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

/// The time that a refused connection stays half open, so that its last bytes arrive. If the proxy closed the
/// socket with unread bytes, the kernel would send a reset, which may overtake the error line.
const LINGER: Duration = Duration::from_secs(1);

/// The highest number of connections that linger at the same time in one thread. Further ones are closed at
/// once, so a flood occupies only a few hundred descriptors.
const MAX_LINGERING: usize = 256;

/// The size in bytes of the reads that discard the data of a lingering client.
const DISCARD: usize = 4 * 1024;

/// The number of connections of one thread that linger until their last bytes arrive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lingering(Rc<Cell<usize>>);

impl Lingering {
    /// Returns whether no connection lingers.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get() == 0
    }

    /// Closes the write side of the stream. Then discards its input until the client disconnects or
    /// [`LINGER`] has passed. If [`MAX_LINGERING`] connections linger already, the stream is closed at once.
    pub(crate) fn part(&self, mut stream: Stream) {
        stream.close_write();
        if self.0.get() < MAX_LINGERING {
            let slot = Slot::take(&self.0);
            spawn_local(async move {
                // An elapsed time and a disconnected client have the same result: the stream is dropped.
                let _ = timeout(LINGER, discard(stream)).await;
                drop(slot);
            });
        }
    }
}

/// Refuses a connection in the way that `refuse_with` of the listener requires.
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
    // If the line cannot be written, the closed connection is the only answer.
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
