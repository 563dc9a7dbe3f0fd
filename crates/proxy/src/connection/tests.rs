use std::rc::Rc;

use super::*;

/// An idle client costs its task's future and its relay; design asks for a future below this.
const FUTURE_BYTES: usize = 1024;

/// The size of what an async function returns, without calling it.
fn future_size<F: Future>(_: fn(Rc<Worker>, u64, Admitted) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_sessions_future_is_small() {
    let size = future_size(serve);
    assert!(size < FUTURE_BYTES, "{size} bytes");
}
