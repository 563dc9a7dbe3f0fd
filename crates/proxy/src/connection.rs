//! The path of an admitted connection: secure, then relay.
//!
//! Before this path, [`crate::admission`] identifies and admits the client. Each step consumes the value that the
//! step before it made. The fields of these values are private, so a step cannot be skipped.

pub(crate) mod login;
pub(crate) mod relay;
pub(crate) mod secure;

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use portcullis_acl::ClientAddr;
use portcullis_config::tls::TlsFault;
use tokio::task::spawn_local;

use self::relay::{Relay, Relaying};
use self::secure::{Insecure, Secured, secure};
use crate::admission::admit::Admitted;
use crate::generation::listener::Listener;
use crate::log::Escaped;
use crate::metrics::{ClosedReason, RefusedReason, WorkerStats};
use crate::tls::HandshakeFailure;
use crate::worker::Worker;

/// Serves an admitted connection to its end, in a task of this thread.
pub(crate) fn serve(worker: Rc<Worker>, id: u64, admitted: Admitted) {
    spawn_local(Serving::new(worker, id, admitted));
}

/// The future that serves an admitted connection to its end. Each client has one, so it is small: the state of a step
/// is in a box that is freed with the step.
pub(crate) struct Serving(Stage);

/// The step that the connection is in.
enum Stage {
    Arriving(Pin<Box<dyn Future<Output = Option<Relaying>>>>),
    Relaying(Relaying),
}

impl Serving {
    /// Creates the future for this connection, which `worker` serves under the number `id`.
    pub(crate) fn new(worker: Rc<Worker>, id: u64, admitted: Admitted) -> Self {
        Self(Stage::Arriving(Box::pin(arrive(worker, id, admitted))))
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.0 {
                Stage::Arriving(arriving) => {
                    let Some(relay) = ready!(arriving.as_mut().poll(cx)) else { return Poll::Ready(()) };
                    self.0 = Stage::Relaying(relay);
                }
                Stage::Relaying(relay) => return Pin::new(relay).poll(cx),
            }
        }
    }
}

/// Secures a connection and creates its session. Returns `None` if the connection ends before that.
async fn arrive(worker: Rc<Worker>, id: u64, admitted: Admitted) -> Option<Relaying> {
    let _arrival = Arrival(Arc::clone(&worker.resources.stats));
    let secured = make_secure(&worker, id, admitted).await?;
    Relay::begin(worker, id, secured)
}

/// Counts the connection as arrived when this value is dropped, whatever the result of the handshake.
struct Arrival(Arc<WorkerStats>);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.arrived();
    }
}

/// Performs the handshake of a connection. Reports a failure, and then returns `None`.
async fn make_secure(worker: &Worker, id: u64, admitted: Admitted) -> Option<Secured> {
    let client = admitted.client();
    // The handshake ends under the configuration under which it began.
    let (from, listener) = (client.from(), Arc::clone(client.listener()));
    let settings = listener.settings();
    let within = settings.limits().timeouts().tls();
    match secure(admitted, settings.tls().map(AsRef::as_ref), within).await {
        Ok(secured) => {
            if let Some(name) = secured.peer() {
                tracing::debug!(id, name = %Escaped::new(name), "client presented a certificate");
            }
            return Some(secured);
        }
        Err(Insecure::Socket(error)) => {
            note_short(worker, &listener, ClosedReason::Error);
            tracing::warn!(id, %error, "cannot serve a client's socket: it is closed");
        }
        Err(Insecure::Tls(why)) => match *why {
            // This is not counted as a refusal: load balancers check in this way whether the port is open.
            HandshakeFailure { fault: TlsFault::Absent, .. } => {
                note_short(worker, &listener, ClosedReason::Client)
            }
            why => turn_away(worker, &listener, from, why),
        },
    }
    None
}

/// Counts a connection that ended before it became a session.
fn note_short(worker: &Worker, listener: &Listener, reason: ClosedReason) {
    if let Some(listener) = worker.listener_view(listener.name()) {
        listener.counts.opened();
        listener.counts.closed(reason);
    }
}

/// Reports the failed handshake of a client. If the client was sent an alert, the connection lingers so that the
/// client can read it.
fn turn_away(worker: &Worker, listener: &Listener, from: ClientAddr, why: HandshakeFailure) {
    let state = listener.state();
    let HandshakeFailure { fault, stream } = why;
    state.series().refused(RefusedReason::Tls);
    worker.process.audit.refused(from, state.name(), RefusedReason::Tls, None);
    if let Some(left_out) = state.failed_handshakes().tell(Instant::now()) {
        tracing::warn!(
            source = %from,
            listener = %listener.name(),
            left_out,
            "closed: TLS handshake with the client failed: {fault}{}",
            fault.advice_for_client()
        );
    }
    if let Some(stream) = stream {
        worker.lingering.part(stream);
    }
}

#[cfg(test)]
mod tests;
