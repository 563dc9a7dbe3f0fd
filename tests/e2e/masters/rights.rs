//! The users of the page on high availability: they have exactly the rights that the page names, and these are enough.

use std::fs;
use std::path::Path;

use e2e::{Client, Gate, GateBuilder, Masters, Redis, eventually};

const PASSWORD: &str = "canary-of-the-rights";

/// Returns the ACL SETUSER lines of the page: for the servers, and for the sentinels.
fn users() -> [String; 2] {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/high-availability.md");
    let page = fs::read_to_string(page).expect("the page");
    let lines: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER "))
        .map(|line| line.replace("PASSWORD", PASSWORD))
        .collect();
    lines.try_into().expect("two users")
}

fn with_login(gate: GateBuilder) -> GateBuilder {
    gate.listener("auth: trust").username("app").password(PASSWORD).upstream("failover_wait: 1m")
}

fn await_ready(gate: &Gate) {
    eventually("the proxy is ready", || (gate.get("/ready") == (200, "ready\n".into())).then_some(()));
}

/// Uses what the proxy does by itself: RESP3, a database, a name, and a connection that is lost.
fn assert_goes_on(client: &mut Client, lose: impl FnOnce()) {
    assert!(!client.call("HELLO 3").to_string().starts_with('-'));
    client.assert_reply("SELECT 3", "+OK");
    client.assert_reply("INCR app:n", ":1");
    lose();
    client.assert_reply("INCR app:n", ":2");
    client.assert_reply("GET app:n", "\"2\"");
    // The rights are no others.
    assert!(client.call("INFO").to_string().starts_with("-NOPERM"));
    assert!(client.call("GET other").to_string().starts_with("-NOPERM"));
}

#[test]
fn the_user_of_the_page_is_enough_for_one_server() {
    let [app, _] = users();
    let mut redis = Redis::plain();
    redis.control().assert_reply(&app, "+OK");
    for connections in ["dedicated", "shared"] {
        let gate = with_login(Gate::before(&redis)).upstream(&format!("connections: {connections}")).start();
        await_ready(&gate);
        assert_goes_on(&mut gate.connect(), || {
            redis.control().call("CLIENT KILL USER app");
            eventually("the proxy has noticed", || {
                let open = ["used", "pooled"].map(|state| {
                    gate.metric("upstream_connections", &[("upstream", "main"), ("state", state)])
                });
                (open == [0.0, 0.0]).then_some(())
            });
        });
        redis.control().call("FLUSHALL");
    }
    redis.kill();
}

#[test]
fn the_users_of_the_page_are_enough_behind_sentinels() {
    let [app, gate_user] = users();
    let masters = Masters::plain();
    for server in masters.servers() {
        server.control().assert_reply(&app, "+OK");
    }
    for sentinel in 0..3 {
        masters.sentinel(sentinel).assert_reply(&gate_user, "+OK");
    }
    let nodes: Vec<String> = masters.sentinel_addresses().iter().map(ToString::to_string).collect();
    let sentinel = format!(
        "sentinel: {{master: mymaster, nodes: [{}], credentials: {{username: gate, password: {{file: sentinel}}}}}}",
        nodes.join(", ")
    );
    let gate = with_login(GateBuilder::default())
        .secret(PASSWORD)
        .file("sentinel", PASSWORD)
        .upstream(&sentinel)
        .start();
    await_ready(&gate);
    assert_goes_on(&mut gate.connect(), || {
        // On a busy machine a replica may be late, and a failover does not wait for it.
        let mut control = masters.servers()[0].control();
        control.assert_reply("SET last 1", "+OK");
        control.assert_reply("WAIT 2 20000", ":2");
        masters.failover(0);
        gate.assert_log("(was ");
    });
    // The messages arrived too: without them there is no pause.
    gate.assert_log("commands are sent again");
    assert!(!gate.stderr().contains("cannot subscribe"), "{}", gate.stderr());
}
