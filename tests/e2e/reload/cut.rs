//! Lists that are cut, or whose writer pauses. No reload applies a part of a list.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, SystemTime};

use e2e::namespace::SmallDisk;
use e2e::{Gate, Redis, eventually};

use super::{assert_admits, assert_refuses, edit};

/// A configuration with a list that admits and a list that refuses.
const YAML: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [listed], deny: [abusers]}
upstreams: {main: {address: {redis}}}
groups:
  listed: {file: DIR/listed.txt}
  abusers: {file: DIR/abusers.txt}
admin: {bind: '127.0.0.1:{admin}'}
reload: signal
";

/// The pause of a writer. It is longer than the time for which a file must stay unchanged.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns a deny list of 1,000 lines. Most of them depend on `round`.
fn denied(round: u8) -> String {
    let line = |n: u16| match n {
        // Every version refuses these sources.
        0..=2 | 350..=352 | 750..=752 | 997..=999 => format!("127.1.{}.{}\n", n >> 8, n & 255),
        _ => format!("127.2{round}.{}.{}\n", n >> 8, n & 255),
    };
    (0..1000).map(line).collect()
}

/// Sources that every version of [`denied`] refuses, at the beginning, in the middle and at the end of the list.
const ALWAYS_DENIED: [&str; 4] = ["127.1.0.1", "127.1.1.95", "127.1.2.239", "127.1.3.231"];

fn watching(redis: &Redis, listed: &str, abusers: &str) -> Gate {
    let yaml = edit(&YAML.replace("DIR/", ""), "reload: signal\n", "");
    Gate::before(redis).config(&yaml).file("listed.txt", listed).file("abusers.txt", abusers).start()
}

/// Writes a file in place, and pauses after the first `cut` bytes. If `close`, the file is closed during the pause.
fn write_with_pauses(path: &Path, text: &str, cut: usize, close: bool) {
    let mut file = File::create(path).expect("writable");
    file.write_all(&text.as_bytes()[..cut]).expect("writable");
    if close {
        drop(file);
        sleep(PAUSE);
        file = File::options().append(true).open(path).expect("writable");
    } else {
        sleep(PAUSE);
    }
    file.write_all(&text.as_bytes()[cut..]).expect("writable");
}

/// Returns the number of bytes in the first `lines` lines.
fn after_lines(text: &str, lines: usize) -> usize {
    text.lines().take(lines).map(|line| line.len() + 1).sum()
}

/// Runs `write`, and connects from `sources` until `is_applied` returns true. Checks that no connection is admitted.
fn assert_refuses_meanwhile(
    gate: &Gate,
    sources: &[&str],
    write: impl FnOnce() + Send,
    is_applied: impl Fn() -> bool,
) {
    let done = AtomicBool::new(false);
    scope(|threads| {
        let prober = threads.spawn(|| {
            let mut probes = 0_u32;
            while !done.load(Ordering::Relaxed) {
                sources.iter().for_each(|source| assert_refuses(gate, source));
                probes += 1;
                sleep(Duration::from_millis(2));
            }
            probes
        });
        write();
        // The prober may fail in its own thread, and this must also end the wait.
        while !prober.is_finished() && !is_applied() {
            sleep(Duration::from_millis(20));
        }
        done.store(true, Ordering::Relaxed);
        assert!(prober.join().expect("no source was admitted") > 10);
    });
}

fn is_denied(gate: &Gate, ip: &str) -> bool {
    gate.get(&format!("/api/explain?ip={ip}")).1.contains("\"allowed\":false")
}

/// A writer pauses in a deny list, between two lines or within a line. The file stays open or is closed.
#[test]
fn a_writer_pauses_in_a_deny_list() {
    let redis = Redis::plain();
    let gate = watching(&redis, "127.0.0.0/8\n", &denied(0));
    assert_admits(&gate, "127.0.0.1");
    let path = gate.directory().join("abusers.txt");
    for (round, lines, further, close) in
        [(1, 300, 0, true), (2, 300, 4, false), (3, 700, 4, true), (4, 700, 0, false)]
    {
        let text = denied(round);
        let cut = after_lines(&text, lines) + further;
        let new = format!("127.2{round}.3.0");
        assert!(!is_denied(&gate, &new));
        let write = || write_with_pauses(&path, &text, cut, close);
        assert_refuses_meanwhile(&gate, &ALWAYS_DENIED, write, || is_denied(&gate, &new));
        assert_admits(&gate, &format!("127.2{}.3.0", round - 1));
    }
    gate.assert_log("reload waits 5 s, because list");
    gate.assert_log("abusers.txt shrank from 1,000 to 300 entries");
    for report in gate.audited("reload") {
        let line = &report["problems"][0]["line"];
        assert!(report["result"] == "applied" || *line == 301 || *line == 701, "{report}");
    }
}

/// A writer pauses within the last line of an allow list. The first part of this line is a wider network.
#[test]
fn a_writer_pauses_in_an_allow_list() {
    let redis = Redis::plain();
    let listed = |last: u8| format!("127.0.0.1\n127.0.0.{last}\n0.0.0.0/10\n");
    let gate = watching(&redis, &listed(2), "192.0.2.1\n");
    let path = gate.directory().join("listed.txt");
    let text = listed(3);
    let write = || write_with_pauses(&path, &text, text.len() - 2, false);
    assert_refuses_meanwhile(&gate, &["127.0.0.4", "127.9.9.9"], write, || !is_denied(&gate, "127.0.0.3"));
    assert_refuses(&gate, "127.0.0.2");
}

/// The disk becomes full at each byte of the last two lines of a list.
#[test]
fn a_full_disk() {
    // The disk has one page for each list.
    let Some(disk) = SmallDisk::new(2, "lists on a full disk are") else { return };
    let redis = Redis::plain();
    let yaml = YAML.replace("DIR", &disk.path().display().to_string());
    let write = |name: &str, text: &str| fs::write(disk.path().join(name), text);
    let (old, new) = (lists("127.0.0.5/32"), lists("127.0.0.6/32"));
    for (name, text) in &old {
        write(name, text).expect("a page each");
    }
    let gate = Gate::before(&redis).config(&yaml).start();
    let never = ["127.0.0.7", "127.77.0.1", "200.0.0.1"];
    let always = ["127.0.0.1"];
    for ((name, old), (_, new)) in old.iter().zip(&new) {
        let tail = new.trim_end().rmatch_indices('\n').nth(1).map_or(0, |(at, _)| at + 1);
        for cut in tail..new.len() {
            let filler = format!("#{}\n", "-".repeat(SmallDisk::PAGE - cut - 2));
            let full = write(name, &(filler + new)).expect_err("the disk is full");
            assert_eq!(full.kind(), ErrorKind::StorageFull);
            assert_eq!(
                fs::metadata(disk.path().join(name)).map(|file| file.len()).ok(),
                Some(SmallDisk::PAGE as u64)
            );
            let report = gate.reload();
            if new[..cut].ends_with('\n') {
                // If whole lines are missing, nothing in the file shows it.
                assert_eq!(report["result"], "applied", "{name} {cut}: {report}");
            } else {
                assert_eq!(report["result"], "rejected", "{name} {cut}: {report}");
                let hint = report["problems"][0]["hint"].as_str().expect("a hint");
                assert!(hint.contains("end the file with a newline"), "{name} {cut}: {report}");
                assert_eq!(gate.reload()["result"], "rejected", "{name} {cut}: it stays rejected");
                assert!(always.iter().all(|ip| !is_denied(&gate, ip)), "{name} {cut}");
                assert!(never.iter().all(|ip| is_denied(&gate, ip)), "{name} {cut}");
            }
            write(name, old).expect("it fits");
            gate.reload();
        }
    }
}

/// Returns an allow list and a deny list. `changed` is the entry that a new version changes.
fn lists(changed: &str) -> [(&'static str, String); 2] {
    [
        ("listed.txt", format!("127.0.0.1\n{changed}\n0.0.0.0/10\n127.0.0.8/29\n127.64.0.0/10\n")),
        ("abusers.txt", format!("{changed}\n127.0.0.7\n127.77.0.0/16\n127.77.0.1\n")),
    ]
}

/// A file that is renamed into place is complete. So nothing waits, and its last line need not end with a newline.
#[test]
fn a_list_that_is_renamed_into_place() {
    let redis = Redis::plain();
    let gate = watching(&redis, "127.0.0.0/8\n", &denied(0));
    for text in ["127.1.0.1\n127.1.0.2\n", "127.1.0.2", "127.1.0.3\n"] {
        let report = gate.reload_after(|| gate.put("abusers.txt", text));
        assert_eq!(report["result"], "applied", "{report}");
    }
    assert_refuses(&gate, "127.1.0.3");
    assert!(!gate.stderr().contains("reload waits"), "{}", gate.stderr());
}

/// A directory that is replaced by a copy has other files. A later write to one of them is no rename.
#[test]
fn a_directory_that_is_replaced_by_a_copy() {
    let redis = Redis::plain();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let dir = scratch.path();
    let yaml = YAML.replace("DIR", &dir.join("lists").display().to_string());
    let yaml = edit(&yaml, "reload: signal\n", "log: {level: debug}\n");
    let lists = |lists: &Path| {
        fs::create_dir(lists).expect("writable");
        fs::write(lists.join("listed.txt"), "127.0.0.0/8\n").expect("writable");
        fs::write(lists.join("abusers.txt"), denied(0)).expect("writable");
    };
    lists(&dir.join("lists"));
    let gate = Gate::before(&redis).config(&yaml).start();
    for (round, is_kept) in [(1, true), (2, false)] {
        lists(&dir.join("new"));
        if is_kept {
            fs::rename(dir.join("lists"), dir.join("old")).expect("writable");
        } else {
            fs::remove_dir_all(dir.join("lists")).expect("writable");
        }
        fs::rename(dir.join("new"), dir.join("lists")).expect("writable");
        let copies = 2 * round;
        eventually("the copies are noticed", || {
            let noticed = gate.stderr().matches("a file was replaced by a copy").count();
            (noticed >= copies).then_some(())
        });
        let path = dir.join("lists/abusers.txt");
        let text = denied(0);
        let cut = after_lines(&text, 999) + 4;
        let report = gate.reload_after(|| fs::write(&path, &text[..cut]).expect("writable"));
        assert_eq!(report["result"], "rejected", "round {round}: {report}");
        assert_refuses(&gate, "127.1.3.231");
        let report = gate.reload_after(|| fs::write(&path, &text).expect("writable"));
        assert_eq!(report["result"], "unchanged", "round {round}: {report}");
        assert_refuses(&gate, "127.1.3.231");
    }
}

/// Other programs open and close a list while its writer pauses.
#[test]
fn a_list_that_is_touched_while_it_is_written() {
    let redis = Redis::plain();
    let gate = watching(&redis, "127.0.0.0/8\n", &denied(0));
    let path = gate.directory().join("abusers.txt");
    let text = denied(1);
    let write = || {
        let mut file = File::create(&path).expect("writable");
        let (first, rest) = text.split_at(after_lines(&text, 700));
        file.write_all(first.as_bytes()).expect("writable");
        for _ in 0..4 {
            sleep(PAUSE / 4);
            let touched = File::options().append(true).open(&path).expect("writable");
            touched.set_modified(SystemTime::now()).expect("writable");
            drop((touched, fs::read(&path).expect("readable")));
        }
        file.write_all(rest.as_bytes()).expect("writable");
    };
    assert_refuses_meanwhile(&gate, &ALWAYS_DENIED, write, || is_denied(&gate, "127.21.3.0"));
    gate.assert_log("because a program still writes");
    assert_admits(&gate, "127.20.3.0");
}

/// A reload on request waits for the file as well, because logrotate may send the signal. It answers after the wait.
#[test]
fn a_reload_on_request_waits() {
    let redis = Redis::plain();
    let yaml = YAML.replace("DIR/", "");
    let gate = Gate::before(&redis)
        .config(&yaml)
        .file("listed.txt", "127.0.0.0/8\n")
        .file("abusers.txt", &denied(0));
    let gate = gate.start();
    let text = denied(1);
    fs::write(gate.directory().join("abusers.txt"), &text[..after_lines(&text, 480)]).expect("writable");
    gate.configure(&gate.fill(&edit(&yaml, "[abusers]", "[abusers, 127.0.0.9]")));
    gate.send_sighup();
    gate.assert_log("abusers.txt shrank from 1,000 to 480 entries");
    // One generation contains the whole change or nothing of it.
    assert!(gate.audited("reload").is_empty());
    assert_admits(&gate, "127.0.0.9");
    assert_refuses(&gate, "127.1.3.231");
    let report = eventually("it is applied", || gate.audited("reload").into_iter().next());
    assert_eq!(report["result"], "applied", "{report}");
    assert_refuses(&gate, "127.0.0.9");
    assert_admits(&gate, "127.1.3.231");
}

/// At the start there is no earlier version to compare with, so the proxy only warns.
#[test]
fn a_start_with_a_list_that_may_be_cut() {
    let redis = Redis::plain();
    let gate = watching(&redis, "127.0.0.1\n127.0.0.2", "127.1.0.1\n");
    gate.assert_log("listed.txt:2:1: warning: the list does not end with a newline: it may have been cut");
    assert_admits(&gate, "127.0.0.2");
}
