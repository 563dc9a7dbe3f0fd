//! Users and reloads: the effect of changes on logged-in users, and the sources from which a user may log in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::{Client, Gate, eventually};
use rustix::process::Signal;

use super::{ALICE, ALICE_OLD, BASE, BOB, NOAUTH, WRONGPASS, edit, redis, start};

/// The time within which a revoked user must be disconnected.
const CUT: Duration = Duration::from_secs(1);

fn alice(gate: &Gate) -> Client {
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_reply("PING", "+PONG");
    client
}

fn without_alice() -> String {
    edit(BASE, "users: [default, alice, bob]", "users: [default, bob]")
}

/// The clients are idle, without an upstream connection, subscribed, blocked, monitoring, or in a transaction.
#[test]
fn a_removed_user_is_cut_whatever_it_does() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut fresh = gate.connect();
    fresh.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    let (mut idle, mut subscribed, mut blocked) = (alice(&gate), alice(&gate), alice(&gate));
    let (mut monitoring, mut in_multi, mut resp3) = (alice(&gate), alice(&gate), alice(&gate));
    subscribed.assert_reply("SUBSCRIBE a", r#"["subscribe" "a" :1]"#);
    blocked.send("BLPOP list 0");
    monitoring.assert_reply("MONITOR", "+OK");
    in_multi.assert_reply("MULTI", "+OK");
    assert_eq!(resp3.call("HELLO 3").items().len(), 14);
    resp3.assert_reply("SUBSCRIBE a", r#">["subscribe" "a" :1]"#);
    let (mut bob, mut nobody) = (gate.connect(), gate.connect());
    bob.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    nobody.assert_reply("GET k", NOAUTH);
    eventually("BLPOP waits", || {
        redis.control().call("INFO clients").text().contains("blocked_clients:1").then_some(())
    });

    let report = gate.apply(&without_alice());
    assert_eq!(report["cut"], 7, "{report}");
    let started = Instant::now();
    for client in [&mut fresh, &mut idle, &mut subscribed, &mut blocked, &mut in_multi, &mut resp3] {
        client.assert_closed();
    }
    let (rest, _) = monitoring.read_to_end();
    assert!(!String::from_utf8_lossy(&rest).contains("canary"));
    assert!(started.elapsed() < CUT, "{:?}", started.elapsed());
    bob.assert_reply("ACL WHOAMI", "\"gate\"");
    nobody.assert_reply("GET k", NOAUTH);
    nobody.assert_reply(&format!("AUTH alice {ALICE}"), WRONGPASS);
    gate.assert_metric("connections_closed_total", &[("reason", "revoked")], 7.0);
    // The element was not popped, so other clients can pop it.
    redis.control().assert_reply("RPUSH list x", ":1");
    bob.assert_reply("LPOP list", "\"x\"");
}

/// A new password applies to new logins. Logged-in users stay.
#[test]
fn changed_secrets() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut inside = alice(&gate);
    let logs_in =
        |password: &str, due: &str| gate.connect().assert_reply(&format!("AUTH alice {password}"), due);
    let report = gate.reload_after(|| {
        gate.put("alice.pw", "canary-alice-next\n");
        gate.send_sighup();
    });
    assert_eq!(report["changes"], serde_json::json!(["user 'alice': password changed"]), "{report}");
    logs_in("canary-alice-next", "+OK");
    logs_in(ALICE, WRONGPASS);
    logs_in(ALICE_OLD, "+OK");
    inside.assert_reply("ACL WHOAMI", "\"alice\"");

    // With an empty file the reload is rejected, because an empty password is never valid.
    let report = gate.reload_after(|| {
        gate.put("alice.pw", "\n");
        gate.send_sighup();
    });
    assert_eq!(report["result"], "rejected", "{report}");
    logs_in("canary-alice-next", "+OK");
    logs_in("", WRONGPASS);
}

/// New credentials of an upstream apply to new connections and to the next login.
#[test]
fn changed_upstream_credentials() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut inside = alice(&gate);
    let mut bob = gate.connect();
    bob.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    bob.assert_reply("ACL WHOAMI", "\"gate\"");
    redis.control().assert_reply("ACL SETUSER alice2 on >canary-up-alice2 ~* &* +@all", "+OK");
    let other = edit(
        BASE,
        "username: alice, password: {file: up-alice.pw}",
        "username: alice2, password: {file: up2.pw}",
    );
    gate.put("up2.pw", "canary-up-alice2");
    gate.apply(&other);
    inside.assert_reply("ACL WHOAMI", "\"alice\"");
    inside.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    inside.assert_reply("ACL WHOAMI", "\"alice2\"");
    bob.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    bob.assert_reply("ACL WHOAMI", "\"alice2\"");
    let mut fresh = alice(&gate);
    fresh.assert_reply("ACL WHOAMI", "\"alice2\"");

    // Redis refuses these credentials. No output contains them, or Redis's error about them.
    gate.reload_after(|| {
        gate.put("up2.pw", "canary-up-wrong");
        gate.send_sighup();
    });
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
    client.assert_reply("GET k", "-ERR portcullis: upstream 'main' unavailable (auth)");
    client.assert_closed();
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    client.assert_reply("PING", "+PONG");
    client
        .assert_reply(&format!("AUTH alice {ALICE}"), "-ERR portcullis: upstream 'main' unavailable (auth)");
    client.assert_closed();
    assert!(!gate.stderr().contains("canary"), "{}", gate.stderr());
}

#[test]
fn from_narrows_a_user() {
    let redis = redis();
    let narrow = |list: &str| edit(BASE, "  alice:\n", &format!("  alice:\n    from: {list}\n"));
    let gate = start(&redis, &narrow("[127.0.0.2, 127.0.0.3]"));
    let from = |address: &str| gate.connect_from(address, "127.0.0.1");
    let (mut here, mut there, mut third) = (from("127.0.0.1"), from("127.0.0.2"), from("127.0.0.3"));
    here.assert_reply(&format!("AUTH alice {ALICE}"), WRONGPASS);
    here.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    for client in [&mut there, &mut third] {
        client.assert_reply(&format!("AUTH alice {ALICE}"), "+OK");
        client.assert_reply("PING", "+PONG");
    }
    // A reload that removes a source disconnects its clients, including subscribers.
    there.assert_reply("SUBSCRIBE a", r#"["subscribe" "a" :1]"#);
    gate.apply(&narrow("[127.0.0.3]"));
    let started = Instant::now();
    there.assert_closed();
    assert!(started.elapsed() < CUT);
    third.assert_reply("PING", "+PONG");
    here.assert_reply("PING", "+PONG");
    let mut there = from("127.0.0.2");
    there.assert_reply(&format!("AUTH alice {ALICE}"), WRONGPASS);
    there.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
}

/// A reload removes the source from the user's list before the upstream confirms a login. Commands that wait for the
/// login must not run.
#[test]
fn commands_behind_a_login_that_is_revoked_meanwhile() {
    let redis = redis();
    let narrow = |list: &str| edit(BASE, "  alice:\n", &format!("  alice:\n    from: {list}\n"));
    let gate = start(&redis, &narrow("[127.0.0.1]"));
    let mut client = gate.connect();
    client.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    client.assert_reply("PING", "+PONG");
    redis.signal(Signal::STOP);
    client.send(&format!("AUTH alice {ALICE}"));
    client.send("SET behind it");
    std::thread::sleep(Duration::from_millis(300));
    gate.apply(&narrow("[127.0.0.3]"));
    redis.signal(Signal::CONT);
    let _ = client.read_to_end();
    redis.control().assert_reply("EXISTS behind", ":0");
}

/// When the entry of a user expires, its clients are disconnected and cannot log in as that user again.
#[test]
fn until_ends_a_user() {
    let redis = redis();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 4;
    let yaml = edit(
        BASE,
        "  alice:\n",
        &format!("  alice:\n    from: [{{cidr: 127.0.0.1, until: {}}}]\n", rfc3339(at)),
    );
    let gate = start(&redis, &yaml);
    let mut client = alice(&gate);
    let mut bob = gate.connect();
    bob.assert_reply(&format!("AUTH bob {BOB}"), "+OK");
    client.assert_closed();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    assert!(now >= Duration::from_secs(at) && now < Duration::from_secs(at) + CUT, "{at} {now:?}");
    bob.assert_reply("PING", "+PONG");
    gate.assert_log("INFO entry expired: its clients are disconnected entry=127.0.0.1 until=");
    gate.connect().assert_reply(&format!("AUTH alice {ALICE}"), WRONGPASS);
}

fn rfc3339(at: u64) -> String {
    let output = std::process::Command::new("date").args(["-u", "-d", &format!("@{at}"), "+%FT%TZ"]).output();
    String::from_utf8_lossy(&output.expect("date of coreutils").stdout).trim().to_owned()
}

/// With another `auth`, the identity of a client is no longer valid.
#[test]
fn another_auth() {
    let redis = redis();
    let gate = start(&redis, BASE);
    let mut client = alice(&gate);
    let trust = edit(&edit(BASE, "auth: users", "auth: trust"), "    users: [default, alice, bob]\n", "");
    gate.apply(&trust);
    client.assert_closed();
    gate.connect().assert_reply("ACL WHOAMI", "\"gate\"");
    gate.apply(BASE);
    gate.connect().assert_reply("ACL WHOAMI", NOAUTH);
}
