//! The path of one connection, in order: identify, admit, secure, relay; or refuse.
//!
//! Each step consumes what the step before it made, and those have private fields: a step cannot be skipped.

pub mod admit;
pub mod identify;
pub mod refuse;
pub mod relay;
pub mod secure;

use std::rc::Rc;

use self::admit::Admitted;
use crate::worker::Worker;

/// Takes an admitted connection to its end.
pub async fn serve(worker: Rc<Worker>, id: u64, admitted: Admitted) {
    if let Ok(secured) = secure::plain(admitted) {
        relay::run(worker, id, secured).await;
    }
}
