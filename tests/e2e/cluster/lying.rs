//! Nodes that redirect in circles, name strangers, break their replies, or never answer. Each client gets a documented
//! answer in bounded time, and the keys of other nodes are served.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use e2e::client::Client;
use e2e::fake::{Answer, Fake, bulk};
use e2e::{Cluster, Gate, GateBuilder, PATIENCE};

use super::commands::{SLOT_OF_B, ready, started};

const NOT_FOLLOWED: &str = "-TRYAGAIN the slot of this command is moving to another node";
const CLOSED: &str =
    "-ERR portcullis: upstream 'main' closed the connection; this command may or may not have run";

/// The first slot of the second node. The slots of `{b}` and `{c}` are below it, that of `{d}` is above it.
const BORDER: u16 = 8192;

/// The time in which a client has its answer, on a busy machine: the documented second is much less.
const BOUND: Duration = Duration::from_secs(10);

/// The most memory that a proxy of these tests needs. It is 20 MiB without any client.
const MOST_MEMORY: u64 = 60 << 20;

/// Two nodes that form a cluster, and answer as a script says.
pub(super) struct Liars {
    nodes: Vec<Fake>,
}

impl Liars {
    /// Starts the nodes. `script` gets the number of the node, the words of a command, and the ports of both nodes.
    pub(super) fn start(
        script: impl Fn(usize, &[&str], &[u16]) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let ports = Arc::<OnceLock<Vec<u16>>>::default();
        let script = Arc::new(script);
        let start = |number| {
            let (ports, script) = (Arc::clone(&ports), Arc::clone(&script));
            Fake::start(move |words| {
                let ports = ports.get().map(Vec::as_slice).unwrap_or_default();
                script(number, words, ports).or_else(|| map_of(words, number, ports))
            })
        };
        let nodes: Vec<Fake> = (0..2).map(start).collect();
        let of = |node: &Fake| node.address().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let found = nodes.iter().map(|node| of(node).expect("a port")).collect();
        ports.set(found).expect("set once");
        Self { nodes }
    }

    /// Starts nodes of which the first answers `GET {b}key` by `answer`, which gets the number of the question, from 1.
    fn answering(answer: impl Fn(usize, &[u16]) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let asked = AtomicUsize::default();
        Self::start(move |node, words, ports| match (node, words) {
            (0, ["GET", "{b}key"]) => answer(asked.fetch_add(1, Ordering::Relaxed) + 1, ports),
            _ => None,
        })
    }

    fn gate(&self) -> GateBuilder {
        let nodes: Vec<String> = self.nodes.iter().map(Fake::address).collect();
        GateBuilder::default()
            .listener("auth: trust")
            .upstream(&format!("cluster: {{nodes: [{}]}}", nodes.join(", ")))
            .hides(nodes.iter().map(|node| node.parse().expect("an address")))
    }

    pub(super) fn serve(&self) -> Gate {
        ready(self.gate())
    }

    /// Returns how often a command arrived at a node.
    pub(super) fn count(&self, node: usize, command: &str) -> usize {
        let node = &self.nodes[node];
        let connections = node.connections_with(command).into_iter();
        connections.map(|at| node.commands_on(at).iter().filter(|sent| *sent == command).count()).sum()
    }
}

/// Answers the questions of the proxy about the cluster.
fn map_of(words: &[&str], number: usize, ports: &[u16]) -> Option<Answer> {
    let id = |node: usize| format!("{node:040x}");
    let [first, second] = ports else { return None };
    let line = |node: usize, port: &u16, slots: &str| {
        let myself = if node == number { "myself," } else { "" };
        format!("{} 127.0.0.1:{port}@1 {myself}master - 0 0 {node} connected {slots}\n", id(node))
    };
    let last = BORDER - 1;
    let text = match words {
        ["CLUSTER", "SLOTS"] => {
            let range = |start: u16, end: u16, port: &u16, node| {
                format!(
                    "*3\r\n:{start}\r\n:{end}\r\n*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{}\r\n*0\r\n",
                    id(node)
                )
            };
            let ranges = [range(0, last, first, 0), range(BORDER, 16_383, second, 1)].concat();
            return Some(Answer::Bytes(format!("*2\r\n{ranges}").into_bytes()));
        }
        ["CLUSTER", "NODES"] => {
            [line(0, first, &format!("0-{last}")), line(1, second, &format!("{BORDER}-16383"))].concat()
        }
        ["CLUSTER", "INFO"] => "cluster_state:ok\r\ncluster_current_epoch:1\r\n".to_owned(),
        _ => return None,
    };
    Some(Answer::Bytes(bulk(&text)))
}

/// Sends a command to the lying node and one to the other, and checks the replies, their order and the time. The proxy
/// then still serves the client.
#[track_caller]
fn assert_told(what: &str, gate: &Gate, replies: &[&str]) {
    let mut client = gate.connect();
    let begun = Instant::now();
    client.send_raw(b"GET {b}key\r\nGET {d}key\r\nPING\r\n");
    let told = client.recv().to_string();
    assert!(replies.contains(&told.as_str()), "{what}: {told}");
    client.assert_recv("\"{d}key@0\"");
    client.assert_recv("+PONG");
    assert!(begun.elapsed() < BOUND, "{what}: {:?}", begun.elapsed());
    client.assert_reply("GET {c}key", "\"{c}key@0\"");
    assert!(gate.peak_memory() < MOST_MEMORY, "{what}: {} bytes", gate.peak_memory());
}

fn moved(to: &str) -> Option<Answer> {
    Answer::line(&format!("-MOVED {SLOT_OF_B} {to}"))
}

/// The address of a node in a redirect.
fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[test]
fn redirects_that_lead_nowhere_end_within_a_second() {
    for (what, answer) in [
        ("strangers", "-MOVED 3300 192.0.2.1:7000"),
        ("a host that is not announced", "-MOVED 3300 ?:7000"),
        ("port 0", "-MOVED 3300 127.0.0.1:0"),
        ("a port that is none", "-MOVED 3300 127.0.0.1:99999"),
        ("no port", "-MOVED 3300 127.0.0.1"),
        ("no address", "-MOVED 3300 "),
        ("another slot", "-MOVED 1 192.0.2.1:7000"),
        ("a stranger for one command", "-ASK 3300 192.0.2.1:7000"),
    ] {
        let liars = Liars::answering(move |_, _| Answer::line(answer));
        let gate = liars.serve();
        assert_told(what, &gate, &[NOT_FOLLOWED]);
        // An ASK that may be old is not believed: the node is asked once more.
        let most = if answer.starts_with("-ASK") { 2 } else { 1 };
        assert_eq!(liars.count(0, "GET {b}key"), most, "{what}: the command was sent again");
        assert_eq!(liars.count(1, "GET {b}key"), 0, "{what}: the command was sent elsewhere");
    }
}

#[test]
fn redirects_without_their_form_are_not_followed() {
    for (what, answer) in [
        ("no slot", "-MOVED"),
        ("a slot that is none", "-MOVED 16384 127.0.0.1:7000"),
        ("a slot that is no number", "-MOVED x 127.0.0.1:7000"),
    ] {
        let liars = Liars::answering(move |_, _| Answer::line(answer));
        assert_told(what, &liars.serve(), &[NOT_FOLLOWED]);
    }
}

#[test]
fn redirects_in_a_circle_end() {
    for kind in ["MOVED", "ASK"] {
        let liars = Liars::start(move |node, words, ports| match words {
            ["GET", "{b}key"] => Answer::line(&format!("-{kind} {SLOT_OF_B} {}", at(ports[1 - node]))),
            ["ASKING"] => Answer::line("+OK"),
            _ => None,
        });
        let gate = liars.serve();
        assert_told(kind, &gate, &[NOT_FOLLOWED]);
        let hops = liars.count(0, "GET {b}key") + liars.count(1, "GET {b}key");
        assert!((2..=7).contains(&hops), "{kind}: {hops} times");
    }
    let itself = Liars::answering(|_, ports| moved(&at(ports[0])));
    assert_told("itself", &itself.serve(), &[NOT_FOLLOWED]);
    assert_eq!(itself.count(0, "GET {b}key"), 1);
}

/// `cluster-preferred-endpoint-type unknown-endpoint`: the port of the other node, and no host.
#[test]
fn an_empty_host_is_that_of_the_node_that_answered() {
    let liars = Liars::answering(|_, ports| moved(&format!(":{}", ports[1])));
    assert_told("an empty host", &liars.serve(), &["\"{b}key@0\""]);
}

#[test]
fn a_node_that_says_tryagain_is_asked_again_for_a_second() {
    let later = Liars::answering(|asked, _| if asked <= 4 { Answer::line("-TRYAGAIN wait") } else { None });
    let gate = later.serve();
    assert_told("for a time", &gate, &["\"{b}key@0\""]);
    assert_eq!(later.count(0, "GET {b}key"), 5);
    gate.assert_metric("upstream_redirects_total", &[("upstream", "main"), ("kind", "tryagain")], 4.0);
    let never = Liars::answering(|_, _| Answer::line("-TRYAGAIN wait"));
    assert_told("always", &never.serve(), &[NOT_FOLLOWED]);
    assert!((3..=10).contains(&never.count(0, "GET {b}key")), "{}", never.count(0, "GET {b}key"));
    // With a later command on the slot, the answer is passed on at once: asking again would change their order.
    let gate = never.serve();
    let mut client = gate.connect();
    client.send_raw(b"GET {b}key\r\nGET {b}other\r\n");
    client.assert_recv("-TRYAGAIN wait");
    client.assert_recv("\"{b}other@0\"");
}

#[test]
fn a_node_that_closes_in_place_of_a_reply_costs_an_error() {
    for (what, part) in [("half a header", "$1"), ("half an error", "-ERR"), ("nothing", "")] {
        let liars = Liars::answering(move |_, _| Some(Answer::Last(part.into())));
        assert_told(what, &liars.serve(), &[CLOSED]);
        assert_eq!(liars.count(0, "GET {b}key"), 1, "{what}: the command was sent again");
    }
}

/// A part of the reply has reached the client, so only the end of the connection can tell it.
#[test]
fn a_reply_that_breaks_off_ends_the_session() {
    let long = format!("$1000000\r\n{}", "x".repeat(500_000));
    for part in ["$10\r\nabc", "*3\r\n:1\r\n", &long] {
        let sent = part.to_owned();
        let liars = Liars::answering(move |_, _| Some(Answer::Last(sent.clone().into_bytes())));
        let gate = liars.serve();
        let mut client = gate.connect();
        client.send_raw(b"GET {d}key\r\nGET {b}key\r\nGET {d}key\r\n");
        client.assert_recv("\"{d}key@0\"");
        let (bytes, _) = client.read_to_end();
        assert!(part.as_bytes().starts_with(&bytes), "{}", bytes[..bytes.len().min(100)].escape_ascii());
        gate.connect().assert_reply("GET {d}key", "\"{d}key@0\"");
    }
}

/// Bytes that are no reply leave no trust in what follows them. The session goes on with other connections.
#[test]
fn garbage_costs_what_is_in_flight() {
    for garbage in ["hello\r\n", "$x\r\n", "*-7\r\n", "$99999999999999999999\r\n"] {
        let liars = Liars::answering(move |_, _| Some(Answer::Bytes(garbage.into())));
        let gate = liars.serve();
        let (mut client, mut other) = (gate.connect(), gate.connect());
        other.assert_reply("GET {c}key", "\"{c}key@0\"");
        client.send_raw(b"GET {d}key\r\nGET {b}key\r\nGET {d}key\r\n");
        client.assert_recv("\"{d}key@0\"");
        client.assert_recv(CLOSED);
        client.assert_recv(CLOSED);
        for client in [&mut client, &mut other] {
            client.assert_reply("GET {c}key", "\"{c}key@0\"");
        }
    }
}

/// The proxy holds no reply, however long it is, and no line without an end.
#[test]
fn endless_replies_need_no_memory() {
    for endless in ["-MOVED 3300 x", "+x", "$5\r\nhello\r\n"] {
        let liars = Liars::answering(move |_, _| Some(Answer::Endless(endless.repeat(1000).into_bytes())));
        let gate = liars.serve();
        let mut client = gate.connect();
        client.send("GET {b}key");
        // The client reads nothing.
        std::thread::sleep(Duration::from_millis(500));
        assert!(gate.peak_memory() < MOST_MEMORY, "{endless:?}: {} bytes", gate.peak_memory());
        gate.connect().assert_reply("GET {d}key", "\"{d}key@0\"");
    }
}

/// The map that was right stays while a node says nonsense, and commands go on.
#[test]
fn a_node_that_says_nonsense_later_changes_nothing() {
    let lies = Arc::new(AtomicUsize::new(0));
    let lie = Arc::clone(&lies);
    let liars = Liars::start(move |node, words, ports| match (lie.load(Ordering::Relaxed), words) {
        (0, _) => None,
        (1, ["CLUSTER", "SLOTS"]) if node == 0 => Some(Answer::Bytes(many(5000, ports[0]).into_bytes())),
        (2, ["CLUSTER", "SLOTS"]) if node == 0 => {
            let range = format!("*3\r\n:0\r\n:99\r\n*3\r\n$9\r\n127.0.0.1\r\n:{}\r\n$1\r\n", ports[0]);
            Some(Answer::Bytes(format!("*2\r\n{range}a\r\n{range}b\r\n").into_bytes()))
        }
        (3, ["CLUSTER", _]) => Answer::line("garbage"),
        (4, ["CLUSTER", _]) => Some(Answer::Nothing),
        (5, ["CLUSTER", _]) => Some(Answer::Endless(vec![b'*'; 65_536])),
        // A redirect makes the proxy ask at once.
        (_, ["GET", "{b}moved"]) if node == 0 => moved("192.0.2.1:7000"),
        _ => None,
    });
    let gate = ready(liars.gate().upstream("connect_timeout: 1s"));
    let mut client = gate.connect();
    for kind in 1..=5 {
        lies.store(kind, Ordering::Relaxed);
        let begun = Instant::now();
        client.assert_reply("GET {b}moved", NOT_FOLLOWED);
        for key in ["{b}key", "{d}key"] {
            client.assert_reply(&format!("GET {key}"), &format!("\"{key}@0\""));
        }
        assert!(begun.elapsed() < BOUND, "{kind}: {:?}", begun.elapsed());
    }
    assert!(gate.peak_memory() < MOST_MEMORY, "{} bytes", gate.peak_memory());
}

/// Returns an answer to CLUSTER SLOTS with this number of nodes.
fn many(nodes: u16, port: u16) -> String {
    let range = |slot: u16| {
        format!("*3\r\n:{slot}\r\n:{slot}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{slot:040x}\r\n")
    };
    format!("*{nodes}\r\n{}", (0..nodes).map(range).collect::<String>())
}

/// Until a node tells the slots, commands wait for `failover_wait`, and get an error then.
#[test]
fn commands_do_not_wait_for_nodes_that_never_answer() {
    for silent in [true, false] {
        let liars = Liars::start(move |_, words, _| match words {
            ["CLUSTER", ..] if silent => Some(Answer::Nothing),
            ["CLUSTER", ..] => Some(Answer::Last(Vec::new())),
            _ => None,
        });
        let gate = liars.gate().upstream("connect_timeout: 1s").upstream("failover_wait: 1s").start();
        let mut client: Client = gate.connect();
        let begun = Instant::now();
        let reply = client.call("GET {b}key").to_string();
        assert!(reply.starts_with("-ERR portcullis: upstream 'main' unavailable ("), "{reply}");
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert_eq!(gate.get("/ready").0, 503);
    }
}

/// A script can return any error. One that looks like a redirect is not followed: the script would run twice.
#[test]
fn scripts_that_forge_redirects_run_once() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    for (number, to) in [0, 1, 2].into_iter().enumerate() {
        for word in ["MOVED", "ASK"] {
            let key = format!("{{b}}{word}{number}");
            let script = format!(
                "redis.call('INCR', KEYS[1]) return redis.error_reply('{word} {SLOT_OF_B} {}')",
                cluster.address(to)
            );
            client.send_args(&[b"EVAL", script.as_bytes(), b"1", key.as_bytes()]);
            client.send(&format!("GET {key}"));
            client.assert_recv(NOT_FOLLOWED);
            client.assert_recv("\"1\"");
        }
    }
    let script = b"redis.call('INCR', KEYS[1]) return redis.error_reply('TRYAGAIN later')";
    client.send_args(&[b"EVAL", script, b"1", b"{b}tryagain"]);
    client.assert_recv("-TRYAGAIN later");
    client.assert_reply("GET {b}tryagain", "\"1\"");
}

/// The node itself redirects a script whose slot has moved or is moving, and says so when it is asked.
#[test]
fn scripts_follow_their_slot() {
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    let function = "#!lua name=lib\nredis.register_function('add', function(keys) return redis.call('INCR', keys[1]) end)";
    client.send_args(&[b"FUNCTION", b"LOAD", function.as_bytes()]);
    client.assert_recv("\"lib\"");
    let script = "return redis.call('INCR', KEYS[1])";
    let mut run = |expected: &str| {
        client.send_args(&[b"EVAL", script.as_bytes(), b"1", b"{b}script"]);
        client.assert_recv(expected);
        client.assert_reply("FCALL add 1 {b}function", expected);
    };
    run(":1");
    // The keys that have moved are at the other node, and those that were never there too.
    let from = cluster.begin_move(SLOT_OF_B, 2);
    run(":2");
    while cluster.move_keys(SLOT_OF_B, from, 2) > 0 {}
    run(":3");
    cluster.end_move(SLOT_OF_B, from, 2);
    run(":4");
    cluster.move_slot(SLOT_OF_B, 1);
    run(":5");
    let redirects = |kind| gate.metric("upstream_redirects_total", &[("upstream", "main"), ("kind", kind)]);
    assert!(redirects("ask") >= 2.0 && redirects("moved") >= 1.0);
}

/// The node's own error is passed on at once, and counted.
#[test]
fn a_cluster_that_is_down_is_told() {
    let liars = Liars::answering(|_, _| Answer::line("-CLUSTERDOWN The cluster is down"));
    let gate = liars.serve();
    assert_told("down", &gate, &["-CLUSTERDOWN The cluster is down"]);
    gate.assert_metric("upstream_redirects_total", &[("upstream", "main"), ("kind", "clusterdown")], 1.0);
}
