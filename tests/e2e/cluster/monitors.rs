//! The commands that programs for monitoring and browsing send when they start, before a cluster. The lists are those of
//! their sources: redis_exporter (`exporter/exporter.go` and the files beside it) and RedisInsight
//! (`redisinsight/api/src/modules/database` and `modules/redis`). docs/cluster.md names what is refused.

use e2e::client::Client;
use e2e::{Cluster, Gate, Reply};

use super::commands::ready;

/// A usable reply to a command.
#[derive(Clone, Copy, Debug)]
enum Due {
    Status,
    /// A text with this part.
    Text(&'static str),
    Number,
    /// A list or mapping.
    List,
    /// An error that begins with this: the program goes on without the answer.
    Refused(&'static str),
}

/// The refusal of a question that one node would answer for all.
const OF_ONE_NODE: Due = Due::Refused("-ERR portcullis: '");

fn assert_usable(client: &mut Client, command: &str, due: Due) {
    let reply = client.call(command);
    let shown = reply.to_string();
    let is_due = match due {
        Due::Status => matches!(reply, Reply::Status(_)),
        Due::Text(part) => !reply.is_error() && reply.text().contains(part),
        Due::Number => matches!(reply, Reply::Integer(_)),
        Due::List => matches!(reply, Reply::Array(_) | Reply::Map(_) | Reply::Set(_)),
        Due::Refused(beginning) => shown.starts_with(beginning),
    };
    assert!(is_due, "{command}: {shown}, and not {due:?}");
    assert!(!shown.contains("127.0.2."), "{command}: {shown}");
}

/// Starts a proxy before a cluster with some keys.
fn started(cluster: &Cluster, listener: &str) -> Gate {
    let gate = ready(cluster.gate().listener(listener));
    let mut client = gate.connect();
    client.assert_reply("SET {b}key 12", "+OK");
    client.assert_reply("PFADD {c}log x", ":1");
    client.assert_reply("RPUSH {d}list x", ":1");
    client.send("XADD {b}stream * field value");
    client.recv();
    client.assert_reply("XGROUP CREATE {b}stream group $", "+OK");
    gate
}

/// The options `--check-keys`, `--check-streams`, `--count-keys`, `--script` and `--export-client-list` add the later
/// commands.
#[test]
fn redis_exporter_has_what_it_needs() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster, "present_as: [standalone]");
    let mut client = gate.connect();
    for (command, due) in [
        ("PING", Due::Status),
        ("CLIENT SETNAME redis_exporter", Due::Status),
        ("CONFIG GET *", Due::List),
        ("INFO ALL", Due::Text("redis_version:")),
        ("INFO ALL", Due::Text("db0:keys=4,")),
        ("LATENCY LATEST", OF_ONE_NODE),
        ("LATENCY HISTOGRAM", OF_ONE_NODE),
        ("SELECT 0", Due::Status),
        ("SCAN 0 MATCH {b}* COUNT 1000", Due::List),
        ("TYPE {b}key", Due::Status),
        ("STRLEN {b}key", Due::Number),
        ("PFCOUNT {c}log", Due::Number),
        ("LLEN {d}list", Due::Number),
        ("MEMORY USAGE {b}key", Due::Number),
        ("GET {b}key", Due::Text("12")),
        ("SLOWLOG LEN", OF_ONE_NODE),
        ("SLOWLOG GET 1", OF_ONE_NODE),
        ("XINFO STREAM {b}stream", Due::List),
        ("XINFO GROUPS {b}stream", Due::List),
        ("XINFO CONSUMERS {b}stream group", Due::List),
        ("EVAL return{'a','1'} 0", Due::List),
        ("CLIENT LIST", Due::Text("name=redis")),
        ("INFO MODULES", Due::Text("# Modules")),
    ] {
        assert_usable(&mut client, command, due);
    }
    // It asks for more where INFO says that the server is a node of a cluster or a sentinel.
    let info = client.call("INFO ALL").text();
    assert!(info.contains("cluster_enabled:0") && !info.contains("# Sentinel"), "{info}");
}

/// RedisInsight looks for a sentinel, a cluster and modules, and then shows keys.
#[test]
fn redisinsight_has_what_it_needs() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster, "present_as: [standalone]");
    let mut client = gate.connect();
    for (command, due) in [
        ("CLIENT SETNAME redisinsight-common-1a2b3c4d", Due::Status),
        ("CLIENT SETINFO LIB-NAME ioredis", Due::Status),
        ("CLIENT SETINFO LIB-VER 5.4.1", Due::Status),
        ("INFO", Due::Text("redis_version:")),
        ("SENTINEL MASTERS", OF_ONE_NODE),
        ("CLUSTER INFO", Due::Refused("-ERR This instance has cluster support disabled")),
        ("MODULE LIST", OF_ONE_NODE),
        ("COMMAND INFO json.get json.set", Due::List),
        ("HELLO", Due::List),
        ("CONFIG GET databases", Due::List),
        ("INFO server", Due::Text("redis_version:")),
        ("DBSIZE", Due::Number),
        ("CLIENT LIST", Due::Text("name=redis")),
        ("ACL CAT dangerous", Due::List),
        ("ACL WHOAMI", Due::Text("")),
        ("SCAN 0 MATCH * COUNT 10000", Due::List),
        ("SCAN 0 MATCH * COUNT 10000 TYPE string", Due::List),
        ("TYPE {b}key", Due::Status),
        ("TTL {b}key", Due::Number),
        ("MEMORY USAGE {b}key SAMPLES 0", Due::Number),
        ("STRLEN {b}key", Due::Number),
        ("GETRANGE {b}key 0 4999", Due::Text("12")),
        ("LLEN {d}list", Due::Number),
        ("LRANGE {d}list 0 499", Due::List),
        ("XINFO STREAM {b}stream", Due::List),
        ("XREVRANGE {b}stream + - COUNT 500", Due::List),
        ("SLOWLOG GET 50", OF_ONE_NODE),
        ("SLOWLOG RESET", OF_ONE_NODE),
        ("CONFIG GET slowlog*", Due::List),
        ("CONFIG SET slowlog-log-slower-than 10000", OF_ONE_NODE),
        ("PUBSUB CHANNELS *", Due::List),
        ("PUBLISH channel text", Due::Number),
        ("FUNCTION LIST WITHCODE", Due::List),
        ("MONITOR", OF_ONE_NODE),
    ] {
        assert_usable(&mut client, command, due);
    }
    client.send("PSUBSCRIBE *");
    assert!(client.recv().to_string().contains("psubscribe"));
}

/// RedisInsight then takes the proxy for a cluster of one node, and connects again with ioredis in its cluster mode.
#[test]
fn redisinsight_finds_a_cluster_that_is_presented() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster, "present_as: [standalone, cluster]");
    let mut client = gate.connect();
    for (command, due) in [
        ("CLUSTER INFO", Due::Text("cluster_state:ok")),
        ("CLUSTER SLOTS", Due::List),
        ("CLUSTER NODES", Due::Text("myself,master")),
        ("READONLY", Due::Status),
        ("DBSIZE", Due::Number),
    ] {
        assert_usable(&mut client, command, due);
    }
}

/// Programs for browsing also ask for the commands of the server and for its subscriptions.
#[test]
fn more_questions_of_programs_have_usable_replies() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster, "");
    let mut client = gate.connect();
    for (command, due) in [
        ("COMMAND", Due::List),
        ("COMMAND DOCS", Due::List),
        ("ACL WHOAMI", Due::Text("default")),
        ("PUBSUB CHANNELS *", Due::List),
        ("PUBSUB NUMSUB a", Due::List),
        ("PUBSUB SHARDNUMSUB a", Due::List),
        ("PUBSUB NUMPAT", Due::Number),
        ("FUNCTION LIST", Due::List),
        ("TTL {b}key", Due::Number),
        ("MODULE LIST", OF_ONE_NODE),
    ] {
        assert_usable(&mut client, command, due);
    }
    client.send("HELLO 3");
    client.recv();
    let info = client.call("INFO ALL").text();
    assert!(info.contains("db0:keys=4,") && info.contains("# Server"), "{info}");
}
