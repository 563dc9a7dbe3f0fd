//! Lists that other programs write: JSON files that change, and the line for cron that fetches a list.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread::JoinHandle;

use e2e::gate::{binary, portcullis};
use e2e::{Gate, Redis};

const SELECTED: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [clients], deny: [listed]}
upstreams: {main: {address: {redis}}}
groups:
  clients: [127.0.0.0/8]
  listed: {file: drop.json, select: cidr}
admin: {bind: '127.0.0.1:{admin}'}
";

/// A server that answers every request with the same body, or 404.
struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves one request.
    fn once(body: Option<&'static str>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("an address");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = socket.accept().expect("a request");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).expect("the request");
            let (status, body) = body.map_or(("404 Not Found", ""), |body| ("200 OK", body));
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).expect("the answer");
        });
        Self { address, thread }
    }
}

/// Runs a line of the shell in another directory, as cron does, with the binary under test on the path.
fn as_cron(line: &str) -> Output {
    let programs = binary().parent().expect("a directory").display().to_string();
    Command::new("sh")
        .args(["-c", line])
        .current_dir("/")
        .env("PATH", format!("{programs}:/usr/bin:/bin"))
        .output()
        .expect("sh runs")
}

fn check(directory: &Path) -> (i32, String) {
    let output = portcullis(directory, ["check", "--no-secrets"]);
    let said = String::from_utf8(output.stderr).expect("text");
    (output.status.code().expect("it exits"), said)
}

#[test]
fn the_line_for_cron_fetches_checks_and_renames() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = scratch.path().join("a b");
    fs::create_dir(&directory).expect("a directory");
    let config = |group: &str| {
        let yaml = format!(
            "listeners: [{{name: public, bind: \"127.0.0.1:0\", upstream: main, allow: [partners]}}]\n\
             upstreams: {{main: {{address: \"127.0.0.1:1\"}}}}\ngroups: {{partners: {group}}}\n"
        );
        fs::write(directory.join("portcullis.yaml"), yaml).expect("the configuration is written");
    };
    for (url, group, good, bad) in [
        (
            "https://example.com/list",
            "{file: fetched-partners.txt}",
            "192.0.2.0/24 ; SBL1\n",
            "192.0.2.0/24\n0.0.0.0\n",
        ),
        (
            "https://example.com/ranges.json",
            "{file: fetched-partners.json, select: \"prefixes[].ip_prefix\"}",
            "{\"prefixes\": [{\"ip_prefix\": \"192.0.2.0/24\"}]}\n",
            "{\"prefixes\": [{\"ip_prefix\": \"192.0.2.",
        ),
    ] {
        config(&format!("{{url: \"{url}\"}}"));
        let (code, said) = check(&directory);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(&format!("partners: {group}")), "{said}");
        let line = said.split("17 * * * * ").nth(1).and_then(|rest| rest.lines().next()).expect("a line");
        let name =
            group.split(['}', ',']).next().and_then(|part| part.strip_prefix("{file: ")).expect("a name");
        config(group);
        let fetch = |body| {
            let server = Server::once(body);
            let output = as_cron(&line.replace("URL", &format!("http://{}/list", server.address)));
            server.thread.join().expect("one request");
            (output.status.success(), fs::read_to_string(directory.join(name)).ok(), output)
        };
        let (done, list, output) = fetch(Some(good));
        assert!(done, "{output:?}");
        assert_eq!(list.as_deref(), Some(good));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "cron would send a mail: {output:?}");
        assert_eq!(check(&directory).0, 0);
        for body in [Some(bad), None] {
            let (done, list, output) = fetch(body);
            assert!(!done, "{output:?}");
            assert_eq!(list.as_deref(), Some(good), "the old list stays");
        }
        let (done, list, _) = fetch(Some(good));
        assert!(done && list.as_deref() == Some(good));
    }
}

#[test]
fn a_json_list_is_reloaded_when_it_changes() {
    let redis = Redis::plain();
    let line = |cidr: &str| format!("{{\"cidr\":\"{cidr}\",\"sblid\":\"SBL1\"}}\n");
    let end = "{\"type\":\"metadata\",\"records\":1}\n";
    let list = line("127.0.0.2") + end;
    let gate = Gate::before(&redis).config(SELECTED).file("drop.json", &list).start();
    let explains = |ip: &str| gate.get(&format!("/api/explain?ip={ip}")).1;
    assert!(explains("127.0.0.2").contains("\"allowed\":false"), "{}", explains("127.0.0.2"));
    let next = gate.directory().join("next");
    fs::write(&next, line("127.0.0.3") + &line("127.0.0.4/31") + end).expect("the next list");
    fs::rename(&next, gate.directory().join("drop.json")).expect("it is renamed");
    let explained = e2e::eventually("the new list is in force", || {
        Some(explains("127.0.0.5")).filter(|explained| explained.contains("\"allowed\":false"))
    });
    assert!(explained.contains("drop.json") && explained.contains("\"line\":2"), "{explained}");
    assert!(explains("127.0.0.2").contains("\"allowed\":true"));
    fs::write(&next, "{\"cidr\":\"127.0.0.2\"").expect("the next list");
    fs::rename(&next, gate.directory().join("drop.json")).expect("it is renamed");
    gate.assert_log("reload rejected");
    assert!(explains("127.0.0.5").contains("\"allowed\":false"));
}

/// An editor shows the second address on a line of its own. The list would not refuse it.
#[test]
fn an_odd_line_end_cannot_hide_an_address() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let yaml = "listeners: [{name: public, bind: \"127.0.0.1:0\", upstream: main, allow: [partners], deny: [abusers]}]\n\
                upstreams: {main: {address: \"127.0.0.1:1\"}}\n\
                groups: {partners: [192.0.2.0/24], abusers: {file: abusers.txt}}\n";
    fs::write(scratch.path().join("portcullis.yaml"), yaml).expect("writable");
    let list = scratch.path().join("abusers.txt");
    for odd in ['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'] {
        fs::write(&list, format!("192.0.2.1 # scans{odd}192.0.2.2\n")).expect("writable");
        let (code, said) = check(scratch.path());
        assert_eq!(code, 78, "{odd:?}: {said}");
        assert!(said.contains("abusers.txt:1:18: error: a "), "{odd:?}: {said}");
        assert!(said.contains("hint: end the line with LF"), "{odd:?}: {said}");
    }
    for odd in ['\u{202e}', '\u{2067}', '\u{200e}', '\u{61c}', '\u{200d}', '\u{feff}'] {
        fs::write(&list, format!("192.0.2.1 # scans{odd}192.0.2.2\n")).expect("writable");
        let (code, said) = check(scratch.path());
        assert_eq!(code, 78, "{odd:?}: {said}");
        let shown = format!("(U+{:04X}) stands here: the line is not what a reader sees", u32::from(odd));
        assert!(said.contains("abusers.txt:1:18: error: a") && said.contains(&shown), "{odd:?}: {said}");
        assert!(!said.contains(odd), "{odd:?}: {said}");
    }
    fs::write(&list, "192.0.2.1 # scans\r\n192.0.2.2\r\n").expect("writable");
    assert_eq!(check(scratch.path()).0, 0);
}
