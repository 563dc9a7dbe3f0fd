//! CLIENT PAUSE: during the pause, the first write of any client blocks a shared connection in Redis.

use std::time::Duration;

use e2e::{Gate, Redis};

use super::sharing;

/// A client that pauses the others has a connection of its own until RESET. It can read and end the pause, although a
/// write of another client blocks a shared connection.
#[test]
fn a_client_that_pauses_others_goes_on() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let [mut pausing, mut writing, mut reading] = [(); 3].map(|()| gate.connect());
    pausing.assert_reply("CLIENT PAUSE 60000 WRITE", "+OK");
    reading.assert_reply("GET k", "nil");
    // This is longer than an unused lease lasts.
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
