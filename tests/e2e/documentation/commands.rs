//! The commands on the pages run exactly as they are written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::gate::binary;
use e2e::process::Process;
use e2e::{Gate, Redis, eventually, namespace};
use tempfile::TempDir;

use super::{Session, pages, top};

/// Beginnings of the commands that no test here runs, with the place where they run.
const ELSEWHERE: [(&str, &str); 15] = [
    ("deploy/quickstart.sh", ".ci/run, with --check"),
    ("deploy/debian/build.sh", "tests/run.sh package"),
    ("deploy/rpm/build.sh", "tests/run.sh rpm"),
    ("tests/run.sh", ".ci/run; some steps only by hand, because they fetch other programs"),
    ("cargo build", "tests/run.sh and deploy/quickstart.sh"),
    ("PORTCULLIS_COMMIT=", "by hand: it builds the release again"),
    ("cargo test", "tests/run.sh unit e2e, all at once"),
    ("PORTCULLIS_GOLDEN=write", "by hand: it changes the repository"),
    ("E2E_SEED=", "by hand: it takes minutes; tests/run.sh e2e with other numbers"),
    ("FUZZ_SEED=", "by hand: it takes an hour; tests/run.sh fuzz with other numbers"),
    ("RUSTC_BOOTSTRAP=1 cargo fuzz", "tests/run.sh fuzz, for each target"),
    ("mkdir -p target/found", "tests/run.sh fuzz"),
    ("cargo bench", "by hand: it takes minutes"),
    ("benches/", "tests/run.sh peers in short; the others by hand, because they take minutes to hours"),
    ("netsh ", "Windows only"),
];

/// Beginnings of the lines in a block that are commands.
const PROGRAMS: [&str; 13] = [
    "portcullis ",
    "target/release/portcullis ",
    "(umask ",
    "curl ",
    "openssl ",
    "aliyun ",
    "redis-cli ",
    "docker ",
    "systemctl ",
    "git ",
    "sudo ",
    "export ",
    "$ ",
];

fn is_elsewhere(command: &str) -> bool {
    ELSEWHERE.iter().any(|(start, _)| command.starts_with(start))
}

/// Returns the commands of a page. A line that ends with a backslash continues on the next line. Blocks that are files,
/// or whose language is not `sh`, contain no commands, and a script runs those below `<!-- runs: SCRIPT NAME -->`.
fn commands(page: &str) -> Vec<String> {
    commands_below(page, |mark| mark.is_none_or(|mark| mark.starts_with("test: ")))
}

/// Returns the commands of the blocks whose mark, the line `<!-- MARK -->` above the block, is wanted.
pub(super) fn commands_below(page: &str, is_wanted: impl Fn(Option<&str>) -> bool) -> Vec<String> {
    let mut lines = page.lines();
    let (mut commands, mut mark) = (Vec::new(), None);
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            let marked = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
            mark = marked.or_else(|| mark.filter(|_| line.is_empty()));
            continue;
        };
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mark = mark.take();
        if !is_wanted(mark) || !matches!(language, "" | "sh") {
            continue;
        }
        let body = body.join("\n").replace("\\\n", "");
        // Every line of a marked block is a command.
        let is_command = |line: &&str| {
            mark.is_some() || PROGRAMS.iter().any(|start| line.starts_with(start)) || is_elsewhere(line)
        };
        commands.extend(body.lines().filter(is_command).map(str::to_owned));
    }
    commands
}

pub(super) fn page(name: &str) -> String {
    fs::read_to_string(top().join(name)).expect("a page")
}

/// The pages whose commands the tests below run.
const RUN: [&str; 8] = [
    "README.md",
    "docs/operations.md",
    "docs/configuration.md",
    "docs/high-availability.md",
    "docs/migration.md",
    "docs/sizing.md",
    "docs/tls.md",
    "docs/troubleshooting.md",
];

#[test]
fn every_command_of_a_page_runs_in_a_test() {
    for path in pages() {
        let name = path.canonicalize().expect("a page");
        if RUN.iter().any(|run| name.ends_with(run)) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a page");
        for command in commands(&text) {
            // The recipes are played.
            let is_played = command.starts_with("$ portcullis ")
                && name.parent().is_some_and(|in_| in_.ends_with("recipes"));
            assert!(is_played || is_elsewhere(&command), "{}: no test runs {command:?}", path.display());
        }
    }
}

/// The number of blocks that no test can run. Each says why.
const NOT_RUN: usize = 4;

#[test]
fn blocks_that_no_test_runs_are_counted() {
    let texts = pages().into_iter().map(|path| fs::read_to_string(path).expect("a page"));
    let marks: usize = texts.map(|text| text.matches("\n<!-- not run: ").count()).sum();
    assert_eq!(marks, NOT_RUN, "run the block, or count it here with its reason on the page");
}

/// The blocks below `<!-- runs: SCRIPT NAME -->` are run by that script, which names the page and the block.
#[test]
fn blocks_that_a_script_runs_are_named_in_it() {
    let mut seen = 0;
    for path in pages() {
        let text = fs::read_to_string(&path).expect("a page");
        let page = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        for mark in text.lines().filter_map(|line| line.strip_prefix("<!-- runs: ")) {
            let (script, name) = mark.trim_end_matches(" -->").split_once(' ').expect("a script and a name");
            let script = fs::read_to_string(top().join(script)).expect("the script");
            assert!(script.contains(&format!("{page} {name}")), "{page}: no script runs the block {name}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} blocks");
}

/// Makes a directory in which `portcullis` is a command: in PATH, and at the path of a release build.
pub(super) fn workshop() -> TempDir {
    let directory = tempfile::tempdir().expect("a scratch directory");
    fs::create_dir_all(directory.path().join("target/release")).expect("writable");
    symlink(binary(), directory.path().join("target/release/portcullis")).expect("writable");
    directory
}

/// Runs a command in a shell. `input` is its standard input.
pub(super) fn shell(directory: &Path, command: &str, input: &str) -> Output {
    let path = std::env::var("PATH").expect("PATH");
    let mut child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .current_dir(directory)
        .env("PATH", format!("{}:{path}", directory.join("target/release").display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash starts");
    // Most commands read nothing and may have ended, so an error of this write is ignored.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[track_caller]
pub(super) fn assert_works(command: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command}: {}\n{printed}{told}", output.status);
    printed
}

/// Returns the first block of a page that contains this file.
pub(super) fn file_of(page: &str, name: &str) -> String {
    let start = format!("# file: {name}\n");
    let body =
        page.split("```").find_map(|block| block.split_once(&start)).expect("a block with that file").1;
    body.to_owned()
}

/// Runs all commands of the page in their order, in a namespace with a Redis at the address that the page expects.
#[test]
fn commands_of_the_readme_work_as_typed() {
    namespace::alone("the commands of the README are", || {
        let (directory, page) = (workshop(), page("README.md"));
        let path = directory.path();
        fs::write(path.join("portcullis.yaml"), file_of(&page, "portcullis.yaml")).expect("writable");
        let mut running = Vec::new();
        let mut printed = String::new();
        for command in commands(&page).iter().filter(|command| !is_elsewhere(command)) {
            if command.trim_end().ends_with("portcullis run") {
                running.push(redis(path));
                let words = ["-c", &format!("exec {command}")].map(str::to_owned);
                running.push(Process::start(path, "gate", "bash".as_ref(), words, &[]));
                let gate = running.last().expect("just started");
                eventually("the proxy is ready", || gate.stderr().contains(" INFO ready\n").then_some(()));
            } else {
                printed += &assert_works(command, &shell(path, command, ""));
            }
        }
        assert_eq!(running.len(), 2, "the page runs the proxy");
        assert!(
            printed.contains("public: 198.51.100.7 allowed by 198.51.100.7 of group office"),
            "{printed}"
        );
    });
}

/// Starts a Redis on its default port, with the password that the commands of the page wrote.
fn redis(directory: &Path) -> Process {
    let password = fs::read_to_string(directory.join("redis-password")).expect("the page wrote it");
    let words = ["--save", "", "--requirepass", password.trim_end()].map(str::to_owned);
    Process::start(directory, "redis", "redis-server".as_ref(), words, &[])
}

/// A configuration as the page on operations describes it: a group, a user, shadow lists and an admin token.
const OPERATED: &str = r#"
listeners:
  - name: public
    bind: "127.0.0.1:{port}"
    upstream: main
    allow: [office, 127.0.0.1]
    shadow: {deny: [127.0.0.1]}
    auth: users
    users: [reporting]
    limits: {per_source: {auth_failures: 10/1m, block_for: 10m}}
upstreams: {main: {address: {redis}}}
groups:
  {branch}
  office: [198.51.100.7{more}]
users:
  reporting:
    password: {sha256: 5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8}
    acl: "+@read +@connection ~report:*"
admin: {bind: "127.0.0.1:{admin}", token: {file: token}}
"#;

/// Paths of a machine, and the files of the test that replace them.
const PLACES: [(&str, &str); 4] = [
    ("/run/secrets/admin", "token"),
    ("/run/secrets/redis", "token"),
    ("/usr/share/bash-completion/completions/portcullis", "completions"),
    ("/usr/local/share/man/man1", "."),
];

/// The values that replace words in capital letters.
const PLACEHOLDERS: [(&str, &str); 9] = [
    ("FILE", "portcullis.yaml"),
    ("U", "reporting"),
    ("L", "public"),
    ("TEXT", "'a note'"),
    ("FORMAT", "cidrs"),
    ("G", "office"),
    ("SHELL", "bash"),
    ("ADDRESS", "203.0.113.9"),
    ("DIRECTORY", "."),
];

/// Returns a command without its optional parts, which stand in brackets, and with all of them.
fn variants(command: &str) -> [String; 2] {
    let (mut without, mut with) = (String::new(), String::new());
    for (at, part) in command.split(['[', ']']).enumerate() {
        with += part;
        if at % 2 == 0 {
            without += part;
        }
    }
    [without, with].map(|variant| {
        let value = |word| PLACEHOLDERS.iter().find(|(name, _)| *name == word).map_or(word, |found| found.1);
        variant.split(' ').map(value).collect::<Vec<_>>().join(" ")
    })
}

/// Runs each synopsis without and with its optional parts, each in a directory of its own.
#[test]
fn commands_of_the_page_on_operations_work() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(&operated("")).file("token", "a token").start();
    gate.connect().assert_reply("PING", "-NOAUTH Authentication required.");
    let page = page("docs/operations.md");
    let mut ran = 0;
    let runs = |command: &str| command.starts_with("portcullis run ") && !command.contains("--print-config");
    // Each proxy of these tests is started with `run`. The file for logrotate belongs to a machine with systemd.
    let is_here = |command: &&String| !command.starts_with("$ ") && !runs(command) && !is_elsewhere(command);
    for command in commands(&page).iter().filter(is_here) {
        let mut both = variants(command).to_vec();
        both.dedup();
        for variant in both {
            let directory = workshop();
            furnish(directory.path(), &gate, &variant);
            let admin = format!("127.0.0.1:{}", gate.admin().port());
            let variant = PLACES.iter().fold(variant, |text, (theirs, ours)| text.replace(theirs, ours));
            let variant = variant.replace("127.0.0.1:9377", &admin);
            let printed = assert_works(&variant, &shell(directory.path(), &variant, "a password\n"));
            if variant.starts_with("curl ") {
                assert!(
                    printed.contains(r#""result":"applied""#) || printed.contains(r#""result":"unchanged""#),
                    "{printed}"
                );
            }
            ran += 1;
        }
    }
    assert!(ran > 10, "{ran}");
}

/// The page on sizing reads counters of a running proxy.
#[test]
fn the_counters_of_the_page_on_sizing_exist() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).start();
    gate.connect().assert_reply("PING", "+PONG");
    let page = page("docs/sizing.md");
    let wanted = ["process_cpu_seconds_total ", "portcullis_commands_total{", "portcullis_clients{"];
    let mut ran = 0;
    for command in commands(&page).iter().filter(|command| command.starts_with("curl ")) {
        let command = command.replace("127.0.0.1:9377", &gate.admin().to_string());
        let printed = assert_works(&command, &shell(workshop().path(), &command, ""));
        for name in wanted {
            assert!(printed.lines().any(|line| line.starts_with(name)), "no {name}: {printed}");
        }
        ran += 1;
    }
    assert_eq!(ran, 1);
}

/// The configuration in which a command finds what it removes, and does not find what it adds.
fn operated(command: &str) -> String {
    let has = |word| command.contains(word);
    let more = if has(" remove ") || has(" explain ") { ", 203.0.113.9, 198.51.100.0/24" } else { "" };
    let branch = if has(" delete ") { "branch: []" } else { "" };
    OPERATED.replace("{more}", more).replace("{branch}", branch)
}

fn furnish(directory: &Path, gate: &Gate, command: &str) {
    let mut yaml = gate.fill(&operated(command));
    if command.starts_with("portcullis check") {
        // The proxy of these tests runs another file, so its ports are in use.
        for port in [gate.port(), gate.admin().port()] {
            yaml = yaml.replace(&format!(":{port}"), ":0");
        }
    }
    if command.starts_with("portcullis import") {
        yaml = "203.0.113.0/24\n".to_owned();
    }
    let files = [("portcullis.yaml", yaml), ("token", "a token".to_owned())];
    // `init` writes the configuration that the other commands read.
    let is_first = command.starts_with("portcullis init");
    for (name, text) in files.iter().filter(|(name, _)| !is_first || *name == "token") {
        fs::write(directory.join(name), text).expect("writable");
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o600)).expect("ours");
    }
}

/// Compares the answers of `explain` on the page on operations with real ones. The users are those of the page on
/// configuration.
#[test]
fn the_page_on_operations_shows_real_answers() {
    let directory = workshop();
    let users = page("docs/configuration.md");
    let users = users.split("```yaml\n").find(|block| block.contains("users: [default, reporting]"));
    let users = users.and_then(|block| block.split("```").next()).expect("the example of users");
    fs::write(directory.path().join("portcullis.yaml"), users).expect("writable");
    let page = page("docs/operations.md");
    let mut shown = 0;
    for block in page.split("```\n").filter(|block| block.starts_with("$ portcullis ")) {
        let (command, answer) = block.split_once('\n').expect("a command and its answer");
        let output = shell(directory.path(), command.trim_start_matches("$ "), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), answer, "{command}");
        shown += 1;
    }
    assert!(shown > 0);
}

/// The page on configuration makes a certificate and shows its pin.
#[test]
fn commands_of_the_page_on_configuration_work() {
    let (directory, page) = (workshop(), page("docs/configuration.md"));
    let mut printed = String::new();
    for command in commands(&page).iter().filter(|command| !command.starts_with("$ ")) {
        printed += &assert_works(command, &shell(directory.path(), command, ""));
    }
    let pin = printed.lines().find_map(|line| line.split_once("Fingerprint=")).expect("a fingerprint").1;
    let yaml = format!(
        "listeners: [{{name: public, bind: 'unix:p.sock', upstream: main, allow: [unix]}}]\n\
         upstreams: {{main: {{address: 'redis.internal:6379', tls: {{pin: 'sha256:{pin}'}}}}}}\nadmin: off\n"
    );
    fs::write(directory.path().join("portcullis.yaml"), yaml).expect("writable");
    assert_works("check", &shell(directory.path(), "portcullis check", ""));
}

/// The page on migration has a list of imports. The files of the page's examples replace the files of the system.
#[test]
fn commands_of_the_page_on_migration_work() {
    let (directory, page) = (workshop(), page("docs/migration.md"));
    Session { directory: directory.path() }.play(&page);
    let of_others = [
        ("/etc/rinetd.conf", "rinetd.conf"),
        ("/etc/nginx/nginx.conf", "nginx.conf"),
        ("/etc/haproxy/haproxy.cfg", "haproxy.cfg"),
        ("security-group.json", "office.json"),
        ("aliyun r-kvstore DescribeSecurityIps --InstanceId ID", "cat groups.json"),
    ];
    let mut ran = 0;
    for command in
        commands(&page).iter().filter(|command| !command.starts_with("$ ") && !is_elsewhere(command))
    {
        let ours = of_others.iter().fold(command.clone(), |text, (theirs, ours)| text.replace(theirs, ours));
        assert_works(&ours, &shell(directory.path(), &ours, ""));
        ran += 1;
    }
    assert!(ran > 5, "{ran}");
}
