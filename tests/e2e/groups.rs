//! `portcullis groups`: its output, its edits and its exit codes.

mod entries;
mod in_place;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Output;
use std::thread::JoinHandle;

use e2e::gate::portcullis;
use serde_json::{Value, json};

const CONFIG: &str = "# the gate
listeners:
  - {name: public, bind: \"127.0.0.1:0\", upstream: main, allow: [office, partners], deny: [abusers]}
upstreams: {main: {address: \"127.0.0.1:1\"}}
groups:
  office: [192.0.2.1, 10.0.0.0/8]   # HQ
  partners:
    note: egress of partners
    entries:
      - 198.51.100.7   # door
      - {cidr: 203.0.113.0/24, note: staging, owner: ops, until: 2099-12-31T18:00:00Z}
  abusers: {file: abusers.txt}
";

struct Files {
    directory: tempfile::TempDir,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Files {
    fn new(config: &str) -> Self {
        let files = Self { directory: tempfile::tempdir().expect("a scratch directory") };
        fs::write(files.path("portcullis.yaml"), config).expect("the configuration is written");
        fs::write(files.path("abusers.txt"), "203.0.113.66  # scans\n").expect("the list is written");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file is there")
    }

    /// Runs `portcullis groups ...`. Spaces separate the words; an underscore stands for a space in a word.
    fn groups(&self, words: &str) -> Ran {
        let words = words.split(' ').map(|word| word.replace('_', " "));
        ran(portcullis(self.directory.path(), std::iter::once("groups".to_owned()).chain(words)))
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("it exits");
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

impl Ran {
    #[track_caller]
    fn assert_exit(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn assert_says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {}", self.err);
        }
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("one JSON object")
    }
}

#[test]
fn groups_are_listed_with_their_users() {
    let files = Files::new(CONFIG);
    let list = files.groups("list").assert_exit(0).out;
    assert_eq!(
        list,
        "group     entries  next expiry           used by         note
office    2                              public (allow)
partners  2        2099-12-31T18:00:00Z  public (allow)  egress of partners
abusers   1                              public (deny)
"
    );
    let json = files.groups("list --json").assert_exit(0).json();
    let partners = &json["groups"][1];
    assert_eq!(partners["next_expiry"], "2099-12-31T18:00:00Z");
    assert_eq!(partners["used_by"], json!([{"listener": "public", "lists": ["allow"]}]));
}

/// The lists in `users` and `proxy_protocol` are uses of a group, even if they reach the group through an include.
#[test]
fn every_use_of_a_group_is_named() {
    let config = "listeners:
  - {name: public, bind: \"127.0.0.1:0\", upstream: main, allow: [office], auth: users, users: [reader],
     proxy_protocol: {from: [balancers]}}
upstreams: {main: {address: \"127.0.0.1:1\", credentials: {password: {env: UPSTREAM_PASSWORD}}}}
users: {reader: {password: {env: READER_PASSWORD}, from: [readers]}}
groups:
  office: [192.0.2.1]
  readers: [{group: inner}]
  inner: [192.0.2.1]
  balancers: [192.0.2.7]
  spare: []
";
    let files = Files::new(config);
    let list = files.groups("list").assert_exit(0).out;
    assert_eq!(
        list,
        "group      entries         next expiry  used by                       note
office     1                            public (allow)
readers    0 + 1 included               user reader (from)
inner      1                            user reader (from)
balancers  1                            public (proxy_protocol from)
spare      0                            not used
"
    );
    assert!(files.groups("show spare").assert_exit(0).out.starts_with("spare: 0 entries, not used\n"));
    let shown = files.groups("show balancers").assert_exit(0).out;
    assert!(shown.starts_with("balancers: 1 entry, used by public (proxy_protocol from)\n"), "{shown}");
    let json = files.groups("show inner --json").assert_exit(0).json();
    assert_eq!(json["used_by"], json!([{"user": "reader", "lists": ["from"]}]));
}

#[test]
fn a_group_is_shown_with_the_place_of_each_entry() {
    let files = Files::new(CONFIG);
    let show = files.groups("show partners").assert_exit(0).out;
    let lines = [
        "partners: 2 entries, used by public (allow)\n  note: egress of partners\n".to_owned(),
        format!("  198.51.100.7{}portcullis.yaml:10\n", " ".repeat(46)),
        "  203.0.113.0/24  until 2099-12-31T18:00:00Z  ops  staging  portcullis.yaml:11\n".to_owned(),
    ];
    assert_eq!(show, lines.concat());
    let json = files.groups("show abusers --json").assert_exit(0).json();
    assert_eq!(json["entries"][0]["entry"], "203.0.113.66");
    assert_eq!(
        (&json["entries"][0]["file"], &json["entries"][0]["line"]),
        (&json!("abusers.txt"), &json!(1))
    );
    files
        .groups("show nobody")
        .assert_exit(64)
        .assert_says(&["unknown group 'nobody'", "office, partners, abusers"]);
}

#[test]
fn an_entry_is_added_and_removed_and_the_file_is_what_it_was() {
    let files = Files::new(CONFIG);
    let added =
        files.groups("add partners 2001:db8::/32 --note a_test --until 2099-01-01T00:00:00Z").assert_exit(0);
    let told = "added 2001:db8::/32 to partners, portcullis.yaml:12, until 2099-01-01T00:00:00Z\n";
    assert!(added.out.starts_with(told), "{}", added.out);
    assert!(added.out.contains("by itself (reload: watch)"), "{}", added.out);
    assert_eq!(added.err, "");
    let line = "      - {cidr: \"2001:db8::/32\", note: a test, until: 2099-01-01T00:00:00Z}\n";
    assert_eq!(files.read("portcullis.yaml"), CONFIG.replace("  abusers:", &format!("{line}  abusers:")));
    files.groups("add partners 2001:db8::/32").assert_exit(1).assert_says(&[
        "already exists, at portcullis.yaml:12",
        "a test",
        "give --note, --owner or --until",
    ]);
    let removed = files.groups("remove partners 2001:db8::/32").assert_exit(0);
    assert!(removed.out.contains("from partners, was at portcullis.yaml:12\n"), "{}", removed.out);
    assert_eq!(files.read("portcullis.yaml"), CONFIG);

    files.groups("add abusers 203.0.113.67 --note again").assert_exit(0);
    assert_eq!(files.read("abusers.txt"), "203.0.113.66  # scans\n203.0.113.67  # again\n");
    files.groups("remove abusers 203.0.113.66").assert_exit(0);
    assert_eq!(files.read("abusers.txt"), "203.0.113.67  # again\n");
}

#[test]
fn a_dry_run_prints_the_difference_and_writes_nothing() {
    let files = Files::new(CONFIG);
    let run = files.groups("add office 192.0.2.2 --dry-run").assert_exit(0);
    let changed =
        "-  office: [192.0.2.1, 10.0.0.0/8]   # HQ\n+  office: [192.0.2.1, 10.0.0.0/8, 192.0.2.2]   # HQ\n";
    assert!(run.out.starts_with("--- portcullis.yaml\n+++ portcullis.yaml\n@@"), "{}", run.out);
    assert!(run.out.contains(changed), "{}", run.out);
    let json = files.groups("remove office 192.0.2.1 --dry-run --json").assert_exit(0).json();
    assert_eq!((&json["ok"], &json["dry_run"], &json["lines"]), (&json!(true), &json!(true), &json!([6])));
    assert!(json["diff"].as_str().is_some_and(|diff| diff.contains("+  office: [10.0.0.0/8]   # HQ\n")));
    assert_eq!(files.read("portcullis.yaml"), CONFIG);
}

#[test]
fn an_edit_without_effect_is_refused_unless_it_is_meant() {
    let files = Files::new(CONFIG);
    let covered = "10.1.2.3 is already covered by 10.0.0.0/8 of group office, portcullis.yaml:6";
    files.groups("add office 10.1.2.3").assert_exit(1).assert_says(&[covered, "--force"]);
    assert_eq!(files.read("portcullis.yaml"), CONFIG);
    files.groups("add office 10.1.2.3 --force").assert_exit(0).assert_says(&[covered]);
    files
        .groups("add office 10.1.2.4 --note known")
        .assert_exit(0)
        .assert_says(&["10.1.2.4 is already covered"]);
    files
        .groups("remove office 10.1.2.3")
        .assert_exit(0)
        .assert_says(&["10.1.2.3 is still covered by 10.0.0.0/8"]);
    let hint = "it is covered by 10.0.0.0/8 of group office, portcullis.yaml:6";
    files
        .groups("remove office 10.1.2.3")
        .assert_exit(1)
        .assert_says(&["10.1.2.3 is not an entry of group office", hint]);
    let wider = files.groups("add office 10.0.0.0/7").assert_exit(0);
    wider.assert_says(&["10.0.0.0/8 of group office, portcullis.yaml:6 is now redundant"]);
}

#[test]
fn bad_words_are_bad_usage_and_get_the_corrected_form() {
    let files = Files::new(CONFIG);
    files
        .groups("add office 10.1.2.3/8")
        .assert_exit(64)
        .assert_says(&["host bits are set", "write 10.0.0.0/8"]);
    files.groups("add office 010.1.2.3").assert_exit(64).assert_says(&["leading zero", "write 10.1.2.3"]);
    for (entry, hint) in [
        ("0.0.0.0", "did you mean 0.0.0.0/0 (everybody)?"),
        ("::/128", "did you mean ::/0 (everybody)?"),
        ("10.0.0.1-10.0.0.3", "write one entry for each of 10.0.0.1, 10.0.0.2/31"),
        ("10.1.*", "write 10.1.0.0/16"),
        ("10.0.0.0/255.0.0.0", "write 10.0.0.0/8"),
        ("any", "did you mean 0.0.0.0/0 (everybody)?"),
    ] {
        files.groups(&format!("add office {entry}")).assert_exit(64).assert_says(&[hint]);
    }
    files.groups("remove office fe80::1%eth0").assert_exit(64).assert_says(&["zone"]);
    files
        .groups("add office 192.0.2.9 --until tomorrow")
        .assert_exit(64)
        .assert_says(&["'tomorrow' is not a valid date and time"]);
    files
        .groups("add ofice 192.0.2.9")
        .assert_exit(64)
        .assert_says(&["unknown group 'ofice'", "did you mean 'office'?"]);
    files.groups("add unix 192.0.2.9").assert_exit(64).assert_says(&["built in"]);
    files.groups("add office").assert_exit(64);
    files.groups("paint office").assert_exit(64);
    let json = files.groups("add office ::ffff:10.0.0.1 --json").assert_exit(64).json();
    assert_eq!(json["error"]["hint"], "write 10.0.0.1");
    files
        .groups("add abusers 192.0.2.9 --owner ops")
        .assert_exit(1)
        .assert_says(&["abusers.txt is a plain-text list", "'owner'"]);
    assert_eq!(files.read("portcullis.yaml"), CONFIG);
}

#[test]
fn an_invalid_edit_is_reported_as_check_does_and_not_written() {
    let files = Files::new(CONFIG);
    let refused = files.groups("remove abusers 203.0.113.66").assert_exit(78);
    refused.assert_says(&[
        "error: the file of group 'abusers' is empty",
        "allow_empty: true",
        "nothing was written",
    ]);
    assert_eq!(files.read("abusers.txt"), "203.0.113.66  # scans\n");
    let json = files.groups("remove abusers 203.0.113.66 --json").assert_exit(78).json();
    assert_eq!((&json["ok"], &json["error"]["kind"]), (&json!(false), &json!("invalid")));
    assert_eq!(json["error"]["problems"][0]["severity"], "error");

    files
        .groups("add office 0.0.0.0/0 --dry-run")
        .assert_exit(0)
        .assert_says(&["admits the whole IPv4 internet"]);
    let trusting = CONFIG.replace("upstream: main,", "upstream: main, auth: trust,");
    fs::write(files.path("portcullis.yaml"), &trusting).expect("written");
    files.groups("add office 0.0.0.0/0").assert_exit(78).assert_says(&["allow_anonymous_internet"]);
    assert_eq!(files.read("portcullis.yaml"), trusting);

    fs::write(files.path("portcullis.yaml"), "groups: [").expect("written");
    files.groups("list").assert_exit(78);
    files.groups("add office 192.0.2.9").assert_exit(78).assert_says(&["portcullis.yaml:1:"]);
    files.groups("list --config absent.yaml").assert_exit(78).assert_says(&["the file does not exist"]);
}

#[test]
fn edits_at_the_same_time_all_arrive() {
    let files = Files::new(CONFIG);
    std::thread::scope(|scope| {
        for last in 10..16 {
            let files = &files;
            scope.spawn(move || files.groups(&format!("add partners 198.51.100.{last}")).assert_exit(0));
        }
    });
    let text = files.read("portcullis.yaml");
    for last in 10..16 {
        assert_eq!(text.matches(&format!("      - 198.51.100.{last}\n")).count(), 1, "{text}");
    }
}

/// The decision follows the edited policy.
#[test]
fn an_added_entry_admits() {
    let files = Files::new(CONFIG);
    let explain = || portcullis(files.directory.path(), ["explain", "127.0.0.1"]);
    assert_eq!(explain().status.code(), Some(1));
    files.groups("add partners 127.0.0.1 --owner me").assert_exit(0);
    let explained = explain();
    assert_eq!(explained.status.code(), Some(0));
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("127.0.0.1 of group partners, portcullis.yaml:12"), "{text}");
}

/// Plays an admin endpoint for `suggest`: sends one answer and returns the request.
fn answers(mut stream: impl Read + Write, answer: &str) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("readable") == 1 {
        request.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).expect("writable");
    String::from_utf8(request).expect("text")
}

fn ok(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn admin(answer: String) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (address, std::thread::spawn(move || answers(listener.accept().expect("a client").0, &answer)))
}

fn status() -> Value {
    let seen = |source: &str, count: u32, last_seen: &str| json!({"source": source, "count": count, "first_seen": "2020-01-01T00:00:00Z", "last_seen": last_seen});
    // Whenever the test runs, one of these times is in the last day and the other is not.
    let (late, early) = ("2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z");
    json!({"listeners": [
        {"name": "public", "shadow": {"denied_total": 20, "sources_truncated": false, "sources": [
            seen("203.0.113.8", 3, late), seen("203.0.113.9", 4, late), seen("203.0.113.77", 9, early),
            seen("2001:db8::5", 1, late)]}},
        {"name": "other", "shadow": {"denied_total": 1, "sources_truncated": true, "sources": [seen("192.0.2.7", 1, late)]}},
    ]})
}

fn shadowed(admin: &str) -> String {
    CONFIG.replace("deny: [abusers]}", "deny: [abusers], shadow: {allow: [office]}}\n  - {name: other, bind: \"127.0.0.1:0\", upstream: main, allow: [office]}")
        + &format!("admin: {admin}\n")
}

#[test]
fn a_suggestion_is_a_list_that_can_be_pasted() {
    let (address, server) = admin(ok(&status()));
    let files = Files::new(&shadowed(&format!("{{bind: \"{address}\", token: {{file: token}}}}")));
    fs::write(files.path("token"), "CANARY-token\n").expect("written");
    let run = files.groups("suggest --listener public").assert_exit(0);
    assert_eq!(
        run.out,
        "# 3 sources in 24 hours that the shadow rules of public would refuse
    - 203.0.113.8/31  # connections: 7
    - \"2001:db8::5\"  # connections: 1
"
    );
    let request = server.join().expect("the server was asked");
    assert!(request.starts_with("GET /api/status HTTP/1.1\r\n"), "{request}");
    let lower = request.to_lowercase();
    assert!(lower.contains(&format!("host: {address}\r\n")), "{request}");
    assert!(request.contains("Bearer CANARY-token\r\n"), "{request}");
    assert!(!run.err.contains("CANARY"), "{}", run.err);

    let pasted = CONFIG.replace("groups:\n", &format!("groups:\n  suggested:\n{}", run.out));
    fs::write(files.path("portcullis.yaml"), pasted).expect("written");
    let show = files.groups("show suggested").assert_exit(0).out;
    assert!(show.contains("203.0.113.8/31") && show.contains("2001:db8::5"), "{show}");
}

#[test]
fn a_suggestion_for_all_listeners_over_a_unix_socket() {
    let files = Files::new("");
    let socket = UnixListener::bind(files.path("admin.sock")).expect("a socket");
    let server = std::thread::spawn(move || answers(socket.accept().expect("a client").0, &ok(&status())));
    fs::write(files.path("portcullis.yaml"), shadowed("{bind: \"unix:admin.sock\"}")).expect("written");
    let run = files.groups("suggest --json").assert_exit(0);
    server.join().expect("the server was asked");
    let entries: Vec<Value> = run.json()["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["entry"].clone())
        .collect();
    assert_eq!(entries, ["192.0.2.7", "203.0.113.8/31", "2001:db8::5"]);
    run.assert_says(&["listener 'other' had more sources"]);
}

#[test]
fn a_failed_suggestion_gives_the_reason() {
    let files = Files::new(&shadowed("off"));
    files.groups("suggest").assert_exit(1).assert_says(&["the admin endpoint is off"]);
    files
        .groups("suggest --listener nobody")
        .assert_exit(64)
        .assert_says(&["unknown listener 'nobody'", "public, other"]);
    let with = |address: SocketAddr| {
        fs::write(files.path("portcullis.yaml"), shadowed(&format!("{{bind: \"{address}\"}}")))
            .expect("written");
    };
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    with(free);
    files.groups("suggest").assert_exit(1).assert_says(&["no proxy answers on"]);
    for (answer, words) in [
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned(), "needs a token"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(), "answered 404 Not Found"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
            "did not return an answer of portcullis",
        ),
        ("-ERR wrong number of arguments\r\n".to_owned(), "did not return an answer of portcullis"),
        (ok(&json!({"listeners": [{"name": "public"}]})), "has no shadow rules"),
    ] {
        let (address, server) = admin(answer);
        with(address);
        files.groups("suggest").assert_exit(1).assert_says(&[words]);
        server.join().expect("the server was asked");
    }
}
