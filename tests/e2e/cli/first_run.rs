//! The first minutes of a new user: `init`, a forward described by options, and the schema.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::gate::{binary, portcullis};
use e2e::{Gate, Redis, eventually};

use super::{CONFIG, stderr, stdout, with_variable};

const FORWARD: [&str; 6] = ["--listen", "127.0.0.1:16379", "--to", "127.0.0.1:16380", "--allow", "127.0.0.1"];

fn run_with(directory: &Path, more: &[&str]) -> Output {
    portcullis(directory, [&["run"], &FORWARD[..], more].concat())
}

#[test]
fn init_writes_a_file_that_check_accepts() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    let output = portcullis(path, ["init"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("portcullis run --config portcullis.yaml"), "{}", stdout(&output));
    let output = portcullis(path, ["check", "--no-host", "--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mode = fs::metadata(path.join("portcullis.yaml")).expect("the file").permissions().mode();
    assert_eq!(mode & 0o133, 0, "not executable, and only the owner writes: {mode:o}");

    // What a user has written stays.
    fs::write(path.join("portcullis.yaml"), "mine\n").expect("writable");
    let output = portcullis(path, ["init"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("portcullis.yaml exists already: --force replaces it"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_to_string(path.join("portcullis.yaml")).expect("the file"), "mine\n");
    assert_eq!(portcullis(path, ["init", "--force"]).status.code(), Some(0));
    assert_eq!(portcullis(path, ["check", "--no-host", "--strict"]).status.code(), Some(0));

    // Other places, and a password.
    fs::write(path.join("password"), "canary-81\n").expect("writable");
    fs::set_permissions(path.join("password"), fs::Permissions::from_mode(0o600)).expect("ours");
    let output = with_variable(path, "other.yaml", &["init", "--password-file", "password"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = portcullis(path, ["check", "--no-host", "--strict", "--config", "other.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("auth trust") && stdout(&output).contains("@public"),
        "{}",
        stdout(&output)
    );
    let printed = stdout(&portcullis(path, ["init", "--config", "-", "--password-file", "password"]));
    assert_eq!(printed, fs::read_to_string(path.join("other.yaml")).expect("the file"));
    assert!(!printed.contains("canary-81"), "{printed}");

    let output = portcullis(path, ["init", "--config", "absent/portcullis.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no directory absent"), "{}", stderr(&output));
    let output = portcullis(path, ["init", "--config", "new.yaml", "--allow", "10.1.2.3/8"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("--allow: error: '10.1.2.3/8': host bits are set"),
        "{}",
        stderr(&output)
    );
    assert!(!path.join("new.yaml").exists());
}

/// Runs `init` on a terminal, and types the lines.
fn on_a_terminal(directory: &Path, typed: &str) -> Output {
    let command = format!("'{}' init", binary().display());
    let script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut script = script.expect("script of util-linux starts");
    script.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("the questions are asked");
    script.wait_with_output().expect("it ends")
}

#[test]
fn init_asks_on_a_terminal() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let output = on_a_terminal(directory.path(), "6380\n127.0.0.1:6390\n\n192.0.2.0/24 10.0.0.7\n\n");
    let screen = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    for shown in [
        "[0.0.0.0:6380]",
        "write 127.0.0.1:6380, or 0.0.0.0:6380",
        "[127.0.0.1:6379]",
        "wrote portcullis.yaml",
    ] {
        assert!(screen.contains(shown), "{shown} is not in {screen}");
    }
    let written = fs::read_to_string(directory.path().join("portcullis.yaml")).expect("the file");
    for line in
        ["    bind: 127.0.0.1:6390", "    address: 127.0.0.1:6379", "    - 192.0.2.0/24", "    - 10.0.0.7"]
    {
        assert!(written.lines().any(|known| known == line), "{line} is not in {written}");
    }
    assert_eq!(portcullis(directory.path(), ["check", "--no-host", "--strict"]).status.code(), Some(0));

    // The end of the input (Ctrl-D) writes nothing.
    let directory = tempfile::tempdir().expect("a scratch directory");
    let output = on_a_terminal(directory.path(), "\n\x04");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("nothing was written"), "{}", stdout(&output));
    assert!(!directory.path().join("portcullis.yaml").exists());
}

/// Answers that contradict each other are asked again, from the earlier one.
#[test]
fn init_goes_back_to_an_earlier_answer() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let password = directory.path().join("password");
    fs::write(&password, "canary-82\n").expect("writable");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("ours");
    let typed = "\nredis\nredis:6379\n0.0.0.0/0\nhunter2\npassword\n192.0.2.0/24\npassword\n";
    let output = on_a_terminal(directory.path(), typed);
    let screen = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    for shown in [
        "'redis' is not a valid upstream address",
        "cannot read the password from this file: no such file or directory",
        "These answers do not fit together",
        "wrote portcullis.yaml",
    ] {
        assert!(screen.contains(shown), "{shown} is not in {screen}");
    }
    let checked = portcullis(directory.path(), ["check", "--no-host", "--strict"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("redis:6379, with a password"), "{}", stdout(&checked));
}

#[test]
fn an_option_whose_address_is_taken_is_named() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("its address");
    for (listen, admin, said) in [
        (taken.1.as_str(), "off", "--listen: cannot listen on"),
        ("unix:gate.sock", taken.1.as_str(), "--admin ADDRESS: cannot listen on"),
    ] {
        let arguments =
            ["run", "--listen", listen, "--to", "r:1", "--allow", "127.0.0.1", "unix", "--admin", admin];
        let output = portcullis(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let log = stderr(&output);
        assert!(
            log.contains(said) && log.contains("choose another port") && !log.contains("'bind'"),
            "{log}"
        );
    }
}

#[test]
fn a_forward_without_a_file() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis)
        .options(&format!("--listen 127.0.0.1:{{port}} --to {} --allow 127.0.0.1 127.0.0.3", redis.address()))
        .environment("PORTCULLIS_CONFIG", "/nonexistent/portcullis.yaml")
        .start();
    for (source, reply) in [("127.0.0.1", "+PONG\r\n"), ("127.0.0.3", "+PONG\r\n")] {
        let mut client = gate.connect_from(source, "127.0.0.1");
        client.send("PING");
        client.assert_recv_raw(reply.as_bytes());
    }
    let (read, _) = gate.connect_from("127.0.0.2", "127.0.0.1").read_to_end();
    assert_eq!(read, b"-DENIED source address not allowed\r\n");
    gate.assert_log("PORTCULLIS_CONFIG is ignored");
    gate.assert_log("admin endpoint listening");
    let report = gate.reload();
    assert_eq!(report["result"], "unchanged", "{report}");
}

/// With a password file the proxy logs in, dangerous commands are refused, and a new password is applied.
#[test]
fn a_forward_with_a_password_file() {
    let redis = Redis::builder().password("the-right-one").start();
    let gate = Gate::before(&redis)
        .file("redis-password", "the-wrong-one\n")
        .secret("the-right-one")
        .secret("the-wrong-one")
        .options(&format!(
            "--listen 127.0.0.1:{{port}} --to {} --allow 127.0.0.1 --password-file redis-password",
            redis.address()
        ))
        .start();
    let mut client = gate.connect();
    client.assert_reply("PING", "-ERR portcullis: upstream 'main' unavailable (auth)");
    let password = gate.directory().join("redis-password");
    fs::write(password, "the-right-one\n").expect("writable");
    eventually("the new password is used", || {
        let mut client = gate.connect();
        (client.call("PING").to_string() == "+PONG").then_some(())
    });
    let mut client = gate.connect();
    let refused = client.call("CONFIG GET requirepass").to_string();
    assert!(refused.starts_with("-NOPERM"), "{refused}");
}

#[test]
fn options_print_the_file_that_they_stand_for() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    fs::write(path.join("password"), "canary-81\n").expect("writable");
    fs::set_permissions(path.join("password"), fs::Permissions::from_mode(0o600)).expect("ours");
    for more in
        [&["--print-config"][..], &["--password-file", "password", "--admin", "off", "--print-config"]]
    {
        let output = run_with(path, more);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        // In another directory: relative paths have become absolute.
        let elsewhere = tempfile::tempdir().expect("a scratch directory");
        fs::write(elsewhere.path().join("portcullis.yaml"), stdout(&output)).expect("writable");
        let checked = portcullis(elsewhere.path(), ["check", "--no-host", "--strict"]);
        assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&output), stderr(&checked));
    }
    let printed = stdout(&run_with(path, &["--print-config"]));
    assert!(printed.starts_with("listeners:\n  - name: public\n    bind: 127.0.0.1:16379\n"), "{printed}");
}

/// docs/operations.md shows a command and, in the block below, its output.
#[test]
fn the_page_shows_what_the_options_stand_for() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(page).expect("the page");
    let is_command = |line: &&str| line.starts_with("portcullis run ") && line.ends_with(" --print-config");
    let command = page.lines().find(is_command).expect("the command");
    let (_, rest) = page.split_once(command).expect("just found");
    let (_, shown) = rest.split_once("```yaml\n").expect("a block");
    let (shown, _) = shown.split_once("```").expect("its end");
    let output = portcullis(Path::new("."), command.split(' ').skip(1));
    assert_eq!(stdout(&output), shown, "{}", stderr(&output));
}

/// Where a text may take addresses away, no command proposes one of them as an entry.
#[test]
fn no_hint_turns_an_exclusion_into_an_entry() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    for text in ["10.9.0.0/16 except 10.9.1.0/24", "deny 10.9.1.1", "!10.9.1.1"] {
        fs::write(path.join("portcullis.yaml"), CONFIG.replace("127.0.0.1]", &format!("\"{text}\"]")))
            .expect("writable");
        let config = CONFIG.replace("[127.0.0.1]", "[office]") + "groups: {office: []}\n";
        fs::write(path.join("office.yaml"), config).expect("writable");
        for output in [
            portcullis(path, ["check", "--no-host", "--config", "portcullis.yaml"]),
            portcullis(path, ["groups", "add", "office", text, "--config", "office.yaml"]),
            portcullis(path, ["init", "--config", "new.yaml", "--allow", text]),
            run_with(path, &["--allow", text, "--print-config"]),
        ] {
            let hints = stderr(&output) + &stdout(&output);
            let hint = hints.lines().find_map(|line| line.strip_prefix("  hint: ")).expect("a hint");
            assert!(!output.status.success() && !hint.contains("10.9."), "{hints}");
            assert!(hint.contains("addresses to refuse go into a list under deny"), "{hints}");
        }
    }
}

#[test]
fn bad_options_name_the_option() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    for (arguments, said) in [
        (&["--allow", "10.1.2.3/8"][..], "--allow: error: '10.1.2.3/8': host bits are set"),
        (&["--password-file", "absent"], "--password-file: error: cannot read the password"),
        (&["--admin", "0.0.0.0:9377"], "--admin: error: admin on 0.0.0.0:9377 needs a token"),
        (&["--config", "portcullis.yaml"], "--config cannot be combined with --listen"),
        (&["--listen", "16379"], "--listen: error: '16379' is not a valid listen address"),
    ] {
        let output = run_with(path, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
    for (arguments, missing) in [
        (&["run", "--listen", "127.0.0.1:1"][..], "--to"),
        (&["run", "--to", "r:1"], "--listen"),
        (&["run", "--print-config"], "--listen"),
    ] {
        let output = portcullis(path, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(stderr(&output).contains(&format!("{missing} is missing")), "{}", stderr(&output));
    }
    // A new user without a file is told how to get one.
    assert!(stderr(&portcullis(path, ["run"])).contains("'portcullis init' writes one"));
}

#[test]
fn the_schema_is_json() {
    let printed = stdout(&portcullis(Path::new("."), ["schema"]));
    let schema: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert!(schema["properties"]["listeners"]["description"].is_string(), "{schema}");
}
