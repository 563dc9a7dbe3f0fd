//! Clusters: the configured nodes, all nodes that they name, and the slots.

use e2e::{Cluster, Redis, eventually, ports};

use super::{Bench, PASSWORD, words};

/// Makes a configuration with these nodes, and more keys of the upstream.
fn bench(nodes: &[String], more: &str) -> Bench {
    Bench::of("trust", &format!("cluster: {{nodes: {nodes:?}}}, connect_timeout: 1s{more}"))
}

const LOGIN: &str = ", credentials: {password: {file: password}}";

#[test]
fn each_node_has_its_slots() {
    let mut cluster = Cluster::builder().password(PASSWORD).start();
    let at = |cluster: &Cluster, node: usize| cluster.address(node).to_string();
    let nodes = [at(&cluster, 0), at(&cluster, 4)];
    let printed = bench(&nodes, LOGIN).run("");
    let text = words(&printed.text);
    let asked = |node: &str| {
        format!(" connect {node} T AUTH as default T PING PONG T CLUSTER state ok, 6 nodes, epoch ")
    };
    assert!(text.starts_with("upstream main (cluster)"), "{text}");
    assert!(nodes.iter().all(|node| text.contains(&asked(node))), "{text}");
    for (node, slots) in [
        (0, "master, 5461 slots: 0-5460"),
        (1, "master, 5462 slots: 5461-10922"),
        (2, "master, 5461 slots: 10923-16383"),
        (3, "replica, no slots"),
    ] {
        assert!(text.contains(&format!(" node {} {slots} T", at(&cluster, node))), "{text}");
    }
    assert!(text.contains(" slots 16384 of 16384, at 3 masters T"), "{text}");
    assert_eq!((printed.last_line(), printed.code), ("works", 0));
    let json = bench(&nodes, LOGIN).run("--json").json();
    let steps = json["upstreams"][0]["steps"].as_array().expect("steps");
    let of = |name: &str| steps.iter().filter(|step| step["step"] == name).collect::<Vec<_>>();
    assert_eq!(of("node").len(), 6);
    assert!(of("node").iter().all(|step| step["node"]["reached_at"] == step["target"]), "{json:#}");
    assert_eq!(of("cluster")[0]["cluster"]["state"], "ok");
    assert_eq!(of("slots")[0]["slots"]["covered"], 16_384);
    // A replica that is stopped takes no keys away.
    cluster.kill(5);
    let printed = bench(&nodes, LOGIN).run("");
    let text = words(&printed.text);
    let failed =
        format!(" node {} FAILED after T: Connection refused the nodes name this address", at(&cluster, 5));
    assert!(text.contains(&failed), "{text}");
    assert_eq!((printed.last_line(), printed.code), ("works, with 1 warning", 0));
}

#[test]
fn slots_without_an_owner_are_a_failure() {
    let cluster = Cluster::builder().without_replicas().line("cluster-require-full-coverage no").start();
    for node in 0..3 {
        assert_eq!(cluster.call(node, "CLUSTER DELSLOTS 7 8 100"), "OK");
    }
    bench(&[cluster.address(1).to_string()], "").assert_finds(
        "uncovered",
        "3 slots have no owner: 7-8,100",
        "run redis-cli --cluster check on one of the nodes, and --cluster fix to give them an owner",
        "does not work: upstream main (slots)",
    );
}

#[test]
fn nodes_that_cannot_serve() {
    let (redis, free) = (Redis::plain(), ports::free());
    bench(&[redis.address().to_string()], "").assert_finds(
        "no_cluster",
        "it is no node of a cluster",
        "set upstreams.main.address in place of cluster, or cluster-enabled yes in that Redis",
        "does not work: upstream main (CLUSTER)",
    );
    bench(&[format!("127.0.0.1:{free}")], "").assert_finds(
        "refused",
        "Connection refused",
        "start Redis there, or correct upstreams.main.cluster.nodes",
        "does not work: upstream main (connect)",
    );
    let narrow = Redis::builder()
        .line("cluster-enabled yes\nuser app on >canary-test-connection-1 ~* +@all -cluster")
        .start();
    let login = ", credentials: {username: app, password: {file: password}}";
    bench(&[narrow.address().to_string()], login).assert_finds(
        "noperm",
        "Redis refuses CLUSTER SLOTS: user app lacks the right +cluster|slots +cluster|nodes +cluster|info",
        "run in Redis: ACL SETUSER app +cluster|slots +cluster|nodes +cluster|info",
        "does not work: upstream main (CLUSTER)",
    );
}

#[test]
fn a_master_that_refuses_the_password_takes_its_keys_away() {
    let cluster = Cluster::builder().password(PASSWORD).without_replicas().start();
    cluster.node(2).control().assert_reply("CONFIG SET requirepass another-password", "+OK");
    let bench = bench(&[cluster.address(0).to_string()], LOGIN);
    bench.assert_finds(
        "auth",
        "Redis refused the user name or password",
        "correct upstreams.main.credentials",
        "does not work: upstream main (node)",
    );
    let text = words(&bench.run("").text);
    assert!(text.contains(&format!(" node {} FAILED after T: ", cluster.address(2))), "{text}");
    for node in [0, 1] {
        assert!(text.contains(&format!(" node {} master, 546", cluster.address(node))), "{text}");
    }
}

#[test]
fn a_node_that_sees_no_majority() {
    let mut cluster = Cluster::builder().without_replicas().start();
    (1..3).for_each(|node| cluster.kill(node));
    eventually("the node misses the others", || {
        cluster.call(0, "CLUSTER INFO").contains("cluster_state:fail").then_some(())
    });
    bench(&[cluster.address(0).to_string()], "").assert_finds(
        "cluster_state",
        "this node says cluster_state:fail",
        "run redis-cli --cluster check on it: a slot has no master, or it does not see a majority of the masters",
        "does not work: upstream main (CLUSTER)",
    );
}
