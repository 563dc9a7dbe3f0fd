//! `read_from: replicas`: commands that only read go to replicas, and to the master where no replica executes them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use e2e::client::{Client, encode};
use e2e::fake::{Answer, Fake, bulk};
use e2e::gate::portcullis;
use e2e::random::number;
use e2e::{Cluster, Gate, GateBuilder, Random, eventually};
use rustix::process::Signal;

use super::commands::{KEYS, ready};
use super::load::{ABORTED, CHANGED, CLOSED, DOWN, TRYAGAIN};

/// The replicas of the masters at the beginning.
const REPLICAS: std::ops::Range<usize> = 3..6;

/// The planned failovers of a test.
const FAILOVERS: u64 = 3;

/// The commands that a reader sends before it reads the first reply.
const DEPTH: usize = 20;

/// The keys of the test under load.
const TAGS: usize = 24;

/// Starts a proxy when every node knows the replicas as such. The proxy asks only some of the nodes.
fn started(cluster: &Cluster) -> Gate {
    eventually("all nodes know the replicas", || {
        let knows = |node| cluster.call(node, "CLUSTER NODES").matches("slave ").count() == REPLICAS.len();
        (0..cluster.len()).all(knows).then_some(())
    });
    ready(cluster.replica_gate())
}

/// Returns how often a node has executed a command.
fn calls(cluster: &Cluster, node: usize, command: &str) -> u64 {
    let stats = cluster.call(node, "INFO commandstats");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

fn reads(gate: &Gate) -> f64 {
    gate.metric("upstream_replica_reads_total", &[("upstream", "main")])
}

fn repeated(gate: &Gate) -> f64 {
    gate.metric("upstream_replica_reads_repeated_total", &[("upstream", "main")])
}

/// Writes a value to each key, and waits until the replicas have it.
fn write(cluster: &Cluster, client: &mut Client, value: &str) {
    for (node, key) in KEYS.iter().enumerate() {
        client.assert_reply(&format!("SET {key} {value}"), "+OK");
        let mut replica = cluster.node(3 + node).control();
        replica.assert_reply("READONLY", "+OK");
        eventually("the replica has the value", || {
            (replica.call(&format!("GET {key}")).to_string() == format!("\"{value}\"")).then_some(())
        });
    }
}

#[test]
fn reads_reach_the_replicas_and_writes_the_masters() {
    const CLIENTS: usize = 8;
    const READS: usize = 30;
    let cluster = Cluster::builder().patient().password("canary-replicas-1").start();
    let gate = started(&cluster);
    let mut writer = gate.connect();
    write(&cluster, &mut writer, "x");
    let before: u64 = REPLICAS.map(|node| calls(&cluster, node, "get")).sum();
    for number in 0..CLIENTS {
        let mut client = gate.connect();
        if number % 2 == 1 {
            client.send("HELLO 3");
            client.recv();
        }
        client.assert_reply("CLIENT SETNAME reader", "+OK");
        for number in 0..READS {
            client.assert_reply(&format!("GET {}", KEYS[number % 3]), "\"x\"");
        }
        client.assert_reply(&format!("MGET {}", KEYS.join(" ")), "[\"x\" \"x\" \"x\"]");
        client.assert_reply(&format!("EXISTS {}", KEYS.join(" ")), ":3");
    }
    let sum = |command| REPLICAS.map(|node| calls(&cluster, node, command)).sum::<u64>();
    let clients = CLIENTS as u64;
    assert_eq!(sum("get") - before, clients * READS as u64);
    assert_eq!((sum("mget"), sum("exists")), (3 * clients, 3 * clients));
    for master in 0..3 {
        for command in ["get", "mget", "exists", "readonly"] {
            assert_eq!(calls(&cluster, master, command), 0, "{command} at {master}");
        }
    }
    assert_eq!((reads(&gate), repeated(&gate)), ((clients * (READS as u64 + 6)) as f64, 0.0));
    // Everything else.
    writer.assert_reply("MULTI", "+OK");
    writer.assert_reply("GET {b}key", "+QUEUED");
    writer.assert_reply("EXEC", "[\"x\"]");
    writer.assert_reply("EVAL_RO return(redis.call('get',KEYS[1])) 1 {b}key", "\"x\"");
    writer.assert_reply("WATCH {b}key", "+OK");
    writer.assert_reply("GET {b}key", "\"x\"");
    writer.assert_reply("UNWATCH", "+OK");
    writer.assert_reply("PFCOUNT {b}none", ":0");
    writer.assert_reply("TOUCH {b}key", ":1");
    assert_eq!((calls(&cluster, 0, "get"), calls(&cluster, 0, "eval_ro")), (3, 1));
    assert_eq!((calls(&cluster, 0, "pfcount"), calls(&cluster, 0, "touch")), (1, 1));
}

#[test]
fn the_configuration_is_shown() {
    let cluster = Cluster::plain();
    let gate = started(&cluster);
    let output = portcullis(gate.directory(), ["check", "--config", "portcullis.yaml"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains(", reads from replicas; its user needs"), "{text}");
    assert!(text.contains("+asking +readonly"), "{text}");
}

/// A client that has a connection to the replica, and new ones.
#[test]
fn a_killed_replica_fails_nothing() {
    let mut cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    write(&cluster, &mut client, "x");
    let read = |client: &mut Client| {
        for key in KEYS {
            client.assert_reply(&format!("GET {key}"), "\"x\"");
        }
    };
    read(&mut client);
    cluster.kill(3);
    for _ in 0..20 {
        read(&mut client);
        read(&mut gate.connect());
    }
    assert!(calls(&cluster, 0, "get") >= 40, "the master has its reads");
    cluster.start_again(3);
    cluster.await_ok();
    let before = calls(&cluster, 3, "get");
    eventually("the replica is used again", || {
        read(&mut gate.connect());
        (calls(&cluster, 3, "get") > before).then_some(())
    });
}

/// The replica has received the commands, and says nothing.
#[test]
fn a_stopped_replica_fails_nothing() {
    let cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    write(&cluster, &mut client, "x");
    client.assert_reply("GET {b}key", "\"x\"");
    cluster.node(3).signal(Signal::STOP);
    client.send_raw(&encode(&[b"GET", b"{b}key"]).repeat(DEPTH));
    (0..DEPTH).for_each(|_| client.assert_recv("\"x\""));
    client.assert_reply("GET {b}key", "\"x\"");
    gate.connect().assert_reply("GET {b}key", "\"x\"");
    cluster.node(3).signal(Signal::CONT);
}

/// A node of [`Pair`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Master,
    Replica,
}

/// A master with all slots, and its replica, which answers as a test says.
struct Pair {
    master: Fake,
    replica: Fake,
}

impl Pair {
    fn start(script: impl Fn(&[&str], u16) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let ports = Arc::<OnceLock<[u16; 2]>>::default();
        let script = Arc::new(script);
        let start = |member| {
            let (ports, script) = (Arc::clone(&ports), Arc::clone(&script));
            Fake::start(move |words| {
                let ports = *ports.get()?;
                let own = (member == Member::Replica).then(|| script(words, ports[0])).flatten();
                own.or_else(|| map_of(words, member, ports))
            })
        };
        let (master, replica) = (start(Member::Master), start(Member::Replica));
        let port = |node: &Fake| node.address().parse::<SocketAddr>().expect("an address").port();
        ports.set([port(&master), port(&replica)]).expect("set once");
        Self { master, replica }
    }

    fn gate(&self) -> GateBuilder {
        let nodes = [&self.master, &self.replica].map(Fake::address);
        GateBuilder::default()
            .listener("auth: trust")
            .upstream(&format!("cluster: {{nodes: [{}], read_from: replicas}}", nodes.join(", ")))
            .hides(nodes.iter().map(|node| node.parse().expect("an address")))
    }
}

/// Answers the questions of the proxy about the cluster.
fn map_of(words: &[&str], member: Member, [master, replica]: [u16; 2]) -> Option<Answer> {
    let id = |number: u8| format!("{number:040x}");
    let text = match words {
        ["CLUSTER", "SLOTS"] => {
            let entry =
                |port, number| format!("*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{}\r\n", id(number));
            let both = [entry(master, 0), entry(replica, 1)].concat();
            return Some(Answer::Bytes(format!("*1\r\n*4\r\n:0\r\n:16383\r\n{both}").into_bytes()));
        }
        ["CLUSTER", "NODES"] => {
            let own = |other| if member == other { "myself," } else { "" };
            format!(
                "{} 127.0.0.1:{master}@1 {}master - 0 0 1 connected 0-16383\n\
                 {} 127.0.0.1:{replica}@1 {}slave {} 0 0 1 connected\n",
                id(0),
                own(Member::Master),
                id(1),
                own(Member::Replica),
                id(0)
            )
        }
        ["CLUSTER", "INFO"] => "cluster_state:ok\r\ncluster_current_epoch:1\r\n".to_owned(),
        ["READONLY"] => return Answer::line("+OK"),
        _ => return None,
    };
    Some(Answer::Bytes(bulk(&text)))
}

fn count(node: &Fake, command: &str) -> usize {
    let connections = node.connections_with(command).into_iter();
    connections.map(|at| node.commands_on(at).iter().filter(|sent| *sent == command).count()).sum()
}

#[test]
fn a_read_that_the_replica_refuses_goes_to_the_master() {
    for refusal in [
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-CLUSTERDOWN The cluster is down",
        "-MOVED 3300 127.0.0.1:{master}",
        "-ASK 3300 127.0.0.1:{master}",
    ] {
        let pair = Pair::start(move |words, master| match words {
            ["GET", "{b}key"] => Answer::line(&refusal.replace("{master}", &master.to_string())),
            _ => None,
        });
        let gate = ready(pair.gate());
        let mut client = gate.connect();
        client.assert_reply("GET {c}key", "\"{c}key@0\"");
        client.send_raw(&[encode(&[b"GET", b"{b}key"]), encode(&[b"GET", b"{c}key"])].concat());
        client.assert_recv("\"{b}key@0\"");
        client.assert_recv("\"{c}key@0\"");
        client.assert_reply("GET {c}other", "\"{c}other@0\"");
        assert_eq!(count(&pair.replica, "GET {b}key"), 1, "{refusal}");
        assert_eq!(count(&pair.master, "GET {b}key"), 1, "{refusal}");
        assert_eq!(count(&pair.master, "GET {c}key"), 0, "{refusal}");
        assert_eq!(count(&pair.master, "GET {c}other"), 1, "the replica is avoided: {refusal}");
        assert_eq!((reads(&gate), repeated(&gate)), (3.0, 1.0), "{refusal}");
    }
}

/// READONLY is in one write with the login, and each read follows the answers.
#[test]
fn a_replica_that_refuses_the_login_is_passed_over() {
    let pair = Pair::start(|words, _| match words {
        ["READONLY"] => Answer::line("-NOPERM User gate has no permissions to run the 'readonly' command"),
        _ => None,
    });
    let gate = ready(pair.gate());
    let mut client = gate.connect();
    for _ in 0..3 {
        client.assert_reply("GET {b}key", "\"{b}key@0\"");
    }
    assert_eq!((count(&pair.replica, "GET {b}key"), count(&pair.master, "GET {b}key")), (0, 3));
    assert_eq!(count(&pair.master, "READONLY"), 0);
}

/// A reply that a client has read in part cannot be completed by another server.
#[test]
fn a_replica_that_is_lost_within_a_reply() {
    let pair = Pair::start(|words, _| match words {
        ["GET", "{b}long"] => Some(Answer::Last([&b"$1000000\r\n"[..], &[b'x'; 500_000]].concat())),
        _ => None,
    });
    let gate = ready(pair.gate());
    let mut client = gate.connect();
    client.send("GET {b}long");
    assert!(client.try_recv().is_err(), "the connection is closed within the reply");
}

/// The counts of one client under load.
#[derive(Default)]
struct Seen {
    replies: u64,
    closed: u64,
    errors: BTreeMap<String, u64>,
}

/// Clients that read and write until they are stopped.
struct Load {
    stopping: Arc<AtomicBool>,
    replies: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<Seen>>,
}

impl Load {
    fn start(address: SocketAddr, readers: usize) -> Self {
        let (stopping, replies) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = |number: usize| {
            let (stopping, replies) = (Arc::clone(&stopping), Arc::clone(&replies));
            thread::spawn(move || {
                let mut random = Random::new(number as u64 + 1);
                let (mut seen, mut client, mut round) = (Seen::default(), None, 0);
                while !stopping.load(Ordering::Relaxed) {
                    let connected = client.take().or_else(|| Client::try_tcp(address).ok());
                    let Some(mut connected) = connected else { continue };
                    round += 1;
                    let writes = number == 0;
                    let is_alive = exchange(&mut connected, writes.then_some(round), &mut random, &mut seen);
                    seen.closed += u64::from(!is_alive);
                    client = is_alive.then_some(connected);
                    replies.store(seen.replies.max(replies.load(Ordering::Relaxed)), Ordering::Relaxed);
                }
                seen
            })
        };
        let threads = (0..=readers).map(thread).collect();
        Self { stopping, replies, threads }
    }

    #[track_caller]
    fn go_on(&self) {
        let before = self.replies.load(Ordering::Relaxed);
        eventually("the clients go on", || {
            (self.replies.load(Ordering::Relaxed) > before + 500).then_some(())
        });
    }

    /// Stops the clients. No one of them was closed, and each error begins with one of `allowed`.
    #[track_caller]
    fn finish(self, allowed: &[&str]) {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let seen = thread.join().expect("the client ends");
            let is_strange = |text: &&String| !allowed.iter().any(|known| text.starts_with(known));
            assert_eq!(seen.errors.keys().find(is_strange), None, "{:?}", seen.errors);
            assert_eq!(seen.closed, 0, "{:?}", seen.errors);
        }
    }
}

/// Sends a pipeline of reads or writes, and takes the replies. A value names its key. Returns whether the connection goes
/// on.
fn exchange(client: &mut Client, written: Option<u64>, random: &mut Random, seen: &mut Seen) -> bool {
    let keys: Vec<String> = (0..DEPTH).map(|_| format!("key:{}", random.below(TAGS))).collect();
    let command = |key: &String| match written {
        Some(value) => encode(&[b"SET", key.as_bytes(), format!("{key}={value}").as_bytes()]),
        None => encode(&[b"GET", key.as_bytes()]),
    };
    let bytes: Vec<u8> = keys.iter().flat_map(command).collect();
    if client.try_send_raw(&bytes).is_err() {
        return false;
    }
    for key in keys {
        let Ok(reply) = client.try_recv() else { return false };
        let text = reply.to_string();
        if reply.is_error() {
            *seen.errors.entry(text).or_default() += 1;
        } else {
            let is_due = text == "+OK" || text == "nil" || text.starts_with(&format!("\"{key}="));
            assert!(is_due, "{key}: {text}");
        }
        seen.replies += 1;
    }
    true
}

#[test]
fn planned_failovers_under_load_fail_no_read() {
    let cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let load = Load::start(gate.address(), 3);
    for round in 0..number("PORTCULLIS_FAILOVERS", FAILOVERS) {
        load.go_on();
        let slot = [0, 8000, 16_000][usize::try_from(round % 3).expect("small")];
        cluster.failover((cluster.owner(slot) + 3) % 6);
        load.go_on();
        cluster.await_ok();
    }
    let before = reads(&gate);
    load.go_on();
    assert!(reads(&gate) > before, "the new replicas are used");
    load.finish(&[CLOSED, CHANGED, TRYAGAIN, ABORTED, DOWN]);
}

/// Only replicas fail, so no client reads an error.
#[test]
fn replicas_that_come_and_go_under_load_fail_nothing() {
    let mut cluster = Cluster::builder().patient().start();
    let gate = started(&cluster);
    let load = Load::start(gate.address(), 3);
    load.go_on();
    for replica in REPLICAS {
        cluster.kill(replica);
        load.go_on();
        cluster.start_again(replica);
        cluster.await_ok();
        load.go_on();
    }
    load.finish(&[]);
}
