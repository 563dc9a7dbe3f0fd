//! CLIENT PAUSE, during which Redis stops a shared connection behind any client's write.

use std::time::Duration;

use e2e::{Gate, Redis};

use super::sharing;

/// A client that pauses the others has a lease until RESET. It can read and end the pause, although another client's
/// write stops a shared connection.
#[test]
fn a_client_that_pauses_others_goes_on() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let [mut pausing, mut writing, mut reading] = [(); 3].map(|()| gate.connect());
    pausing.assert_reply("CLIENT PAUSE 60000 WRITE", "+OK");
    reading.assert_reply("GET k", "nil");
    // Longer than an unused lease is kept.
    std::thread::sleep(Duration::from_millis(1600));
    reading.assert_reply("GET k", "nil");
    writing.send("SET k 1");
    writing.assert_silent_for(Duration::from_millis(300));
    pausing.assert_reply("GET k", "nil");
    pausing.assert_reply("CLIENT UNPAUSE", "+OK");
    writing.assert_recv("+OK");
    reading.assert_reply("GET k", r#""1""#);
    pausing.assert_reply("GET k", r#""1""#);
}
