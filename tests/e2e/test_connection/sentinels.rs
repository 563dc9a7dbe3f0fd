//! Sentinel upstreams: the answer of each sentinel, and the master that they name.

use e2e::{FakeSentinel, Masters, Redis, ports};
use rustix::process::Signal;

use super::{Bench, PASSWORD, words};

/// Makes a configuration with these sentinels, and more keys of the upstream.
fn bench(nodes: &[String], more: &str) -> Bench {
    Bench::of(
        "trust",
        &format!(
            "sentinel: {{master: mymaster, nodes: {nodes:?}, pause: off}}, connect_timeout: 500ms{more}"
        ),
    )
}

#[test]
fn each_sentinel_says_where_the_master_is() {
    let masters = Masters::builder().password(PASSWORD).start();
    let mut nodes: Vec<String> = masters.sentinel_addresses().iter().map(ToString::to_string).collect();
    let master = masters.servers()[masters.master()].address();
    let silent = masters.sentinel_process(1);
    silent.signal(Signal::STOP);
    let printed = bench(&nodes, ", credentials: {password: {file: password}}").run("");
    let expected = format!(
        "upstream main (sentinel, master mymaster) ask {} {master}, epoch 0 T ask {} FAILED after T: connected, but no \
         answer to SENTINEL within 500ms ",
        nodes[0], nodes[1]
    );
    let text = words(&printed.text);
    assert!(text.starts_with(&expected), "{text}");
    let rest = format!(
        " ask {} {master}, epoch 0 T connect {master} T AUTH as default T PING PONG T ROLE master, 2 replicas;",
        nodes[2]
    );
    assert!(text.contains(&rest), "{text}");
    assert_eq!((printed.last_line(), printed.code), ("works, with 1 warning", 0));
    silent.signal(Signal::CONT);
    // A server with data in the list of sentinels.
    nodes[1] = master.to_string();
    let json = bench(&nodes, ", credentials: {password: {file: password}}").run("--json").json();
    let problem = &json["upstreams"][0]["steps"][1]["problem"];
    assert_eq!(problem["kind"], "not_a_sentinel", "{json:#}");
    // A sentinel as the address of a server.
    let as_server = Bench::of(
        "trust",
        &format!("address: '{}', credentials: {{password: {{file: password}}}}", nodes[0]),
    );
    as_server.assert_finds(
        "sentinel",
        "it is a Sentinel, which monitors mymaster, not a server with data",
        &format!(
            "replace address of upstreams.main by sentinel: {{master: mymaster, nodes: [\"{}\"]}}",
            nodes[0]
        ),
        "does not work: upstream main (AUTH)",
    );
    let other = nodes[0].clone();
    Bench::of("trust", &format!("sentinel: {{master: another, nodes: ['{other}'], pause: off}}"))
        .assert_finds(
            "unknown_master",
            "it monitors no master named another",
            "correct upstreams.main.sentinel.master: it monitors mymaster",
            "does not work: upstream main (ask)",
        );
}

#[test]
fn sentinels_that_are_wrong() {
    let (redis, free) = (Redis::plain(), ports::free());
    let replica = Redis::builder().line(&format!("replicaof 127.0.0.1 {}", redis.address().port())).start();
    let (first, second) =
        (FakeSentinel::naming(redis.address(), 5), FakeSentinel::naming(replica.address(), 4));
    let nodes = [first.address(), second.address()];
    bench(&nodes, "").assert_finds(
        "disagrees",
        "other sentinels name another master, or with another epoch",
        "wait for the end of a failover, or compare SENTINEL MASTER mymaster of all sentinels",
        "works, with 1 warning",
    );
    // The proxy skips a server that says that it is a replica.
    second.name(replica.address(), 6);
    let printed = bench(&nodes, "").run("");
    assert_eq!((printed.last_line(), printed.code), ("works, with 1 warning", 0), "{}", printed.text);
    let alone = [second.address()];
    let printed = bench(&alone, "").run("");
    let text = words(&printed.text);
    let undecided = format!(
        "decide FAILED after T: the proxy follows no sentinel: 1 of 1 name {} at the highest epoch, and it is a replica \
         wait for the end of a failover, or compare SENTINEL MASTER mymaster of all sentinels",
        replica.address()
    );
    let expected =
        format!("FAILED after T: the sentinels name it, but it is a replica of {}", redis.address());
    assert!(text.contains(&undecided) && text.contains(&expected) && printed.code == 1, "{text}");
    assert_eq!(printed.last_line(), "does not work: upstream main (decide)");
    // One of two names a server that cannot be reached: it may lie.
    second.name(format!("127.0.0.1:{free}"), 7);
    let gone = FakeSentinel::naming(redis.address(), 8);
    let both = [second.address(), gone.address()];
    drop(gone);
    let json = bench(&both, "").run("--json").json();
    let text = json["upstreams"][0]["steps"][2]["problem"]["text"].as_str().expect("a text").to_owned();
    let expected = format!("1 of 2 name 127.0.0.1:{free} at the highest epoch, and it does not answer");
    assert!(text.ends_with(&expected), "{text}");
    bench(&[redis.address().to_string()], "").assert_finds(
        "not_a_sentinel",
        "it is no Sentinel, but a server with data",
        "write addresses of sentinels in upstreams.main.sentinel.nodes; their port is usually 26379",
        "does not work: upstream main (ask)",
    );
    bench(&[format!("127.0.0.1:{free}")], "").assert_finds(
        "refused",
        "Connection refused",
        "start the sentinel there, or correct upstreams.main.sentinel.nodes",
        "does not work: upstream main (ask)",
    );
    let gone = FakeSentinel::naming(format!("127.0.0.1:{free}"), 1);
    bench(&[gone.address()], "").assert_finds(
        "refused",
        "Connection refused",
        "the sentinels name this address: check that this host reaches it, or map it with upstreams.main.translate",
        "does not work: upstream main (connect)",
    );
    let translate = format!(", translate: {{'127.0.0.1:{free}': '{}'}}", redis.address());
    let printed = bench(&[gone.address()], &translate).run("");
    assert_eq!((printed.last_line(), printed.code), ("works", 0), "{}", printed.text);
}

#[test]
fn sentinels_with_a_password() {
    let masters = Masters::builder().sentinel_password(PASSWORD).start();
    let nodes: Vec<String> = masters.sentinel_addresses().iter().map(ToString::to_string).collect();
    bench(&nodes, "").assert_finds(
        "auth",
        "it requires a password, but none is configured",
        "set upstreams.main.sentinel.credentials: sentinels have passwords of their own",
        "does not work: upstream main (ask)",
    );
    let with = |variable: &str| {
        let sentinel =
            format!("{{master: mymaster, nodes: {nodes:?}, credentials: {{password: {{env: {variable}}}}}}}");
        Bench::of("trust", &format!("sentinel: {sentinel}"))
            .variable("WRONG", "canary-wrong")
            .variable("RIGHT", PASSWORD)
    };
    assert_eq!(with("RIGHT").run("").last_line(), "works");
    with("WRONG").assert_finds(
        "auth",
        "Redis refused the user name or password",
        "correct upstreams.main.sentinel.credentials",
        "does not work: upstream main (ask)",
    );
}
