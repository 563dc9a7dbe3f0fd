//! A thousand live connections, a thousand reloads a minute, and a model of which configuration admits which client.
//!
//! Each configuration has its number in the notes of its entries. So every line of the audit trail names the
//! configuration that decided. The sources that a configuration admits are a function of its number.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::client::command;
use e2e::reload::TOKEN;
use e2e::{Client, Gate, Redis, eventually};
use serde_json::Value;

use super::{WITHIN, seconds};

/// The number of connections that every configuration admits.
const ALWAYS: usize = 1000;
/// The number of connections of each class that some configurations refuse, at the start.
const SOMETIMES: usize = 100;
/// The time between two reloads, for 1,000 reloads a minute.
const PACE: Duration = Duration::from_millis(60);
/// The time limit of all reloads, for slow machines.
const AT_MOST: Duration = Duration::from_secs(25);
const RELOADS: u64 = 340;

const CLASSES: u8 = 4;

/// Returns whether a configuration admits a class. Class 0 is always admitted; the others are admitted in patterns of
/// different lengths. The first configuration admits all classes.
fn admits(generation: u64, class: u8) -> bool {
    match class {
        _ if generation == 1 => true,
        0 => true,
        1 => generation.is_multiple_of(2),
        2 => !generation.is_multiple_of(3),
        _ => (generation / 8).is_multiple_of(2),
    }
}

/// Returns whether a configuration admits only class 0, as the last configuration must.
fn is_lonely(generation: u64) -> bool {
    (1..CLASSES).all(|class| !admits(generation, class))
}

fn source(class: u8, number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 10 + class, high, low)
}

fn class_of(line: &Value) -> u8 {
    let source: SocketAddr = line["source"].as_str().and_then(|text| text.parse().ok()).expect("a source");
    let SocketAddr::V4(source) = source else { panic!("{line}") };
    source.ip().octets()[1] - 10
}

/// Returns the configuration. It allows all classes, and also denies those that must not be admitted.
fn config(generation: u64) -> String {
    let entry = |class: u8| format!("{{cidr: 127.{}.0.0/16, note: '{generation}'}}", 10 + class);
    let all: Vec<String> = (0..CLASSES).map(entry).collect();
    let out: Vec<String> = (0..CLASSES).filter(|class| !admits(generation, *class)).map(entry).collect();
    format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:{{port}}', upstream: main, allow: [in], deny: [out]}}\n\
         upstreams: {{main: {{address: {{redis}}}}}}\n\
         groups:\n  in: [{}]\n  out: [{}]\n\
         admin: {{bind: '127.0.0.1:{{admin}}', token: {{file: token}}}}\n\
         log: {{level: warn}}\n\
         reload: signal\n",
        all.join(", "),
        out.join(", ")
    )
}

#[test]
fn a_thousand_clients_and_a_thousand_reloads_a_minute() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(&config(1)).file("token", TOKEN).secret(TOKEN).start();
    let enter = |class: u8, count: usize| -> Vec<Client> {
        (0..count).map(|number| connect(class, number, gate.address())).collect()
    };
    let always = enter(0, ALWAYS);
    let sometimes: Vec<Vec<Client>> = (1..CLASSES).map(|class| enter(class, SOMETIMES)).collect();
    let (stop, stop_coming) = (AtomicBool::new(false), AtomicBool::new(false));
    let last = std::thread::scope(|scope| {
        let mut shares: Vec<Vec<Client>> = (0..4).map(|_| Vec::new()).collect();
        for (number, client) in always.into_iter().enumerate() {
            shares[number % 4].push(client);
        }
        let stop = &stop;
        let at_work: Vec<_> =
            (0..).zip(shares).map(|(n, share)| scope.spawn(move || work(n, share, stop))).collect();
        let (stop_coming, to) = (&stop_coming, gate.address());
        let coming: Vec<_> = (1..CLASSES)
            .zip(sometimes)
            .map(|(class, here)| scope.spawn(move || come_and_go(class, here, to, stop_coming)))
            .collect();
        // If this fails, the other threads must see that the test is over.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let last = reload_all(&gate);
            stop_coming.store(true, Ordering::Relaxed);
            let here: Vec<Client> =
                coming.into_iter().flat_map(|thread| thread.join().expect("no surprise")).collect();
            let last = reload_until_lonely(&gate, last);
            for mut client in here {
                client.read_to_end();
            }
            last
        }));
        stop.store(true, Ordering::Relaxed);
        stop_coming.store(true, Ordering::Relaxed);
        let last = ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut stayed = 0;
        for thread in at_work {
            let (clients, rounds) = thread.join().expect("whole replies in order");
            assert!(rounds > 1000, "{rounds} pipelines: too few to be a load");
            stayed += clients.len();
        }
        assert_eq!(stayed, ALWAYS);
        last
    });
    let lines = eventually("all ends are audited", || {
        let lines = gate.audit();
        let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
        (count("accepted") == count("closed")).then_some(lines)
    });
    assert!(last >= 100, "{last} reloads: too few to prove anything");
    assert_agrees(&lines, last);
    assert!(gate.metric("log_lines_dropped_total", &[]) == 0.0);
    assert!(
        gate.metric("config_reloads_total", &[("result", "applied")])
            == u32::try_from(last).map(f64::from).expect("few")
    );
}

fn connect(class: u8, number: usize, to: SocketAddr) -> Client {
    Client::tcp_from(IpAddr::V4(source(class, number)), to)
}

/// Runs the clients that are always admitted: they send pipelines with ids and check each reply.
fn work(thread: usize, mut clients: Vec<Client>, stop: &AtomicBool) -> (Vec<Client>, usize) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        for (number, client) in clients.iter_mut().enumerate() {
            let id = |i: usize| format!("{thread}:{number}:{round}:{i}");
            for i in 0..10 {
                client.hold(&command(&format!("ECHO {}", id(i))));
            }
            client.send_raw(b"");
            for i in 0..10 {
                client.assert_recv(&format!("\"{}\"", id(i)));
            }
            round += 1;
        }
    }
    (clients, round)
}

/// Runs the clients of a class that some configurations refuse. Each client connects from another address, so that each
/// refusal has a line of its own.
fn come_and_go(class: u8, mut here: Vec<Client>, to: SocketAddr, stop: &AtomicBool) -> Vec<Client> {
    let is_served = |client: &mut Client| {
        let mut read = Vec::new();
        client.try_send_raw(b"PING\r\n").is_ok() && client.read_up_to(7, &mut read) && read == b"+PONG\r\n"
    };
    for number in SOMETIMES.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut client = connect(class, number, to);
        if is_served(&mut client) {
            here.push(client);
        }
        let oldest = number % here.len().max(1);
        if here.get_mut(oldest).is_some_and(|client| !is_served(client)) {
            here.swap_remove(oldest);
        }
        sleep(Duration::from_millis(20));
    }
    here
}

/// Reloads until the time is over. Returns the number of the last configuration.
fn reload_all(gate: &Gate) -> u64 {
    let started = Instant::now();
    let mut next = started;
    let mut last = 1;
    while last < RELOADS && started.elapsed() < AT_MOST {
        last += 1;
        put_in_force(gate, last);
        next += PACE;
        sleep(next.saturating_duration_since(Instant::now()));
    }
    last
}

fn reload_until_lonely(gate: &Gate, mut last: u64) -> u64 {
    while !is_lonely(last) {
        last += 1;
        put_in_force(gate, last);
    }
    eventually("only allowed clients are left", || {
        let status: Value = serde_json::from_str(&status(gate)).expect("JSON");
        (status["clients"] == ALWAYS).then_some(())
    });
    last
}

fn status(gate: &Gate) -> String {
    let head =
        format!("GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    e2e::http::call(gate.admin(), &head).expect("it answers").1
}

fn put_in_force(gate: &Gate, generation: u64) {
    gate.configure(&config(generation));
    let (status, report) = gate.post_reload();
    assert_eq!((status, &report["generation"]), (200, &generation.into()), "{report}");
    assert_eq!(report["result"], "applied", "{report}");
}

/// Checks that every decision in the audit trail follows the configuration that it names, and that this configuration
/// was in force. Between the lines of two reloads, the earlier configuration is in force. The later one may be in force
/// too, because the threads receive it before its line is written.
fn assert_agrees(lines: &[Value], last: u64) {
    let mut in_force = 1;
    let mut since: HashMap<u64, f64> = HashMap::new();
    let mut decided = 0;
    let mut cut: HashMap<u64, u64> = HashMap::new();
    // The request for a reload over HTTP has a line of its own.
    for line in lines.iter().filter(|line| line["event"] != "admin") {
        if line["event"] == "reload" {
            in_force += 1;
            assert_eq!(line["generation"], in_force, "{line}");
            since.insert(in_force, seconds(line));
            continue;
        }
        let named: u64 = line["note"].as_str().and_then(|note| note.parse().ok()).expect("a note");
        let class = class_of(line);
        let is_current = named == in_force || named == in_force + 1;
        match (line["event"].as_str(), line["reason"].as_str()) {
            (Some("accepted"), _) => {
                assert!(is_current && admits(named, class), "in force: {in_force}; {line}")
            }
            (Some("closed"), Some("client")) => {
                assert!(is_current && admits(named, class), "in force: {in_force}; {line}");
            }
            (Some("refused"), Some("denied")) => {
                assert_eq!(line["count"], 1, "{line}");
                assert!(is_current && !admits(named, class), "in force: {in_force}; {line}");
            }
            // The line names the last configuration that admitted the client. The next configuration disconnected it.
            (Some("closed"), Some("revoked")) => {
                assert!(admits(named, class) && !admits(named + 1, class), "{line}");
                *cut.entry(named + 1).or_default() += 1;
                if let Some(swapped) = since.get(&(named + 1)) {
                    let late = seconds(line) - swapped;
                    assert!(late < WITHIN.as_secs_f64(), "{late:.3} s late: {line}");
                }
            }
            _ => panic!("{line}"),
        }
        decided += 1;
    }
    assert_eq!(in_force, last);
    assert!(decided > 2 * ALWAYS, "{decided} lines");
    assert!(cut.len() > 10, "only {} reloads cut a client", cut.len());
    for line in lines.iter().filter(|line| line["event"] == "reload") {
        let number = line["generation"].as_u64().expect("a number");
        let reported = line["cut"].as_u64().expect("a count");
        assert_eq!(reported, cut.get(&number).copied().unwrap_or(0), "cut by reload {number}");
    }
}
