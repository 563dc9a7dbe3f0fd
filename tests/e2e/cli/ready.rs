//! `portcullis ready`: the health check of containers.

use e2e::gate::portcullis;
use e2e::{Gate, Redis, eventually};

use super::{stderr, stdout};

#[test]
fn ready_asks_the_running_proxy() {
    let mut redis = Redis::plain();
    let mut gate = Gate::before(&redis).start();
    let here = gate.directory().to_owned();
    let run = |words: &[&str]| portcullis(&here, words);
    eventually("the proxy is ready", || {
        let output = run(&["ready"]);
        (output.status.code() == Some(0) && stdout(&output) == "ready\n").then_some(())
    });
    redis.kill();
    eventually("the proxy is not ready", || {
        let output = run(&["ready"]);
        let names = stdout(&output).contains("upstream 'main' is down (refused)");
        (output.status.code() == Some(1) && names).then_some(())
    });
    assert_eq!(run(&["ready", "--live"]).status.code(), Some(0));
    gate.process().kill();
    let output = run(&["ready", "--live"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no proxy answers on 127.0.0.1:"), "{}", stderr(&output));
    assert_eq!(run(&["ready", "--config", "absent.yaml"]).status.code(), Some(78));
}
