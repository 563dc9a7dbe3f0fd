mod canaries;
mod cut;
mod documents;
mod golden;
mod hostile;
mod lists;
mod loops;
mod mistakes;
mod paths;
mod schema;
mod secrets;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_acl::{ClientAddr, CostLimits, Decision, UnixSeconds};
use tempfile::TempDir;

use super::*;

/// 2026-11-22T00:00:00Z.
const NOW: UnixSeconds = UnixSeconds(1_795_305_600);

/// Files of a test, the configuration among them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        load(&self.path("portcullis.yaml"), &LoadOptions::new().at(NOW))
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems:#?}")).config
    }

    /// The messages of all problems, warnings too.
    fn messages(&self) -> Vec<String> {
        let problems = self.load().map_or_else(|problems| problems, |loaded| loaded.warnings);
        problems.iter().map(|problem| problem.message().to_owned()).collect()
    }
}

const PLAIN: &str = "\
listeners:
  - {name: public, bind: \"127.0.0.1:6380\", upstream: main, allow: [office, 192.0.2.1]}
upstreams:
  main: {address: \"127.0.0.1:6379\"}
groups:
  office: [203.0.113.0/24]
";

/// Every key with the value that holds without it.
const WRITTEN_OUT: &str = "\
listener_defaults: {inline_commands: true}
listeners:
  - name: public
    bind: 127.0.0.1:6380
    upstream: main
    allow: [office, 192.0.2.1]
    deny: []
    refusal: denied
    auth: passthrough
    allow_anonymous_internet: false
    present_as: [standalone]
    limits: {clients: 10000, bulk: 512MiB, arguments: 1048576, inline: 64KiB, held_command: 1MiB,
             timeouts: {tls: 5s, frame: 30s, idle: off, write: 30s}, tcp: {keepalive: 300s, user_timeout: 30s}}
upstreams:
  main:
    address: 127.0.0.1:6379
    connections: dedicated
    connect_timeout: 2s
    response_timeout: off
groups:
  office: [203.0.113.0/24]
limits:
  clients: 10000
  bulk: 512MiB
  arguments: 1048576
  inline: 64KiB
  held_command: 1MiB
  buffers: 256MiB
  timeouts: {tls: 5s, frame: 30s, idle: off, write: 30s, drain: 30s}
  tcp: {keepalive: 300s, user_timeout: 30s}
admin: {bind: 127.0.0.1:9377}
audit: {commands: none, on_overflow: drop}
log: {format: text, level: info}
workers: 0
";

/// Each problem has a place, and says what to do unless it is a note.
#[track_caller]
fn assert_complete(problems: &[Problem]) {
    for problem in problems {
        assert!(problem.line() > 0 && problem.column() > 0 && !problem.file().is_empty(), "{problem}");
        assert!(problem.hint().is_some() || problem.severity() == Severity::Note, "no hint: {problem}");
    }
}

fn shown(config: &Config) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {}",
        config.listeners(),
        config.upstreams(),
        config.limits(),
        config.admin(),
        config.audit(),
        config.log(),
        config.workers()
    )
}

#[test]
fn defaults_are_those_written_out() {
    let (plain, written) =
        (Files::new().with("portcullis.yaml", PLAIN), Files::new().with("portcullis.yaml", WRITTEN_OUT));
    assert_eq!(shown(&plain.config()), shown(&written.config()));
    assert_eq!(plain.messages(), Vec::<String>::new());
    assert_eq!(written.messages(), Vec::<String>::new());
    let config = plain.config();
    assert_eq!(config.path(), plain.path("portcullis.yaml"));
    assert!(config.workers() >= 1);
    assert_eq!(config.limits().timeouts().idle(), None);
    assert_eq!(config.limits().client_output_buffer(), 1 << 20);
    assert_eq!(config.limits().costs(), CostLimits::default());
    assert_eq!(config.limits().timeouts().drain(), Duration::from_secs(30));
    assert_eq!(config.admin().unwrap().bind().to_string(), "127.0.0.1:9377");
}

#[test]
fn everything_else_that_can_be_written() {
    let files = Files::new().with(
        "portcullis.yaml",
        "\
listener_defaults: {upstream: app, auth: trust, limits: {clients: 7, bulk: 1MiB}, allow: [10.0.0.1], refusal: close}
listeners:
  - {name: a, bind: [\"127.0.0.1:1\", \"unix:run/a.sock\"], limits: {bulk: 2MiB, client_output_buffer: 2MiB, pattern: 64, count: 5, subscriptions: 9, timeouts: {idle: 5m, frame: off}}}
  - {name: b-2_x, bind: \"[::1]:1\", upstream: main, auth: passthrough, refusal: reset, inline_commands: false}
upstreams:
  main: {address: [\"unix:/run/redis.sock\", redis.internal:6379, \"[2001:db8::7]:6380\"], response_timeout: 250ms, failover_wait: off}
  app: {address: 10.0.0.7:6379, credentials: {username: app, password: {file: pw}}, connect_timeout: 1m, connections: shared}
limits: {clients: 1000, pattern: 2KiB, count: 7000, arguments: 10, inline: 1KiB, held_command: 16KiB, client_output_buffer: 16KiB, buffers: 1GiB, timeouts: {drain: 1h, write: 7d}, tcp: {keepalive: off, user_timeout: off}}
admin: off
audit: {path: audit.log, on_overflow: block}
log: {format: json, level: trace}
workers: 3
",
    );
    let files = files.with("pw", "hunter2\n");
    let config = files.config();
    let [a, b] = config.listeners() else { panic!() };
    assert_eq!(
        (a.name(), a.upstream().name(), a.auth(), a.refusal()),
        ("a", "app", Auth::Trust, Refusal::Close)
    );
    assert_eq!((a.limits().clients(), a.limits().bulk(), a.limits().arguments()), (7, 2 << 20, 10));
    assert_eq!(a.limits().timeouts().idle(), Some(Duration::from_secs(300)));
    assert_eq!(a.limits().timeouts().frame(), None);
    assert_eq!(a.binds()[1], Bind::Unix(UnixSocket::at(files.path("run/a.sock"))));
    assert_eq!(
        (b.name(), b.upstream().name(), b.auth(), b.refusal()),
        ("b-2_x", "main", Auth::Passthrough, Refusal::Reset)
    );
    assert_eq!((b.limits().clients(), b.limits().bulk(), b.inline_commands()), (7, 1 << 20, false));
    let addresses: Vec<String> = config.upstreams()[0].addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["unix:/run/redis.sock", "redis.internal:6379", "[2001:db8::7]:6380"]);
    assert_eq!(config.upstreams()[0].response_timeout(), Some(Duration::from_millis(250)));
    let waits: Vec<_> = config.upstreams().iter().map(|upstream| upstream.failover_wait()).collect();
    assert_eq!(waits, [None, Some(Duration::from_secs(5))]);
    assert_eq!(config.upstreams()[1].credentials().unwrap().username(), Some("app"));
    let connections: Vec<Connections> = config.upstreams().iter().map(|read| read.connections()).collect();
    assert_eq!(connections, [Connections::Dedicated, Connections::Shared]);
    let buffers = [a.limits(), b.limits(), config.limits()].map(Limits::client_output_buffer);
    assert_eq!(buffers, [2 << 20, 16 << 10, 16 << 10]);
    let costs = [a.limits(), b.limits(), config.limits()].map(Limits::costs);
    assert_eq!(costs.map(|costs| costs.count), [5, 7000, 7000]);
    assert_eq!(costs.map(|costs| costs.pattern), [64, 2 << 10, 2 << 10]);
    assert_eq!(costs.map(|costs| costs.subscriptions), [9, 10_000, 10_000]);
    assert_eq!(costs.map(|costs| costs.offset), [32 << 10, 16 << 10, 8 << 20], "1/64 of bulk");
    assert_eq!(config.limits().timeouts().drain(), Duration::from_secs(3600));
    assert_eq!((config.limits().tcp().keepalive(), config.limits().tcp().user_timeout()), (None, None));
    assert!(config.admin().is_none());
    assert_eq!(config.audit().path(), &AuditPath::File(files.path("audit.log")));
    assert_eq!(config.audit().on_overflow(), Overflow::Block);
    assert_eq!(
        (config.log().format(), config.log().level(), config.workers()),
        (LogFormat::Json, LogLevel::Trace, 3)
    );
}

#[test]
fn the_wildcard_of_ipv6_leaves_ipv4_to_those_who_bind_it() {
    let v6only = |binds: &str, admin: &str| -> Vec<bool> {
        let text = format!(
            "listeners: [{{name: a, bind: [{binds}], upstream: main, allow: [10.0.0.1]}}]\n\
             upstreams: {{main: {{address: \"127.0.0.1:6399\"}}}}\nadmin: {admin}\n"
        );
        let config = Files::new().with("portcullis.yaml", text).config();
        let only = |bind: &Bind| matches!(bind, Bind::Tcp { v6only: true, .. });
        config.listeners()[0].binds().iter().map(only).collect()
    };
    assert_eq!(v6only("\"[::]:6379\"", "off"), [false]);
    assert_eq!(v6only("\"[::]:6379\", 0.0.0.0:6379", "off"), [true, false]);
    assert_eq!(v6only("\"[::]:6379\", 127.0.0.1:6379", "off"), [true, false]);
    assert_eq!(v6only("\"[::]:6379\", 127.0.0.1:6380", "off"), [false, false]);
    assert_eq!(v6only("\"[::1]:6379\", 0.0.0.0:6379", "off"), [false, false]);
    assert_eq!(v6only("\"[::]:6379\"", "{bind: 127.0.0.1:6379}"), [true]);
}

#[test]
fn groups_reach_the_policy_with_their_places() {
    let files = Files::new()
        .with(
            "portcullis.yaml",
            "\
listeners:
  - {name: public, bind: \"127.0.0.1:6380\", upstream: main, allow: [all, unix, 192.0.2.1], deny: [bad]}
upstreams:
  main: {address: \"127.0.0.1:6379\"}
groups:
  all: [{group: plain}, {group: long}]
  plain: {file: groups/plain.txt}
  long:
    note: the partners
    owner: ops
    entries:
      - {cidr: 198.51.100.0/24, note: staging, until: 2026-12-31T18:00:00+02:00}
      - 2001:db8::/32
  bad: {file: groups/bad.yml}
",
        )
        .with("groups/plain.txt", "\u{feff}# office\r\n203.0.113.0/24 # hq\r\n\r\n\t2001:db8:5::/48\r\n")
        .with("groups/bad.yml", "- 203.0.113.66\n- {cidr: 203.0.113.67, note: scanner}\n");
    let config = files.config();
    let policy = config.policy();
    let rule = |ip: &str| {
        let from = ClientAddr::from_socket(SocketAddr::new(ip.parse().unwrap(), 1));
        let (word, id) = match policy.judge(0, &from, NOW) {
            Decision::Allow(permit) => ("allow", Some(permit.rule())),
            Decision::Deny(denial) => (denial.reason().as_str(), denial.rule()),
        };
        let told = id.and_then(|id| policy.rule(id)).map(|rule| {
            let file = Path::new(rule.file.unwrap()).file_name().unwrap().to_str().unwrap();
            format!(" {} {} {file}:{} {:?}", rule.group.unwrap_or("-"), rule.entry(), rule.line, rule.note)
        });
        format!("{word}{}", told.unwrap_or_default())
    };
    assert_eq!(rule("203.0.113.5"), "allow plain 203.0.113.0/24 plain.txt:2 None");
    assert_eq!(rule("2001:db8:5::1"), "allow plain 2001:db8:5::/48 plain.txt:4 None");
    assert_eq!(rule("2001:db8:6::1"), "allow long 2001:db8::/32 portcullis.yaml:13 Some(\"the partners\")");
    assert_eq!(rule("198.51.100.1"), "allow long 198.51.100.0/24 portcullis.yaml:12 Some(\"staging\")");
    assert_eq!(rule("192.0.2.1"), "allow - 192.0.2.1 portcullis.yaml:2 None");
    assert_eq!(rule("203.0.113.67"), "denied bad 203.0.113.67 bad.yml:2 Some(\"scanner\")");
    assert_eq!(rule("10.0.0.1"), "not_allowed");
    assert!(matches!(policy.judge(0, &ClientAddr::unix(), NOW), Decision::Allow(_)));
    let counts: Vec<_> =
        policy.groups().map(|group| (group.name().to_owned(), group.entry_count())).collect();
    let expected = [("unix", 1), ("all", 4), ("plain", 2), ("long", 2), ("bad", 2)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
    let next = policy.groups().nth(1).and_then(|all| all.next_expiry(NOW));
    assert_eq!(next, Some(UnixSeconds(1_798_732_800)));
}

#[test]
fn a_shadow_takes_the_listeners_own_list_where_it_has_none() {
    let files = Files::new().with(
        "portcullis.yaml",
        "\
listener_defaults: {upstream: main, allow: [office], deny: [203.0.113.66], shadow: {deny: []}}
listeners:
  - {name: default, bind: \"127.0.0.1:1\"}
  - {name: own, bind: \"127.0.0.1:2\", shadow: {allow: [203.0.113.66, 203.0.113.67, unix]}}
upstreams:
  main: {address: \"127.0.0.1:6379\"}
groups:
  office: [203.0.113.0/24]
",
    );
    let config = files.config();
    let judged = |listener, ip: &str| {
        let from = ClientAddr::from_socket(SocketAddr::new(ip.parse().unwrap(), 1));
        match config.policy().judge_shadow(listener, &from, NOW).unwrap() {
            Decision::Allow(_) => "allow",
            Decision::Deny(denial) => denial.reason().as_str(),
        }
    };
    assert_eq!((judged(0, "203.0.113.66"), judged(0, "203.0.113.1")), ("allow", "allow"));
    assert_eq!((judged(1, "203.0.113.66"), judged(1, "203.0.113.1")), ("denied", "not_allowed"));
    assert_eq!(judged(1, "203.0.113.67"), "allow");
}

#[test]
fn an_empty_file_under_deny_must_be_meant() {
    let under = |list: &str, group: &str| {
        format!(
            "listeners: [{{name: a, bind: \"127.0.0.1:1\", upstream: main, {list}}}]\n\
             upstreams: {{main: {{address: \"127.0.0.1:6379\"}}}}\n\
             groups: {{outer: [{{group: inner}}], inner: {group}}}\n"
        )
    };
    let files = Files::new().with("empty.txt", "# nobody\n").with("empty.yaml", "[]\n");
    for (list, group, severity) in [
        ("allow: [10.0.0.1], deny: [inner]", "{file: empty.txt}", Some(Severity::Error)),
        ("allow: [10.0.0.1], deny: [outer]", "{file: empty.txt}", Some(Severity::Error)),
        ("allow: [10.0.0.1], deny: [outer]", "{file: empty.yaml, note: x}", Some(Severity::Error)),
        ("allow: [10.0.0.1], deny: [outer]", "{file: empty.txt, allow_empty: false}", Some(Severity::Error)),
        ("allow: [10.0.0.1, outer]", "{file: empty.txt}", Some(Severity::Warning)),
        ("allow: [10.0.0.1], shadow: {deny: [outer]}", "{file: empty.txt}", Some(Severity::Warning)),
        ("allow: [10.0.0.1], deny: [outer]", "{file: empty.txt, allow_empty: true}", None),
        ("allow: [10.0.0.1], deny: [outer]", "[]", None),
    ] {
        let written = files.path("portcullis.yaml");
        std::fs::write(written, under(list, group)).unwrap();
        let problems = match files.load() {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        let found: Vec<_> = problems.iter().map(|problem| (problem.severity(), problem.line())).collect();
        assert_eq!(
            found,
            severity.map(|severity| (severity, 3)).into_iter().collect::<Vec<_>>(),
            "{problems:?}"
        );
        let hint = problems.first().and_then(Problem::hint);
        assert!(hint.is_none_or(|hint| hint.contains("allow_empty: true")), "{hint:?}");
    }
}

#[test]
fn problems_are_bounded_in_number() {
    let files = Files::new()
        .with("portcullis.yaml", PLAIN.replace("[203.0.113.0/24]", "{file: list.txt}"))
        .with("list.txt", "10.0.0.1/8\n".repeat(100_000));
    let problems = files.load().unwrap_err();
    assert_eq!(problems.len(), 201);
    assert_eq!(problems[200].message(), "and 99800 more problems, not shown");
}

#[test]
fn files_have_their_caps() {
    let big = vec![b'#'; usize::try_from(scope::MAX_YAML_FILE).unwrap() + 1];
    let files = Files::new().with("portcullis.yaml", &big);
    assert!(files.messages()[0].ends_with("it is larger than 8388608 bytes"), "{:?}", files.messages());
    let files = Files::new().with("portcullis.yaml", b"listeners: \xff\n");
    assert!(files.messages()[0].ends_with("is not valid UTF-8, first on line 1"), "{:?}", files.messages());
}
