use super::*;

/// With what tokio keeps for a task this is 128 bytes, and with one more it is 256.
const FUTURE_BYTES: usize = 24;

#[test]
fn a_sessions_future_is_small() {
    assert!(size_of::<Serving>() <= FUTURE_BYTES, "{} bytes", size_of::<Serving>());
}
