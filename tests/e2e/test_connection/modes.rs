//! `--as-client` in each mode of `present_as`: a plain, a Sentinel and a Cluster client.

use std::collections::BTreeMap;

use e2e::{Gate, GateBuilder, Masters, Redis, ports};
use serde_json::Value;

use super::{Printed, run_in, words};

const ALL: &str = "present_as: [standalone, sentinel, cluster]";
const RELOAD: &str = "reload the proxy with this configuration, or name the configuration that it runs with";

#[track_caller]
fn run(gate: &Gate, arguments: &str) -> Printed {
    run_in(gate.directory(), &format!("--as-client {arguments}"), &BTreeMap::new())
}

fn before(redis: &Redis) -> GateBuilder {
    Gate::before(redis).listener("auth: trust")
}

/// Returns the block of a client, as words.
#[track_caller]
fn block(printed: &Printed, client: &str) -> String {
    let begin = printed.text.find(&format!(" (as a {client} client, ")).expect("the block of the client");
    let rest = &printed.text[begin..];
    words(&rest[..rest.find("\nlistener ").unwrap_or(rest.len())])
}

/// Returns the first problem of the listener as this client.
#[track_caller]
fn problem(gate: &Gate, client: &str, arguments: &str) -> Value {
    let json = run(gate, &format!("--json {arguments}")).json();
    let blocks = json["listeners"].as_array().expect("blocks");
    let block = blocks.iter().find(|block| block["as"] == client).expect("the block of the client");
    let steps = block["steps"].as_array().expect("steps").iter();
    let found = steps.map(|step| step["problem"].clone()).find(|problem| !problem.is_null());
    found.unwrap_or_else(|| panic!("no problem: {json:#}"))
}

/// Changes the configuration that the test reads, but not the proxy that runs.
fn edited(gate: &Gate, from: &str, to: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let yaml = std::fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("the configuration");
    assert!(yaml.contains(from), "{yaml}");
    std::fs::write(directory.path().join("portcullis.yaml"), yaml.replace(from, to)).expect("writable");
    directory
}

#[test]
fn each_mode_has_a_block_of_steps() {
    let redis = Redis::plain();
    let gate = before(&redis).listener(ALL).start();
    let printed = run(&gate, "");
    let at = gate.address();
    assert_eq!(
        block(&printed, "plain"),
        format!("(as a plain client, auth trust) connect {at} T PING PONG T")
    );
    let sentinel = block(&printed, "Sentinel");
    let expected = format!(
        "(as a Sentinel client, auth trust) connect {at} T SENTINEL mymaster {at} T connect {at} T PING PONG T ROLE \
         master, 0 replicas; Redis "
    );
    assert!(sentinel.starts_with(&expected), "{sentinel}");
    let expected = format!(
        "(as a Cluster client, auth trust) connect {at} T PING PONG T CLUSTER SLOTS {at} T connect {at} T PING PONG T \
         CLUSTER MYID the same node T works"
    );
    assert_eq!(block(&printed, "Cluster"), expected);
    assert_eq!(printed.code, 0);
    let json = run(&gate, "--json").json();
    let modes: Vec<&Value> =
        json["listeners"].as_array().expect("blocks").iter().map(|block| &block["as"]).collect();
    assert_eq!(modes, ["standalone", "sentinel", "cluster"]);
    assert_eq!(json["listeners"][1]["steps"][1]["announced"], at.to_string());
    // A listener that is only a cluster has one block.
    let gate = before(&redis).listener("present_as: [cluster]").start();
    assert_eq!(run(&gate, "--json").json()["listeners"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_announced_name_is_looked_up_and_dialled() {
    let redis = Redis::plain();
    let gate = before(&redis).bind("127.0.0.1:{port}").listener(ALL).listener("announce: localhost:{port}");
    let gate = gate.start();
    let printed = run(&gate, "");
    for client in ["plain", "Sentinel", "Cluster"] {
        let text = block(&printed, client);
        assert!(text.contains(" resolve localhost ") && !text.contains("does not work"), "{text}");
    }
    assert_eq!(printed.code, 0, "{}", printed.text);
}

#[test]
fn an_announced_address_that_is_wrong() {
    let (redis, free) = (Redis::plain(), ports::free());
    let with =
        |announce: &str| before(&redis).listener(ALL).listener(&format!("announce: '{announce}'")).start();
    let gate = with(&format!("127.0.0.1:{free}"));
    for client in ["standalone", "sentinel", "cluster"] {
        let found = problem(&gate, client, "");
        assert_eq!((&found["kind"], &found["text"]), (&"refused".into(), &"Connection refused".into()));
        let advice = "correct listeners.public.announce; if only this host cannot reach it, run the test where clients run";
        assert_eq!(found["advice"], advice);
    }
    let printed = run(&gate, "");
    let verdict = "does not work: listener public (connect), listener public as a Sentinel client (connect), listener \
                   public as a Cluster client (connect)";
    assert_eq!((words(printed.last_line()), printed.code), (verdict.to_owned(), 1));
    let gate = with("no-such-host.invalid:6379");
    let found = problem(&gate, "cluster", "");
    assert_eq!(found["advice"], "correct listeners.public.announce, or check the name server", "{found}");
    // A Redis that clients may reach, but not through the proxy.
    let gate = with(&redis.address().to_string());
    let found = problem(&gate, "cluster", "");
    assert_eq!(
        (&found["kind"], &found["text"], &found["advice"]),
        (
            &"announce".into(),
            &"another server answers there, which is not this listener".into(),
            &"correct listeners.public.announce".into()
        )
    );
    // The proxy runs with another configuration.
    let gate = with("127.0.0.1:6379");
    let other = edited(&gate, "127.0.0.1:6379", "127.0.0.1:6380");
    let json = run_in(other.path(), "--as-client --json", &BTreeMap::new()).json();
    for block in [1, 2] {
        let steps = json["listeners"][block]["steps"].as_array().expect("steps");
        let found = &steps.last().expect("a step")["problem"];
        assert_eq!(
            (&found["text"], &found["advice"]),
            (&"this configuration announces 127.0.0.1:6380".into(), &RELOAD.into())
        );
    }
}

#[test]
fn names_of_the_master() {
    let redis = Redis::plain();
    let gate = before(&redis).listener(ALL).listener("announce_master: [orders, carts]").start();
    let text = block(&run(&gate, ""), "Sentinel");
    assert!(text.contains(" SENTINEL orders ") && text.contains(" SENTINEL carts "), "{text}");
    let found = problem(&gate, "sentinel", "--master mymaster");
    assert_eq!(
        (&found["kind"], &found["text"], &found["advice"]),
        (
            &"master_name".into(),
            &"the proxy announces orders, carts only".into(),
            &"add mymaster to listeners.public.announce_master, or enter one of these names in the client"
                .into()
        )
    );
    assert_eq!(run(&gate, "--master carts").code, 0);
    let other = edited(&gate, "[orders, carts]", "[orders, baskets]");
    let json = run_in(other.path(), "--as-client --json", &BTreeMap::new()).json();
    assert_eq!(json["listeners"][1]["steps"][2]["problem"]["advice"], RELOAD, "{json:#}");
}

#[test]
fn a_proxy_that_presents_something_else() {
    let redis = Redis::plain();
    let gate = before(&redis).listener("present_as: [standalone]").start();
    let other = edited(&gate, "present_as: [standalone]", ALL);
    let json = run_in(other.path(), "--as-client --json", &BTreeMap::new()).json();
    for (block, text) in [
        (1, "the proxy does not present itself as a sentinel"),
        (2, "the proxy does not present itself as a cluster"),
    ] {
        let steps = json["listeners"][block]["steps"].as_array().expect("steps");
        let found = &steps.last().expect("a step")["problem"];
        assert_eq!(
            (&found["kind"], &found["text"], &found["advice"]),
            (&"not_presented".into(), &text.into(), &RELOAD.into())
        );
    }
}

/// A refused host reads in each block the command that admits it.
#[test]
fn a_refusal_is_explained_in_each_mode() {
    let redis = Redis::plain();
    let gate =
        before(&redis).allow("[office]").top("groups: {office: [203.0.113.0/24]}").listener(ALL).start();
    for client in ["standalone", "sentinel", "cluster"] {
        let found = problem(&gate, client, "");
        assert_eq!(found["kind"], "not_allowed", "{client}: {found}");
        assert_eq!(found["advice"], "to admit it: portcullis groups add office 127.0.0.1");
    }
}

/// A listener that is only a sentinel leads to one with data, which may have TLS and a login of its own.
#[test]
fn a_sentinel_listener_and_its_data() {
    let redis = Redis::plain();
    let (data, other) = (ports::free(), ports::free());
    let gate = |announced: u16| {
        Gate::before(&redis)
            .config(&format!(
                "listeners:\n  - {{name: public, bind: '127.0.0.1:{data}', upstream: main, allow: [127.0.0.1], auth: users, \
                 users: [web]}}\n  - {{name: watch, bind: '127.0.0.1:{{port}}', upstream: main, allow: [127.0.0.1], \
                 auth: trust, present_as: [sentinel], announce: '127.0.0.1:{announced}'}}\n\
                 upstreams: {{main: {{address: {{redis}}}}}}\nusers: {{web: {{password: {{env: LOGIN}}}}}}\n\
                 admin: {{bind: '127.0.0.1:{{admin}}'}}\n"
            ))
            .environment("LOGIN", "canary-modes")
            .start()
    };
    let environment: BTreeMap<String, String> = ["LOGIN", "PORTCULLIS_CLIENT_PASSWORD"]
        .map(|name| (name.to_owned(), "canary-modes".to_owned()))
        .into();
    let served = gate(data);
    let printed = run_in(served.directory(), "--as-client --listener watch --user web", &environment);
    let text = block(&printed, "Sentinel");
    let expected = format!(
        "SENTINEL mymaster 127.0.0.1:{data} T connect 127.0.0.1:{data} T PING the proxy answers, and asks for a login T \
         AUTH as web T PING PONG T ROLE master, 0 replicas; Redis "
    );
    assert!(text.contains(&expected) && printed.code == 0, "{text}");
    drop(served);
    let wrong = gate(other);
    let printed = run_in(wrong.directory(), "--as-client --listener watch --json", &environment);
    let steps = printed.json()["listeners"][0]["steps"].clone();
    let found = steps.as_array().expect("steps").last().expect("a step")["problem"].clone();
    let advice =
        "correct listeners.watch.announce; if only this host cannot reach it, run the test where clients run";
    assert_eq!(found["advice"], advice);
}

/// Clients that used the sentinels directly know the name of the master there.
#[test]
fn before_masters_that_move() {
    let masters = Masters::plain();
    let gate = masters.gate().listener("auth: trust").listener(ALL);
    let printed = run(&gate.clone().start(), "");
    assert_eq!((printed.last_line(), printed.code), ("works", 0), "{}", printed.text);
    assert_eq!(printed.text.matches("ROLE     master, 0 replicas").count(), 1, "as the client sees it");
    let found = problem(&gate.listener("announce_master: [orders]").start(), "sentinel", "");
    assert_eq!(
        (&found["kind"], &found["text"], &found["advice"]),
        (
            &"master_name".into(),
            &"clients that have asked the sentinels so far know the name mymaster".into(),
            &"add mymaster to listeners.public.announce_master, or change the clients".into()
        )
    );
}
