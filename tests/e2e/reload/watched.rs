//! Watched files that change in the ways in which tools change files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::{Gate, GateBuilder, Redis, holds_for};

use super::{BASE, assert_admits, assert_refuses, edit};

/// A configuration that reads a file of each kind.
const WATCHED: &str = "\
listeners:
  - {name: public, bind: '127.0.0.1:{port}', upstream: main, allow: [127.0.0.1, listed, plain]}
upstreams: {main: {address: {redis}, credentials: {password: {file: password}}}}
groups: {listed: {file: listed.yaml}, plain: {file: plain.txt}}
admin: {bind: '127.0.0.1:{admin}'}
";

/// The time between two reads that must be equal before the proxy accepts a file.
const SETTLED: Duration = Duration::from_millis(250);

fn watching(redis: &Redis) -> GateBuilder {
    Gate::before(redis)
        .config(WATCHED)
        .file("listed.yaml", "- 127.0.0.3\n")
        .file("plain.txt", "127.0.0.5\n")
        .file("password", "canary-old\n")
        .secret("canary-old")
        .secret("canary-new")
}

/// Returns the new content of each file.
fn edits() -> [(&'static str, String); 4] {
    [
        ("listed.yaml", "- 127.0.0.3\n- {cidr: 127.0.0.4, note: added}\n".to_owned()),
        ("plain.txt", "127.0.0.5\n127.0.0.6   # added\n".to_owned()),
        ("password", "canary-new\n".to_owned()),
        ("portcullis.yaml", edit(WATCHED, "[127.0.0.1, ", "[127.0.0.1, 127.0.0.9, ")),
    ]
}

#[track_caller]
fn assert_all_in_force(gate: &Gate) {
    for source in ["127.0.0.4", "127.0.0.6", "127.0.0.9"] {
        assert_admits(gate, source);
    }
    assert_refuses(gate, "127.0.0.7");
}

#[track_caller]
fn assert_no_more_reloads(gate: &Gate) {
    let before = gate.audited("reload").len();
    holds_for(Duration::from_millis(1500), "no more reloads", || gate.audited("reload").len() == before);
}

#[test]
fn renamed_into_place() {
    let redis = Redis::plain();
    let mut gate = watching(&redis).start();
    let mut stays = assert_admits(&gate, "127.0.0.1");
    for (generation, (name, text)) in (2..).zip(edits()) {
        let report = gate.reload_after(|| gate.put(name, &text));
        assert_eq!(report["result"], "applied", "{name}: {report}");
        assert_eq!(report["trigger"], "watch", "{name}: {report}");
        assert_eq!(report["generation"], generation, "{name}: {report}");
    }
    assert_all_in_force(&gate);
    stays.assert_reply("PING", "+PONG");
    // Reading a file must not count as a change of the file.
    gate.put("plain.txt", "127.0.0.5\n127.0.0.6\n127.0.0.8\n");
    let share = gate.process().cpu_share_over(Duration::from_secs(2));
    assert!(share < 0.15, "a changed file costs {:.0} % of a core", share * 100.0);
    assert_admits(&gate, "127.0.0.8");
    assert_no_more_reloads(&gate);
}

/// A file is truncated and written in pieces. The proxy never applies a part of it.
#[test]
fn written_in_place_slowly() {
    let redis = Redis::plain();
    let gate = watching(&redis).start();
    let mut stays = assert_admits(&gate, "127.0.0.3");
    for (name, text) in edits() {
        let mut longest = Duration::ZERO;
        let before = gate.audited("reload").len();
        let report = gate.reload_after(|| longest = write_slowly(&gate, name, &text));
        // If the machine stops the writer for so long, the partly written file does look complete.
        if longest < SETTLED - Duration::from_millis(50) {
            assert_eq!(report["result"], "applied", "{name}: {report}");
            assert_eq!(gate.audited("reload").len(), before + 1, "{name}");
            stays.assert_reply("PING", "+PONG");
        }
    }
    e2e::eventually("all files are read", || {
        let allowed = |ip: &str| gate.get(&format!("/api/explain?ip={ip}")).1.contains("\"allowed\":true");
        ["127.0.0.4", "127.0.0.6", "127.0.0.9"].iter().all(|ip| allowed(ip)).then_some(())
    });
    assert_all_in_force(&gate);
}

/// Writes a file slowly. Returns the longest time between two writes while the file was incomplete.
fn write_slowly(gate: &Gate, name: &str, text: &str) -> Duration {
    let text = gate.fill(text);
    let mut file = File::create(gate.directory().join(name)).expect("writable");
    let mut longest = Duration::ZERO;
    for piece in text.as_bytes().chunks(text.len().div_ceil(6)) {
        let left = Instant::now();
        sleep(Duration::from_millis(60));
        file.write_all(piece).expect("writable");
        longest = longest.max(left.elapsed());
    }
    longest
}

/// While a file is missing, the last good policy stays.
#[test]
fn deleted_and_created() {
    let redis = Redis::plain();
    let gate = watching(&redis).start();
    let mut stays = assert_admits(&gate, "127.0.0.1");
    for (name, text) in edits() {
        let gone = gate.reload_after(|| fs::remove_file(gate.directory().join(name)).expect("it is there"));
        assert_eq!(gone["result"], "rejected", "{name}: {gone}");
        assert_eq!(gone["problems"][0]["severity"], "error", "{name}: {gone}");
        assert!(gate.metric("config_last_reload_successful", &[]) == 0.0, "{name}");
        assert_admits(&gate, "127.0.0.3");
        let back = gate.reload_after(|| {
            fs::write(gate.directory().join(name), gate.fill(&text)).expect("writable");
        });
        assert_eq!(back["result"], "applied", "{name}: {back}");
        gate.assert_metric("config_last_reload_successful", &[], 1.0);
    }
    assert_all_in_force(&gate);
    stays.assert_reply("PING", "+PONG");
}

/// A ConfigMap mount of Kubernetes. The files are links into `..data`, which is a link that is replaced as a whole.
#[test]
fn a_link_above_the_files_is_swapped() {
    let redis = Redis::plain();
    let gate = watching(&redis).start();
    let dir = gate.directory();
    fs::create_dir(dir.join("..v1")).and_then(|()| symlink("..v1", dir.join("..data"))).expect("writable");
    for (name, _) in edits() {
        fs::copy(dir.join(name), dir.join("..v1").join(name)).expect("writable");
        let link = dir.join(format!(".{name}.link"));
        symlink(format!("..data/{name}"), &link).expect("writable");
        fs::rename(link, dir.join(name)).expect("writable");
    }
    assert_no_more_reloads(&gate);
    for version in ["..v2", "..v3"] {
        fs::create_dir(dir.join(version)).expect("writable");
        for (name, text) in edits() {
            let text = if version == "..v3" && name == "plain.txt" { "127.0.0.6\n" } else { &text };
            fs::write(dir.join(version).join(name), gate.fill(text)).expect("writable");
        }
        let report = gate.reload_after(|| {
            symlink(version, dir.join("..data_tmp")).expect("writable");
            fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("writable");
        });
        assert_eq!(report["result"], "applied", "{version}: {report}");
        assert_eq!(report["trigger"], "watch", "{version}: {report}");
    }
    assert_eq!(gate.audited("reload").len(), 2, "one for each swap");
    assert_all_in_force(&gate);
    assert_refuses(&gate, "127.0.0.5");
}

/// With `reload: signal` the proxy does not watch files. A reload can change this setting.
#[test]
fn only_when_asked() {
    let redis = Redis::plain();
    let gate = start_signal(&redis);
    gate.configure(&edit(BASE, "[127.0.0.1]", "[127.0.0.2]"));
    holds_for(Duration::from_millis(2500), "no reload", || gate.audited("reload").is_empty());
    assert_admits(&gate, "127.0.0.1");
    assert_eq!(gate.reload()["result"], "applied");
    assert_admits(&gate, "127.0.0.2");
    let watching = edit(BASE, "reload: signal", "reload: watch");
    gate.apply(&watching);
    let report = gate.reload_after(|| gate.configure(&edit(&watching, "[127.0.0.1]", "[127.0.0.3]")));
    assert_eq!((&report["result"], &report["trigger"]), (&"applied".into(), &"watch".into()), "{report}");
    assert_admits(&gate, "127.0.0.3");
}

fn start_signal(redis: &Redis) -> Gate {
    super::start(redis, BASE)
}
