//! Idle and dead peers on a network that loses packets: `tcp.keepalive` and `tcp.user_timeout`.

use std::process::Command;
use std::time::{Duration, Instant};

use e2e::namespace::alone;
use e2e::{Gate, Redis};

const WHAT: &str = "whether an idle client survives a lost keepalive probe is";

/// A rule of the test's network that drops packets, until it is dropped itself.
struct Loss(Vec<String>);

impl Loss {
    /// Drops packets with these properties. Prints that it is not checked, if the kernel has no such rules.
    fn of(properties: &[&str]) -> Option<Self> {
        let rule: Vec<String> = properties.iter().copied().chain(["-j", "DROP"]).map(str::to_owned).collect();
        let done = Command::new("iptables").args(["-A", "INPUT"]).args(&rule).output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self(rule));
        }
        e2e::namespace::not_checked(&format!("iptables cannot drop packets here; {WHAT}"));
        None
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        let done =
            Command::new("iptables").args(["-D", "INPUT"]).args(&self.0).status().expect("it ran before");
        assert!(done.success(), "packets are still lost");
    }
}

/// With `TCP_USER_TIMEOUT` alone the kernel would end both connections of an idle client at the second keepalive time
/// if the first probe was lost. A server that stops to acknowledge commands is still noticed, also after a quiet time.
#[test]
fn one_lost_probe_ends_no_connection() {
    alone(WHAT, || {
        let redis = Redis::plain();
        let gate = Gate::before(&redis)
            .listener("auth: trust")
            .top("limits: {tcp: {keepalive: 9s, user_timeout: 1s}}")
            .start();
        let idle_since = Instant::now();
        let at = |second| {
            std::thread::sleep(Duration::from_secs(second).saturating_sub(idle_since.elapsed()));
        };
        let mut client = gate.connect();
        // A session that watches a key would not survive the loss of its connection to Redis.
        client.assert_reply("WATCH key", "+OK");
        at(8);
        let Some(loss) = Loss::of(&["-i", "lo"]) else { return };
        // The first probe is sent 9 s after the last byte, and the next keepalive time is 3 s later.
        at(11);
        drop(loss);
        at(14);
        client.assert_reply("UNWATCH", "+OK");

        let port = redis.address().port().to_string();
        let _loss = Loss::of(&["-p", "tcp", "--dport", &port]).expect("a rule as before");
        let reply = client.call("GET key").to_string();
        assert!(reply.starts_with("-ERR portcullis: upstream 'main'"), "{reply}");
    });
}
