//! Logins, TLS and addresses of nodes: every node gets the login of the client's session, whatever way leads to it.

use e2e::client::Client;
use e2e::{Cluster, Gate, GateBuilder, eventually};

use super::commands::{KEYS, SLOT_OF_B, ready};

const PASSWORD: &str = "a-password-of-nodes";
const UNAVAILABLE: &str = "-ERR portcullis: upstream 'main' unavailable (";

/// Uses all nodes, in pipelines, transactions, and while a slot moves from node 0 to node 2, which needs a connection for
/// commands that are sent again.
#[track_caller]
fn assert_served(gate: &Gate, cluster: &Cluster) {
    let mut client = gate.connect();
    assert_all_nodes(&mut client);
    let from = cluster.begin_move(SLOT_OF_B, 2);
    client.assert_reply("SET {b}new 1", "+OK");
    while cluster.move_keys(SLOT_OF_B, from, 2) > 0 {}
    client.assert_reply("GET {b}key", "\"x\"");
    cluster.end_move(SLOT_OF_B, from, 2);
    for mut client in [client, gate.connect()] {
        assert_all_nodes(&mut client);
        client.assert_reply("GET {b}new", "\"1\"");
    }
    assert!(gate.metric("upstream_redirects_total", &[("upstream", "main"), ("kind", "moved")]) >= 1.0);
    assert!(gate.metric("upstream_redirects_total", &[("upstream", "main"), ("kind", "ask")]) >= 1.0);
}

#[track_caller]
fn assert_all_nodes(client: &mut Client) {
    for key in KEYS {
        client.send(&format!("SET {key} x"));
        client.send(&format!("GET {key}"));
    }
    for _ in KEYS {
        client.assert_recv("+OK");
        client.assert_recv("\"x\"");
    }
    for key in KEYS {
        client.assert_reply("MULTI", "+OK");
        client.assert_reply(&format!("GET {key}"), "+QUEUED");
        client.assert_reply("EXEC", "[\"x\"]");
    }
}

#[test]
fn tls_and_a_password_at_each_node() {
    let cluster = Cluster::builder().without_replicas().tls().password(PASSWORD).start();
    let gate = ready(cluster.gate().upstream("tls: {ca: ca.pem}"));
    assert_served(&gate, &cluster);
}

#[test]
fn the_certificates_have_a_name_in_place_of_addresses() {
    let cluster = Cluster::builder().without_replicas().tls_for(&["nodes.example"]).start();
    let gate = ready(cluster.gate().upstream("tls: {ca: ca.pem, server_name: nodes.example}"));
    assert_served(&gate, &cluster);
    let gate = cluster.gate().upstream("tls: {ca: ca.pem}").upstream("failover_wait: 1s").start();
    let reply = gate.connect().call("GET {b}key").to_string();
    assert!(reply.starts_with(UNAVAILABLE), "{reply}");
    gate.assert_log("certificate");
    assert_eq!(gate.get("/ready").0, 503);
}

/// The rights that docs/configuration.md names suffice.
#[test]
fn a_user_with_few_rights_at_the_nodes() {
    let rights = "+@read +@write +@transaction +ping +cluster|slots +cluster|nodes +cluster|info +asking";
    let user = format!("user app on >{PASSWORD} ~* &* -@all {rights}");
    let cluster = Cluster::builder().without_replicas().line(&user).start();
    let gate = ready(cluster.gate().username("app").password(PASSWORD));
    assert_served(&gate, &cluster);
    let names = connections_of(&cluster, "app");
    assert!(names.iter().all(|count| *count > 0), "{names:?}");
}

/// Returns the number of connections of a user at each node.
fn connections_of(cluster: &Cluster, user: &str) -> Vec<usize> {
    let user = format!(" user={user} ");
    let count =
        |node: usize| cluster.call(node, "CLIENT LIST").lines().filter(|line| line.contains(&user)).count();
    (0..cluster.len()).map(count).collect()
}

/// Each user of the proxy has a login of its own at the nodes, on the connections that follow redirects too.
#[test]
fn users_have_their_own_logins_at_the_nodes() {
    let mut cluster = Cluster::builder().without_replicas();
    for user in ["alice", "bob"] {
        cluster = cluster.line(&format!("user {user} on >{user}-at-nodes ~{{?}}{user}* ~{{?}}key &* +@all"));
    }
    let cluster = cluster.start();
    let nodes: Vec<String> = (0..3).map(|node| cluster.address(node).to_string()).collect();
    let users = ["alice", "bob"].map(|user| {
        format!(
            "{user}: {{password: {{file: {user}.pw}}, upstream_credentials: {{main: {{username: {user}, password: {{file: up-{user}.pw}}}}}}}}"
        )
    });
    let mut gate = GateBuilder::default()
        .listener("auth: users")
        .listener("users: [alice, bob]")
        .upstream(&format!("cluster: {{nodes: [{}]}}", nodes.join(", ")))
        .hides((0..3).map(|node| cluster.address(node)))
        .top(&format!("users: {{{}}}", users.join(", ")));
    for user in ["alice", "bob"] {
        let at_nodes = format!("{user}-at-nodes");
        gate = gate.file(&format!("{user}.pw"), &format!("{user}-here")).secret(&format!("{user}-here"));
        gate = gate.file(&format!("up-{user}.pw"), &at_nodes).secret(&at_nodes);
    }
    let gate = ready(gate);
    let mut client = gate.connect();
    client.assert_reply("GET {b}key", "-NOAUTH Authentication required.");
    for (user, other) in [("alice", "bob"), ("bob", "alice")] {
        client.assert_reply(&format!("AUTH {user} {user}-here"), "+OK");
        assert_all_nodes(&mut client);
        for tag in ["b", "c", "d"] {
            client.assert_reply(&format!("SET {{{tag}}}{user}1 x"), "+OK");
            let reply = client.call(&format!("SET {{{tag}}}{other}1 x")).to_string();
            assert!(reply.starts_with("-NOPERM"), "{reply}");
        }
        client.assert_reply("ACL WHOAMI", &format!("\"{user}\""));
        eventually("all nodes have one connection of the user", || {
            (connections_of(&cluster, user) == [1, 1, 1] && connections_of(&cluster, other) == [0, 0, 0])
                .then_some(())
        });
    }
    // The slot moves while bob is logged in.
    let from = cluster.begin_move(SLOT_OF_B, 2);
    client.assert_reply("SET {b}bob-new x", "+OK");
    cluster.node(2).control().assert_reply("CLUSTER COUNTKEYSINSLOT 3300", ":1");
    while cluster.move_keys(SLOT_OF_B, from, 2) > 0 {}
    cluster.end_move(SLOT_OF_B, from, 2);
    client.assert_reply("GET {b}bob-new", "\"x\"");
    client.assert_reply("RESET", "+RESET");
    client.assert_reply("GET {b}key", "-NOAUTH Authentication required.");
}

/// The keys of a node with another password fail at once, and those of the others are served.
#[test]
fn one_node_has_another_password() {
    let cluster = Cluster::builder().without_replicas().password(PASSWORD).start();
    let gate = ready(cluster.gate());
    let mut before = gate.connect();
    assert_all_nodes(&mut before);
    let mut control = cluster.node(1).control();
    control.assert_reply("CONFIG SET requirepass another-password", "+OK");
    let mut client = gate.connect();
    for _ in 0..3 {
        for key in KEYS {
            client.send(&format!("GET {key}"));
        }
        client.assert_recv("\"x\"");
        let reply = client.recv().to_string();
        assert!(reply.starts_with(UNAVAILABLE), "{reply}");
        client.assert_recv("\"x\"");
    }
    // A connection that is logged in already stays.
    before.assert_reply("GET {c}key", "\"x\"");
    control.assert_reply(&format!("CONFIG SET requirepass {PASSWORD}"), "+OK");
    eventually("the node is used again", || (client.call("GET {c}key").to_string() == "\"x\"").then_some(()));
}

#[test]
fn host_names_are_announced() {
    let cluster = Cluster::builder().without_replicas().host_names().start();
    let gate = ready(cluster.gate().upstream(&cluster.translation()));
    assert_served(&gate, &cluster);
}

/// An empty host in a redirect is that of the node that answered.
#[test]
fn no_host_is_announced() {
    let cluster = Cluster::builder()
        .without_replicas()
        .ipv6()
        .line("cluster-preferred-endpoint-type unknown-endpoint")
        .start();
    assert_served(&ready(cluster.gate()), &cluster);
}

/// The name of a node is not set, so redirects have the host `?`. The next map tells the new owner of a slot. It does not
/// tell the node that a slot is moving to.
#[test]
fn names_are_preferred_and_not_set() {
    let cluster =
        Cluster::builder().without_replicas().line("cluster-preferred-endpoint-type hostname").start();
    let gate = ready(cluster.gate());
    let mut client = gate.connect();
    assert_all_nodes(&mut client);
    let from = cluster.begin_move(SLOT_OF_B, 2);
    client.assert_reply("GET {b}key", "\"x\"");
    client.assert_reply("GET {b}none", "-TRYAGAIN the slot of this command is moving to another node");
    while cluster.move_keys(SLOT_OF_B, from, 2) > 0 {}
    cluster.end_move(SLOT_OF_B, from, 2);
    assert_all_nodes(&mut client);
    client.assert_reply("GET {b}none", "nil");
}

/// The host of an IPv6 address in a redirect has no brackets.
#[test]
fn nodes_with_ipv6_addresses() {
    let cluster = Cluster::builder().without_replicas().ipv6().start();
    let gate = ready(cluster.gate());
    assert_served(&gate, &cluster);
}

/// The proxy reaches each node at another address than the announced one.
#[test]
fn nodes_are_reached_where_translate_says() {
    let cluster = Cluster::builder().without_replicas().line("bind 127.0.2.{n} 127.0.0.1").start();
    let ports: Vec<u16> = (0..3).map(|node| cluster.address(node).port()).collect();
    let pairs: Vec<String> =
        (0..3).map(|node| format!("\"{}\": \"127.0.0.1:{}\"", cluster.address(node), ports[node])).collect();
    let gate = cluster.gate_by(&[format!("127.0.0.1:{}", ports[0])]);
    let gate = ready(gate.upstream(&format!("translate: {{{}}}", pairs.join(", "))));
    assert_served(&gate, &cluster);
    for (node, port) in ports.iter().enumerate() {
        let clients = cluster.node(node).tcp_clients();
        // The nodes connect to each other for MIGRATE.
        let of_proxy = clients.iter().filter(|line| !line.contains("cmd=restore"));
        let here = format!(" laddr=127.0.0.1:{port} ");
        assert!(of_proxy.clone().count() > 0, "node {node}: {clients:?}");
        assert!(of_proxy.clone().all(|line| line.contains(&here)), "node {node}: {clients:?}");
    }
}
