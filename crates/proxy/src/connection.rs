//! The path of one connection, in order: identify, admit, secure, relay; or refuse.
//!
//! Each step consumes what the step before it made, and those have private fields: a step cannot be skipped.

pub mod admit;
pub mod identify;
pub mod login;
pub mod refuse;
pub mod relay;
pub mod secure;

use std::rc::Rc;

use self::admit::Admitted;
use crate::metrics::ClosedReason;
use crate::worker::Worker;

/// Takes an admitted connection to its end.
pub async fn serve(worker: Rc<Worker>, id: u64, admitted: Admitted) {
    let listener = admitted.client().listener();
    match secure::plain(admitted) {
        Ok(secured) => relay::run(worker, id, secured).await,
        Err(error) => {
            if let Some(served) = worker.served(listener) {
                served.counts.opened();
                served.counts.closed(ClosedReason::Error);
            }
            tracing::warn!(id, %error, "a client's socket cannot be served: it is closed");
        }
    }
}

#[cfg(test)]
mod tests;
