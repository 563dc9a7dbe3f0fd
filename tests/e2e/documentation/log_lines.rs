//! The log and audit lines on the pages have the same form as the lines that the proxy writes.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::reload::TOKEN;
use e2e::{Authority, Gate, Masters, Redis, eventually};
use rustix::process::Signal;

use super::{fenced, pages};

const PASSWORD: &str = "canary-log-lines";
/// The common part of the pages' configurations. `{more}` stands for further keys of the listener, `{entry}` for an
/// entry of the group.
const YAML: &str = r#"
listeners:
  - {name: public, bind: "127.0.0.1:{port}", upstream: main, allow: [office, 127.0.0.8/30], acl: "@public", {more}}
upstreams: {main: {address: {redis}, connect_timeout: 500ms, credentials: {password: {file: password}}}}
groups:
  office: [{cidr: 127.0.0.1, note: this machine}, {entry}]
users:
  reporting:
    password: {sha256: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8}
    acl: "+@all ~report:*"
admin: {bind: "127.0.0.1:{admin}"}
reload: signal
"#;

fn config(more: &str, entry: &str) -> String {
    YAML.replace("{more}", more).replace("{entry}", entry)
}

/// Returns a line without the parts that differ each time: the directory, and numbers, and so times and addresses, and
/// all but the first address of a list.
fn form(line: &str, directory: &str) -> String {
    let mut form = String::new();
    for character in line.replace(directory, "").chars() {
        if !character.is_ascii_digit() {
            form.push(character);
        } else if !form.ends_with('0') {
            form.push('0');
        }
    }
    form.replace(", 0.0.0.0:0", "")
}

/// Returns the forms of all lines that a proxy wrote.
fn forms(gate: &Gate) -> BTreeSet<String> {
    let directory = format!("{}/", gate.directory().display());
    let (log, audit) = (gate.stderr(), gate.stdout());
    log.lines().chain(audit.lines()).map(|line| form(line, &directory)).collect()
}

/// Returns whether a line of a block is a line of the log or of the audit trail. Lines about reloads have tests of
/// their own.
fn is_from_the_proxy(line: &str) -> bool {
    let is_text = [" INFO ", " WARN ", " ERROR "].iter().any(|level| line.contains(level));
    let is_log = line.starts_with("20") && line.get(10..11) == Some("T") && is_text;
    let is_reload = line.contains(" INFO reload") || line.contains("\"event\":\"reload\"");
    (is_log || line.starts_with("{\"time")) && !is_reload
}

#[test]
fn lines_on_the_pages_are_written_by_the_proxy() {
    let mut real = BTreeSet::new();
    std::thread::scope(|scope| {
        let runs: [fn() -> BTreeSet<String>; 5] = [of_one_life, of_users, of_tls, of_sentinels, of_audit];
        for run in runs.map(|run| scope.spawn(run)) {
            real.extend(run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let mut seen = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).expect("a page");
        for line in fenced(&page).filter(|line| is_from_the_proxy(line)) {
            let wanted = form(line, "no directory");
            let near: Vec<_> = real.iter().filter(|form| form.get(..60) == wanted.get(..60)).collect();
            assert!(real.contains(&wanted), "{}: {line}\nThe proxy writes: {near:#?}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} lines");
}

/// Returns the forms of the lines about a start without Redis, refusals, outages, an entry that expires, and the end.
fn of_one_life() -> BTreeSet<String> {
    let mut redis = Redis::builder().password("canary-another").start();
    redis.kill();
    let start = config("auth: trust", "127.0.0.4/30");
    let limit = ["prlimit", "--nofile=1024:1024"];
    let mut gate = Gate::before(&redis).config(&start).file("password", PASSWORD).under(limit).start();
    for _ in 0..3 {
        gate.connect_from("127.0.0.20", "127.0.0.1").read_to_end();
    }
    gate.assert_log("not ready: ");
    redis.start_again(&[], true);
    gate.assert_log("kind=auth down_seconds=");
    let set = |from: &str, to: &str| {
        let mut client = e2e::Client::tcp(redis.address());
        client.assert_reply(&format!("AUTH {from}"), "+OK");
        client.assert_reply(&format!("CONFIG SET requirepass {to}"), "+OK");
    };
    set("canary-another", PASSWORD);
    gate.assert_log(" INFO ready\n");
    let mut guest = gate.connect_from("127.0.0.5", "127.0.0.1");
    guest.assert_reply("PING", "+PONG");
    let mut client = gate.connect();
    client.assert_reply(
        "CONFIG GET requirepass",
        "-NOPERM User default has no permissions to run the 'config|get' command",
    );
    drop(client);
    eventually("the client's end is audited", || gate.audited("closed").pop());
    gate.apply(&config("auth: trust", &format!("{{cidr: 127.0.0.4/30, until: {}}}", soon())));
    guest.assert_closed();
    gate.assert_log("entry expired");
    let ups = || gate.stderr().matches("upstream is up").count();
    set(PASSWORD, "canary-another");
    eventually("the password is wrong", || gate.stderr().contains("kind=auth\n").then_some(()));
    set("canary-another", PASSWORD);
    eventually("it is right again", || (ups() == 2).then_some(()));
    redis.signal(Signal::STOP);
    gate.assert_log("kind=timeout");
    redis.signal(Signal::CONT);
    eventually("Redis answers again", || (ups() == 3).then_some(()));
    gate.signal(Signal::TERM);
    gate.process().wait();
    forms(&gate)
}

/// Returns the forms of the lines about a planned failover.
fn of_sentinels() -> BTreeSet<String> {
    let masters = Masters::plain();
    let gate = masters.gate().listener("auth: trust").start();
    gate.assert_log(" INFO ready\n");
    masters.failover(0);
    gate.assert_log("commands are sent again");
    forms(&gate)
}

/// Returns a time in three seconds, as RFC 3339.
fn soon() -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_secs(3);
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{}", at.as_secs()), "+%FT%TZ"])
        .output();
    String::from_utf8_lossy(&output.expect("date of coreutils").stdout).trim().to_owned()
}

/// Returns the forms of the lines about a user without a permission, and about a source that guesses passwords. They
/// are written as text and as JSON.
fn of_users() -> BTreeSet<String> {
    let redis = Redis::builder().password(PASSWORD).start();
    let more = "auth: users, users: [reporting], limits: {per_source: {auth_failures: 2/1m, block_for: 10m}}";
    let mut all = BTreeSet::new();
    for format in ["text", "json"] {
        let yaml = format!("{}log: {{format: {format}}}\n", config(more, "127.0.0.5"));
        let gate = Gate::before(&redis).config(&yaml).file("password", PASSWORD).start();
        gate.assert_log("upstream is up");
        let mut client = gate.connect();
        client.assert_reply("AUTH reporting password", "+OK");
        client.assert_reply("GET orders:1", "-NOPERM No permissions to access a key");
        let mut guesser = gate.connect_from("127.0.0.5", "127.0.0.1");
        for guess in ["one", "two"] {
            guesser.assert_reply(
                &format!("AUTH {guess}"),
                "-WRONGPASS invalid username-password pair or user is disabled.",
            );
        }
        guesser.assert_closed();
        gate.assert_log("source blocked");
        gate.assert_log("command refused");
        all.extend(forms(&gate));
    }
    all
}

/// Returns the forms of the lines about commands, and about a change by an operator.
fn of_audit() -> BTreeSet<String> {
    let redis = Redis::builder().password(PASSWORD).start();
    let yaml = config("auth: users, users: [reporting]", "127.0.0.5")
        .replace("acl: \"@public\", ", "")
        .replace("~report:*", "~report:* -flushall")
        .replace("{admin}\"", "{admin}\", token: {file: token}");
    let yaml = yaml + "audit: {path: stdout, commands: writes, keys: plain}\n";
    let gate = Gate::before(&redis).config(&yaml).file("password", PASSWORD).file("token", TOKEN).start();
    gate.assert_log("upstream is up");
    let mut client = gate.connect();
    client.assert_reply("AUTH reporting password", "+OK");
    client
        .assert_reply("FLUSHALL", "-NOPERM User reporting has no permissions to run the 'flushall' command");
    client.assert_reply("SET report:1 value", "+OK");
    assert_eq!(gate.post_reload().0, 200);
    eventually("the change is audited", || gate.audited("admin").pop());
    eventually("the command is audited", || {
        gate.audited("command").into_iter().find(|line| line["command"] == "set")
    });
    forms(&gate)
}

/// Returns the forms of the lines about a client without TLS on a listener with TLS.
fn of_tls() -> BTreeSet<String> {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).tls(&Authority::new("ca").server(), "").start();
    let mut client = gate.connect();
    client.send("PING");
    client.read_to_end();
    gate.assert_log("TLS handshake with the client failed");
    forms(&gate)
}
