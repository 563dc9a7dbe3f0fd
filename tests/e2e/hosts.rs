//! Host names in groups, with a name server that answers as the test decides.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::client::End;
use e2e::names::{NameServer, Zone, resolving};
use e2e::reload::TOKEN;
use e2e::{Client, Gate, Redis, eventually, gate, namespace};
use rustix::process::Signal;
use serde_json::Value;

/// The address of the gate; clients have the ones after it.
const GATE: &str = "203.0.113.1";

const NAME: &str = "home.dyndns.example";

/// `ENTRY` is the entry of the group `home`.
const YAML: &str = "\
listeners:
  - {name: public, bind: '0.0.0.0:{port}', upstream: main, allow: [home]}
upstreams: {main: {address: {redis}}}
groups:
  home: [ENTRY, 203.0.113.200]
admin: {bind: '127.0.0.1:{admin}', token: {file: token}}
reload: signal
";

struct Fixture {
    server: NameServer,
    redis: Redis,
    directory: tempfile::TempDir,
}

impl Fixture {
    fn start(&self, entry: &str) -> Gate {
        Gate::before(&self.redis)
            .config(&YAML.replace("ENTRY", entry))
            .file("token", TOKEN)
            // A name that is silent has no answer when the start stops waiting for one.
            .environment("RES_OPTIONS", "timeout:5")
            .under(resolving(self.directory.path()))
            .start()
    }

    /// Runs a subcommand with the configuration of `gate`, which resolves names in the same way.
    fn portcullis(&self, gate: &Gate, words: &[&str]) -> Output {
        let prefix = resolving(self.directory.path());
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(gate::binary()).args(words);
        let config = gate.directory().join("portcullis.yaml");
        command.arg("--config").arg(config).output().expect("unshare of util-linux starts")
    }
}

/// Runs a test in its own namespace, which has all addresses of 203.0.113.0/24 and 2001:db8::/64.
fn alone(test: impl FnOnce(&Fixture) + Send) {
    namespace::alone("host names are", || {
        namespace::ip(&["route", "add", "local", "203.0.113.0/24", "dev", "lo"]);
        test(&Fixture {
            server: NameServer::start(),
            redis: Redis::plain(),
            directory: tempfile::tempdir().expect("a scratch directory"),
        });
    });
}

fn connect(gate: &Gate, from: &str) -> Client {
    gate.connect_from(from, GATE)
}

#[track_caller]
fn assert_admitted(gate: &Gate, from: &str) {
    connect(gate, from).assert_reply("PING", "+PONG");
}

#[track_caller]
fn assert_refused(gate: &Gate, from: &str) {
    let (bytes, end) = connect(gate, from).read_to_end();
    assert_eq!(bytes.escape_ascii().to_string(), "-DENIED source address not allowed\\r\\n");
    assert!(matches!(end, End::Eof), "{end:?}");
}

/// Waits until the gate has closed the connection of an idle client.
#[track_caller]
fn assert_cut(mut client: Client) {
    let (bytes, end) = client.read_to_end();
    assert!(bytes.is_empty(), "{}", bytes.escape_ascii());
    assert!(matches!(end, End::Eof | End::Reset), "{end:?}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn host_facts(gate: &Gate) -> Value {
    let head = format!(
        "GET /api/groups/home HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    let (status, body) = e2e::http::call(gate.admin(), &head).expect("the admin endpoint answers");
    assert_eq!(status, 200, "{body}");
    let group: Value = serde_json::from_str(&body).expect("JSON");
    group["hosts"][0].clone()
}

#[test]
fn an_address_that_left_the_answer_is_cut() {
    alone(|fixture| {
        fixture.server.set_addresses(NAME, &["203.0.113.9", "203.0.113.10"]);
        let gate = fixture.start(&format!("{{host: {NAME}, refresh: 10s, note: the flat}}"));
        // From the first connection on.
        let (mut leaves, mut stays) = (connect(&gate, "203.0.113.9"), connect(&gate, "203.0.113.10"));
        for client in [&mut leaves, &mut stays] {
            client.assert_reply("PING", "+PONG");
        }
        assert_refused(&gate, "203.0.113.11");
        assert_admitted(&gate, "203.0.113.200");
        let facts = host_facts(&gate);
        assert_eq!(facts["addresses"], serde_json::json!(["203.0.113.9", "203.0.113.10"]), "{facts}");
        assert_eq!((&facts["state"], &facts["failures"]), (&"current".into(), &0.into()), "{facts}");
        let explained = text(&fixture.portcullis(&gate, &["explain", "203.0.113.9"]));
        let words = "allowed by 203.0.113.9 (home.dyndns.example) of group home";
        assert!(explained.contains(words) && explained.contains("note: the flat"), "{explained}");
        let shown = text(&fixture.portcullis(&gate, &["groups", "show", "home"]));
        assert!(shown.contains(NAME) && shown.contains("203.0.113.9, 203.0.113.10"), "{shown}");

        let report = gate.reload_after(|| {
            fixture.server.set_addresses(NAME, &["203.0.113.10", "203.0.113.11"]);
        });
        assert_eq!((&report["trigger"], &report["result"]), (&"names".into(), &"applied".into()), "{report}");
        assert_eq!((&report["cut"], &report["groups"][0]["group"]), (&1.into(), &"home".into()), "{report}");
        assert_cut(leaves);
        stays.assert_reply("PING", "+PONG");
        assert_refused(&gate, "203.0.113.9");
        assert_admitted(&gate, "203.0.113.11");
        gate.assert_log(
            "home.dyndns.example is now 203.0.113.10, 203.0.113.11 (was 203.0.113.9, 203.0.113.10)",
        );
        gate.assert_metric("connections_closed_total", &[("reason", "revoked")], 1.0);
        // It is no load of a configuration.
        gate.assert_metric("config_reloads_total", &[], 1.0);
    });
}

#[test]
fn the_last_answer_counts_for_keep() {
    alone(|fixture| {
        fixture.server.set_addresses(NAME, &["203.0.113.9"]);
        let gate = fixture.start(&format!("{{host: {NAME}, refresh: 10s, keep: 18s}}"));
        let (mut client, answered) = (connect(&gate, "203.0.113.9"), Instant::now());
        client.assert_reply("PING", "+PONG");
        gate.assert_metric("host_entries", &[("state", "current")], 1.0);
        fixture.server.set(NAME, Zone::Fails);
        gate.assert_metric("host_entries", &[("state", "stale")], 1.0);
        // Unless the machine was stopped for seconds, some of `keep` is left.
        if answered.elapsed() < Duration::from_secs(15) {
            client.assert_reply("PING", "+PONG");
            assert_admitted(&gate, "203.0.113.9");
            assert_eq!(host_facts(&gate)["state"], "stale");
        }
        // A reload does not make the answer younger, nor forget it.
        assert_eq!(gate.reload()["result"], "unchanged");
        assert_cut(client);
        assert!(answered.elapsed() >= Duration::from_secs(17), "{:?}", answered.elapsed());
        assert_refused(&gate, "203.0.113.9");
        assert_admitted(&gate, "203.0.113.200");
        gate.assert_metric("host_entries", &[("state", "empty")], 1.0);
        gate.assert_log("home.dyndns.example has no address any more (was 203.0.113.9)");
        assert!(gate.metric("host_lookups_total", &[("result", "failed")]) >= 1.0);
        // It answers again: the entry is back.
        fixture.server.set_addresses(NAME, &["203.0.113.9"]);
        eventually("admitted again", || {
            let reply = connect(&gate, "203.0.113.9").call("PING").to_string();
            (reply == "+PONG").then_some(())
        });
    });
}

#[test]
fn addresses_of_an_answer_that_are_not_admitted() {
    alone(|fixture| {
        namespace::ip(&["route", "add", "local", "10.0.0.0/8", "dev", "lo"]);
        let many: Vec<String> = (9..=28).map(|last| format!("203.0.113.{last}")).collect();
        let mut answer: Vec<&str> = many.iter().map(String::as_str).collect();
        answer.extend([
            "10.0.0.9",
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "::1",
            "::ffff:10.0.0.9",
        ]);
        fixture.server.set_addresses(NAME, &answer);
        fixture.server.set_addresses("inner.example", &["10.0.0.9", "127.0.0.1"]);
        let entries =
            format!("{{host: {NAME}}}, {{host: inner.example, private: true}}, {{host: unknown.example}}");
        let gate = fixture.start(&entries);
        assert_admitted(&gate, "203.0.113.9");
        assert_admitted(&gate, "203.0.113.24");
        // The seventeenth.
        assert_refused(&gate, "203.0.113.25");
        // By the name that may.
        let mut private = gate.connect_from("10.0.0.9", "10.0.0.1");
        private.assert_reply("PING", "+PONG");
        let (bytes, _) = gate.connect_from("127.0.0.1", "127.0.0.1").read_to_end();
        assert!(bytes.starts_with(b"-DENIED"), "{}", bytes.escape_ascii());
        gate.assert_log(
            "addresses of home.dyndns.example are not admitted: 0.0.0.0 (unspecified), 10.0.0.9 (private)",
        );
        gate.assert_log("cannot resolve unknown.example");
        gate.assert_metric("host_entries", &[("state", "empty")], 1.0);

        let plain = text(&fixture.portcullis(&gate, &["check"]));
        assert!(plain.contains("home: 1 entry, 3 host names") && plain.contains("not resolved"), "{plain}");
        let output = fixture.portcullis(&gate, &["check", "--resolve"]);
        let resolved = text(&output);
        assert_eq!(output.status.code(), Some(0), "{resolved}");
        for words in [
            "inner.example of group home, ",
            ": 10.0.0.9; dropped 127.0.0.1 (loopback)",
            "warning: cannot resolve unknown.example",
            "home: 18 entries",
        ] {
            assert!(resolved.contains(words), "{words:?} is not in {resolved}");
        }
        assert_eq!(fixture.portcullis(&gate, &["check", "--resolve", "--strict"]).status.code(), Some(78));
    });
}

#[test]
fn a_name_server_that_is_silent_holds_up_nothing() {
    alone(|fixture| {
        fixture.server.set_addresses(NAME, &["203.0.113.9"]);
        fixture.server.set("silent.example", Zone::Silent);
        let mut gate = fixture.start(&format!("{{host: silent.example}}, {{host: {NAME}}}"));
        assert_admitted(&gate, "203.0.113.9");
        gate.assert_log("their entries admit no client until they resolve");
        // Forty names that hang, more than there are threads: the other name keeps its answer, and reloads go on.
        let silent: Vec<String> = (0..40)
            .map(|n| {
                let name = format!("silent-{n}.example");
                fixture.server.set(&name, Zone::Silent);
                format!("{{host: {name}}}")
            })
            .collect();
        let entries = format!("{}, {{host: {NAME}}}, 203.0.113.50", silent.join(", "));
        assert_refused(&gate, "203.0.113.50");
        let mut client = connect(&gate, "203.0.113.9");
        client.assert_reply("PING", "+PONG");
        let report = gate.apply(&YAML.replace("ENTRY", &entries));
        assert_eq!(report["cut"], 0, "{report}");
        client.assert_reply("PING", "+PONG");
        assert_admitted(&gate, "203.0.113.50");
        // A name that a reload brings is looked up at once.
        fixture.server.set_addresses("new.example", &["203.0.113.60"]);
        gate.apply(&YAML.replace("ENTRY", &format!("{{host: new.example}}, {entries}")));
        eventually("the new name is admitted", || {
            (connect(&gate, "203.0.113.60").call("PING").to_string() == "+PONG").then_some(())
        });
        client.assert_reply("PING", "+PONG");
        drop(client);
        gate.signal(Signal::TERM);
        assert!(gate.process().wait().success());
    });
}

#[test]
fn a_host_name_under_deny_is_refused() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let yaml = "\
listeners: [{name: public, bind: '127.0.0.1:6380', upstream: main, allow: [home], deny: [home]}]
upstreams: {main: {address: '127.0.0.1:6379'}}
groups: {home: [{host: home.dyndns.example}]}
";
    std::fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    let output = gate::portcullis(directory.path(), ["check"]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output);
    assert!(said.contains("portcullis.yaml:3:17: error: host names cannot be used in deny"), "{said}");
}
