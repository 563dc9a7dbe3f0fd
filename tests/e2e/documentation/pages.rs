//! The commands of the pages on TLS and on troubleshooting.

use std::fs;
use std::path::Path;

use e2e::{Gate, Masters, Redis, eventually, namespace};

use super::commands::{assert_works, commands_below, file_of, page, shell, workshop};

/// The certificates of the page serve clients, without and with certificates of their own.
#[test]
fn commands_of_the_page_on_tls_work() {
    namespace::alone("the commands of the page on TLS are", || {
        let (directory, page) = (workshop(), page("docs/tls.md"));
        let path = directory.path();
        let yaml = file_of(&page, "portcullis.yaml");
        fs::write(path.join("portcullis.yaml"), &yaml).expect("writable");
        for command in commands_below(&page, |mark| mark == Some("test: tls")) {
            assert_works(&command, &shell(path, &command, ""));
        }
        let clients = commands_below(&page, |mark| mark == Some("test: tls-client"));
        let [without, with] = &clients[..] else { panic!("{clients:?}") };
        let redis = Redis::plain();
        let more = ", client_ca: ca.pem, client_auth: required";
        for (command, more) in [(without, ""), (with, more)] {
            let gate = served(path, &yaml, &redis, more);
            let command = command.replace("6380", &gate.port().to_string());
            assert_eq!(assert_works(&command, &shell(path, &command, "")), "PONG\n", "{command}");
            let untrusting = command.replace(" --cacert ca.pem", "");
            assert!(!shell(path, &untrusting, "").status.success(), "{untrusting}");
        }
    });
}

/// Starts the proxy with the configuration of the page, on a port of the test and for 127.0.0.1.
fn served(directory: &Path, yaml: &str, redis: &Redis, more: &str) -> Gate {
    let ours = yaml
        .replace("0.0.0.0:6380", "127.0.0.1:{port}")
        .replace("127.0.0.1:6379", "{redis}")
        .replace("address: {redis}", &format!("address: {}", redis.address()))
        .replace("203.0.113.0/24", "127.0.0.1")
        .replace("key: server.key", &format!("key: server.key{more}"))
        + "admin: {bind: \"127.0.0.1:{admin}\"}\n";
    let read = |name: &str| fs::read_to_string(directory.join(name)).expect("the page makes it");
    let gate = Gate::before(redis).config(&ours);
    ["server.pem", "server.key", "ca.pem"]
        .iter()
        .fold(gate, |gate, name| gate.file(name, &read(name)))
        .start()
}

/// They run beside a proxy whose sentinels are real.
#[test]
fn commands_of_the_page_on_high_availability_work() {
    let masters = Masters::plain();
    let gate = masters.gate().listener("auth: trust").start();
    eventually("the proxy is ready", || (gate.get("/ready").0 == 200).then_some(()));
    let directory = workshop();
    let file = fs::read_to_string(gate.directory().join("portcullis.yaml")).expect("the test wrote it");
    fs::write(directory.path().join("portcullis.yaml"), file).expect("writable");
    let mut printed = Vec::new();
    for command in commands_below(&page("docs/high-availability.md"), |mark| mark.is_none()) {
        printed.push(assert_works(&command, &shell(directory.path(), &command, "")));
    }
    let [tested, ready] = &printed[..] else { panic!("{printed:?}") };
    assert!(tested.lines().last().is_some_and(|line| line.starts_with("works")), "{tested}");
    assert_eq!(ready, "ready\n");
}

/// HAProxy accepts the balancer of the page.
#[test]
fn the_balancer_of_the_page_on_many_gates_is_valid() {
    let directory = workshop();
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, file_of(&page("docs/many-gates.md"), "haproxy.cfg")).expect("writable");
    assert_works("haproxy -c", &shell(directory.path(), "haproxy -c -f haproxy.cfg", ""));
}

#[test]
fn commands_of_the_page_on_troubleshooting_work() {
    let (directory, page) = (workshop(), page("docs/troubleshooting.md"));
    let yaml = "listeners: [{name: public, bind: '127.0.0.1:0', upstream: main, allow: [203.0.113.9]}]\n\
                upstreams: {main: {address: '127.0.0.1:6379'}}\nadmin: off\n";
    fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    let commands = commands_below(&page, |mark| mark.is_none());
    assert!(commands.len() > 2, "{commands:?}");
    for command in commands {
        assert_works(&command, &shell(directory.path(), &command, ""));
    }
}

/// The texts in backticks at the begin of a row are texts of the product.
#[test]
fn texts_of_the_page_on_troubleshooting_are_in_the_code() {
    let page = page("docs/troubleshooting.md");
    let mut code = String::new();
    for folder in ["acl", "config", "proxy", "resp", "session"] {
        read_all(&super::top().join("crates").join(folder).join("src"), &mut code);
    }
    // A text may be continued on the next line of the source.
    let joined: String = code.split("\\\n").map(str::trim_start).collect();
    let mut missing = Vec::new();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    for text in rows
        .clone()
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
    {
        let known = text.trim_start_matches('-').replace("\\", "");
        let parts = known.split(|c: char| c == '\'' || c.is_ascii_digit() || c == ':' || c == '(');
        let longest = parts.max_by_key(|part| part.len()).expect("a part").trim();
        if !joined.contains(longest) && !OF_OTHERS.iter().any(|other| text.contains(other)) {
            missing.push(text.to_owned());
        }
    }
    assert!(missing.is_empty(), "the code has no such text: {missing:#?}");
    assert!(rows.count() > 40);
}

/// Texts of Redis, of systemd, of client libraries and of the kernel.
const OF_OTHERS: [&str; 12] = [
    "Connection refused",
    "-EXECABORT",
    "-LOADING",
    "-READONLY",
    "-MASTERDOWN",
    "-BUSY",
    "status=",
    "activating",
    "Found left-over process",
    "portcullis.yaml:LINE:COLUMN: error:",
    "unavailable (KIND)",
    "COUNT above 10000",
];

fn read_all(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_all(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *into += &fs::read_to_string(&path).expect("UTF-8");
        }
    }
}
