//! redis-cli's own tools, INFO and WAIT before a cluster.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use e2e::client::encode;
use e2e::{Cluster, Gate, Server, eventually};

use super::commands::started;

const COUNT: usize = 2000;

/// Runs redis-cli, and returns what it prints.
fn redis_cli(gate: &Gate, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &gate.port().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed");
    child.stdin.take().expect("piped").write_all(input).expect("redis-cli reads");
    let output = child.wait_with_output().expect("redis-cli ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_tools_of_redis_cli_see_one_redis() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let names: BTreeSet<String> = (0..COUNT).map(|number| format!("key:{number}")).collect();
    let input: Vec<u8> = names.iter().flat_map(|name| encode(&[b"SET", name.as_bytes(), b"value"])).collect();
    let piped = redis_cli(&gate, &["--pipe"], &input);
    assert!(piped.contains(&format!("errors: 0, replies: {COUNT}")), "{piped}");
    let mut client = gate.connect();
    client.assert_reply("RPUSH list:long a b c d", ":4");
    let found: BTreeSet<String> =
        redis_cli(&gate, &["--scan", "--pattern", "key:*"], b"").lines().map(str::to_owned).collect();
    assert_eq!(found, names);
    let big = redis_cli(&gate, &["--bigkeys"], b"");
    assert!(big.contains(&format!("Sampled {} keys in the keyspace!", COUNT + 1)), "{big}");
    assert!(big.contains("'\"list:long\"' has 4 items"), "{big}");
    let memory = redis_cli(&gate, &["--memkeys"], b"");
    assert!(memory.contains(&format!("Sampled {} keys in the keyspace!", COUNT + 1)), "{memory}");
}

/// `--stat` never ends by itself. It takes the number of keys, the memory and more from INFO.
#[test]
fn stat_of_redis_cli_shows_the_keys_of_all_nodes() {
    const COUNT: usize = 30;
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    (0..COUNT).for_each(|number| client.assert_reply(&format!("SET key:{number} x"), "+OK"));
    let mut child = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &gate.port().to_string(), "--stat", "-i", "0.1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let lines: Vec<String> = output.lines().map(|line| line.expect("text")).take(4).collect();
    child.kill().and_then(|()| child.wait()).expect("redis-cli ends");
    assert!(lines[1].starts_with("keys "), "{lines:?}");
    for line in &lines[2..] {
        assert_eq!(line.split_whitespace().next(), Some(&*COUNT.to_string()), "{lines:?}");
    }
}

#[test]
fn info_goes_on_without_a_node_that_is_down() {
    let mut cluster = Cluster::builder().without_replicas().line("cluster-require-full-coverage no").start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    for key in ["{b}key", "{c}key", "{d}key"] {
        client.assert_reply(&format!("SET {key} x"), "+OK");
    }
    cluster.kill(1);
    eventually("INFO says what is missing", || {
        let info = client.call("INFO keyspace").to_string();
        (info.contains("without the keys of 1 masters") && info.contains("db0:keys=2,")).then_some(())
    });
}

#[test]
fn wait_counts_the_replicas_of_every_master_that_was_written_to() {
    let cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    client.assert_reply("SET {b}key x", "+OK");
    client.assert_reply("SET {c}key x", "+OK");
    client.assert_reply("WAIT 1 10000", ":1");
    // No master has two replicas, so the time passes.
    client.assert_reply("WAIT 2 50", ":1");
    client.assert_reply("WAIT 1 -5", "-ERR timeout is negative");
}

/// The servers of `TEST_SERVERS` from version 7.2 on know the command, and the installed one perhaps.
#[test]
fn waitaof_counts_the_files_of_every_master_that_was_written_to() {
    for server in Server::all().iter().filter(|server| server.version() >= (7, 2)) {
        let cluster = Cluster::builder().patient().server(server).line("appendonly yes").start();
        let gate = started(&cluster);
        let mut client = gate.connect();
        client.assert_reply("SET {b}key x", "+OK");
        client.assert_reply("SET {c}key x", "+OK");
        client.assert_reply("WAITAOF 1 1 10000", "[:1 :1]");
        // No master has two replicas, so the time passes.
        client.assert_reply("WAITAOF 1 2 50", "[:1 :1]");
        // One master of two writes no file.
        client.assert_reply("SET {b}key y", "+OK");
        client.assert_reply("SET {c}key y", "+OK");
        assert_eq!(cluster.call(1, "CONFIG SET appendonly no"), "OK");
        let refused = client.call("WAITAOF 1 0 100").to_string();
        assert!(refused.starts_with("-ERR WAITAOF cannot be used"), "{}: {refused}", server.name);
        client.assert_reply("WAIT 1 10000", ":1");
    }
}

/// 100,000 keys of all slots in one command.
#[test]
fn commands_of_many_keys_need_little_memory() {
    const KEYS: usize = 100_000;
    let _turn = e2e::own_turn();
    let cluster = Cluster::builder().without_replicas().start();
    let gate = super::commands::ready(cluster.gate().top("limits: {held_command: 8MiB}"));
    let mut client = gate.connect();
    let names: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
    let words = |name: &'static str| {
        let mut words: Vec<&[u8]> = vec![name.as_bytes()];
        words.extend(names.iter().map(String::as_bytes));
        encode(&words)
    };
    for chunk in names.chunks(1000) {
        client.send_raw(
            &chunk.iter().flat_map(|name| encode(&[b"SET", name.as_bytes(), b"v"])).collect::<Vec<_>>(),
        );
        chunk.iter().for_each(|_| client.assert_recv("+OK"));
    }
    let (mget, del) = (words("MGET"), words("DEL"));
    let before = gate.peak_memory();
    client.send_raw(&mget);
    let reply = client.recv();
    assert!(reply.items().len() == KEYS && reply.items().iter().all(|value| value.text() == "v"));
    client.send_raw(&del);
    client.assert_recv(&format!(":{KEYS}"));
    let needed = gate.peak_memory() - before;
    // The frame is held once or twice, and its index has 8 bytes a key.
    assert!(
        needed < 4 * (mget.len() as u64) + (4 << 20),
        "{} KiB for {} KiB",
        needed >> 10,
        mget.len() >> 10
    );
    client.assert_reply("DBSIZE", ":0");
}
