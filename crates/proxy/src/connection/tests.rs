use super::*;

/// Together with tokio's part of a task this is 128 bytes. One byte more would make it 256.
const FUTURE_BYTES: usize = 24;

#[test]
fn a_sessions_future_is_small() {
    assert!(size_of::<Serving>() <= FUTURE_BYTES, "{} bytes", size_of::<Serving>());
}
