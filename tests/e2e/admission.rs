//! Admission: default deny, deny before allow, and the replies to refused clients.

use std::time::Duration;

use e2e::client::End;
use e2e::{Client, Gate, Redis, eventually};

const DENIED: &[u8] = b"-DENIED source address not allowed\r\n";

fn assert_admitted(client: &mut Client) {
    client.assert_reply("PING", "+PONG");
}

/// Checks that the client gets the default refusal and that the connection is closed.
fn assert_refused(client: &mut Client) {
    let (bytes, _) = client.read_to_end();
    assert_eq!(bytes.escape_ascii().to_string(), DENIED.escape_ascii().to_string());
}

#[test]
fn without_an_allow_list_all_are_refused() {
    let redis = Redis::plain();
    for list in ["", "[]"] {
        let gate = Gate::before(&redis).allow(list).start();
        assert_refused(&mut gate.connect());
        assert_refused(&mut gate.connect_from("127.0.0.2", "127.0.0.1"));
    }
}

#[test]
fn only_listed_addresses_get_in() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).allow("[127.0.0.1, 127.1.0.0/16]").start();
    assert_admitted(&mut gate.connect());
    assert_admitted(&mut gate.connect_from("127.1.0.0", "127.0.0.1"));
    assert_admitted(&mut gate.connect_from("127.1.255.255", "127.0.0.1"));
    assert_refused(&mut gate.connect_from("127.0.0.2", "127.0.0.1"));
    assert_refused(&mut gate.connect_from("127.2.0.0", "127.0.0.1"));
    assert_refused(&mut gate.connect_from("127.0.255.255", "127.0.0.1"));
}

#[test]
fn deny_beats_allow() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .allow("[office]")
        .listener("deny: [abusers, 127.0.0.66]")
        .top("groups: {office: [127.0.0.0/8], abusers: [127.0.3.0/24]}")
        .start();
    assert_admitted(&mut gate.connect_from("127.0.2.255", "127.0.0.1"));
    assert_refused(&mut gate.connect_from("127.0.3.1", "127.0.0.1"));
    assert_refused(&mut gate.connect_from("127.0.0.66", "127.0.0.1"));
    eventually("both are counted as denied", || {
        (gate.metric("connections_refused_total", &[("reason", "denied")]) == 2.0).then_some(())
    });
    assert!(gate.metric("connections_refused_total", &[("reason", "not_allowed")]) == 0.0);
}

#[test]
fn an_expired_entry_counts_as_absent() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .allow("[guests]")
        .top("groups: {guests: {entries: [{cidr: 127.0.0.1, until: 2020-01-01T00:00:00Z}, {cidr: 127.0.0.2, until: 2999-01-01T00:00:00+02:00}]}}")
        .start();
    assert_refused(&mut gate.connect());
    assert_admitted(&mut gate.connect_from("127.0.0.2", "127.0.0.1"));
    eventually("it is counted as expired", || {
        (gate.metric("connections_refused_total", &[("reason", "expired")]) == 1.0).then_some(())
    });
}

/// A plain list and a YAML list, as other programs write them.
#[test]
fn groups_from_files() {
    let redis = Redis::plain();
    let lists = tempfile::tempdir().expect("a scratch directory");
    let path = |name: &str| lists.path().join(name).display().to_string();
    std::fs::write(path("office.txt"), "# head office\n127.0.1.0/24\n\n127.0.2.1   # the printer\n")
        .expect("writable");
    std::fs::write(path("branch.yaml"), "- {cidr: 127.0.3.0/24, note: branch}\n- 127.0.4.1\n")
        .expect("writable");
    let gate = Gate::before(&redis)
        .allow("[office, branch]")
        .top(&format!(
            "groups: {{office: {{file: {}}}, branch: {{file: {}}}}}",
            path("office.txt"),
            path("branch.yaml")
        ))
        .start();
    for from in ["127.0.1.9", "127.0.2.1", "127.0.3.9", "127.0.4.1"] {
        assert_admitted(&mut gate.connect_from(from, "127.0.0.1"));
    }
    for from in ["127.0.0.1", "127.0.2.2", "127.0.4.2"] {
        assert_refused(&mut gate.connect_from(from, "127.0.0.1"));
    }
}

#[test]
fn ipv6() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).bind("[::1]:{port}").bind("127.0.0.1:{port}").allow("[\"::1\"]").start();
    assert_admitted(&mut gate.connect_from("::1", "::1"));
    assert_refused(&mut gate.connect());
    let gate = Gate::before(&redis).bind("[::1]:{port}").allow("[\"::2/127\", 127.0.0.1]").start();
    assert_refused(&mut gate.connect_from("::1", "::1"));
}

/// On a dual-stack socket an IPv4 peer counts as IPv4.
#[test]
fn mapped_addresses_are_ipv4_addresses() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).bind("[::]:{port}").start();
    assert_admitted(&mut gate.connect());
    assert_admitted(&mut gate.connect_from("::ffff:127.0.0.1", "::ffff:127.0.0.1"));
    assert_refused(&mut gate.connect_from("127.0.0.2", "127.0.0.1"));
    assert_refused(&mut gate.connect_from("::ffff:127.0.0.2", "::ffff:127.0.0.1"));
    assert_refused(&mut gate.connect_from("::1", "::1"));
    // ::1 is not 0.0.0.1, and no other form embeds an IPv4 address.
    let gate = Gate::before(&redis).bind("[::]:{port}").allow("[0.0.0.0/8]").start();
    assert_refused(&mut gate.connect_from("::1", "::1"));
}

#[test]
fn unix_peers_are_admitted_by_name() {
    let redis = Redis::plain();
    for (allow, admitted) in [("[unix]", true), ("[127.0.0.1]", false)] {
        let gate =
            Gate::before(&redis).bind("127.0.0.1:{port}").bind("unix:{dir}/gate.sock").allow(allow).start();
        let mut client = Client::unix(&gate.directory().join("gate.sock"));
        if admitted {
            assert_admitted(&mut client);
            assert_refused(&mut gate.connect());
        } else {
            assert_refused(&mut client);
            assert_admitted(&mut gate.connect());
        }
    }
}

#[test]
fn redis_behind_a_unix_socket() {
    let redis = Redis::plain();
    let gate = Gate::before_address(&format!("unix:{}", redis.socket().display())).start();
    assert_admitted(&mut gate.connect());
    assert_refused(&mut gate.connect_from("127.0.0.2", "127.0.0.1"));
}

/// Checks every style byte for byte, before the client sends anything and after it sent a lot.
#[test]
fn styles_of_refusal() {
    let redis = Redis::plain();
    for (style, bytes) in
        [("denied", DENIED), ("illegal_address", b"-ERR illegal address\r\n"), ("close", b""), ("reset", b"")]
    {
        let gate = Gate::before(&redis).allow("[]").listener(&format!("refusal: {style}")).start();
        for written in [0, 100, 100_000] {
            let mut client = gate.connect();
            // The proxy may refuse the client before this write.
            let sent = client.try_send_raw(&b"*1\r\n$4\r\nPING\r\n".repeat(written / 14));
            let (got, end) = client.read_to_end();
            assert_eq!(
                got.escape_ascii().to_string(),
                bytes.escape_ascii().to_string(),
                "{style}, {written} written"
            );
            if style == "reset" {
                // A socket reports a reset once: to the write, if the write came after it.
                assert!(end == End::Reset || sent.is_err(), "{end:?}, {written} written");
            } else if written == 0 {
                assert_eq!(end, End::Eof, "{style}");
            }
        }
        // The proxy sends the line and closes its socket, even if the client neither reads nor closes.
        let silent: Vec<Client> = (0..50).map(|_| gate.connect()).collect();
        eventually("all are refused", || {
            (gate.metric("connections_refused_total", &[("listener", "public")]) == 53.0).then_some(())
        });
        drop(silent);
    }
}

/// A hundred refused clients that keep sending do not cause a single connection to Redis.
#[test]
fn the_refused_cause_no_connection_to_redis() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).allow("[127.0.0.1]").start();
    let before = redis.connections_received();
    for _ in 0..100 {
        let mut client = gate.connect_from("127.0.0.2", "127.0.0.1");
        let _ = client.try_send_raw(b"SET refused 1\r\n");
        assert_refused(&mut client);
    }
    // The proxy sends a health check each second, and this test makes control connections.
    let own = 10;
    assert!(redis.connections_received() - before < own, "refused clients reached Redis");
    assert_eq!(redis.calls("set"), 0);
    redis.control().assert_reply("EXISTS refused", ":0");
    eventually("the refusals are counted", || {
        (gate.metric("connections_refused_total", &[("listener", "public"), ("reason", "not_allowed")])
            == 100.0)
            .then_some(())
    });
    assert!(gate.metric("connections_accepted_total", &[("listener", "public")]) == 0.0);
    assert!(gate.metric("upstream_connections", &[("upstream", "main"), ("state", "used")]) == 0.0);
}

/// An admitted client causes no work for Redis until its first command.
#[test]
fn the_upstream_is_dialled_at_the_first_command() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    let mut client = gate.connect();
    eventually("the connection is accepted", || {
        (gate.metric("connections_accepted_total", &[("listener", "public")]) == 1.0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(gate.metric("upstream_connections", &[("upstream", "main"), ("state", "used")]) == 0.0);
    assert_admitted(&mut client);
    eventually("there is one connection", || {
        (gate.metric("upstream_connections", &[("upstream", "main"), ("state", "used")]) == 1.0).then_some(())
    });
}
