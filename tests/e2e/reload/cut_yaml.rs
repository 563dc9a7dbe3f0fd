//! YAML files that are cut after a complete line, or whose writer pauses there. Each is a whole configuration that
//! refuses less.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use e2e::{Gate, Redis};

use super::{assert_admits, assert_refuses, edit};

/// A configuration whose last lines are the rules of its listener.
const YAML: &str = "\
admin: {bind: '127.0.0.1:{admin}'}
upstreams: {main: {address: {redis}}}
groups:
  office: [127.0.0.0/8]
  abusers: [127.0.0.66]
listeners:
  - name: public
    bind: '127.0.0.1:{port}'
    upstream: main
    allow: [office]
    acl: '@public'
    deny: [abusers]
";

/// The first cut that leaves a valid configuration: the listener has its upstream, and none of its rules.
const FIRST_VALID: usize = 8;

/// The pause of a writer. It is longer than the time for which a file must stay unchanged.
const PAUSE: Duration = Duration::from_secs(2);

/// The beginning of each file of `text` that ends after a line, without the empty one and the whole.
fn cuts(text: &str) -> Vec<&str> {
    text.match_indices('\n').map(|(at, _)| &text[..=at]).filter(|cut| cut.len() < text.len()).collect()
}

/// Runs `write`. Checks that a source and a command that every version refuses are refused all the time.
fn assert_refuses_meanwhile(gate: &Gate, write: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    scope(|threads| {
        let prober = threads.spawn(|| {
            let mut probes = 0_u32;
            while !done.load(Ordering::Relaxed) {
                assert_refuses(gate, "127.0.0.66");
                let mut client = gate.connect_from("127.0.0.5", "127.0.0.1");
                let answer = client.call("CONFIG GET maxmemory").to_string();
                assert!(answer.starts_with("-NOPERM"), "{answer}");
                probes += 1;
                sleep(Duration::from_millis(2));
            }
            probes
        });
        // A panic must end the prober as well.
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(write));
        done.store(true, Ordering::Relaxed);
        let probes = prober.join();
        if let Err(panic) = written {
            std::panic::resume_unwind(panic);
        }
        assert!(probes.expect("nothing was admitted") > 10);
    });
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("writable");
}

/// The file is cut in place at each line end, as by a full disk, and stays so.
#[test]
fn a_main_file_that_is_cut() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(YAML).start();
    let path = gate.directory().join("portcullis.yaml");
    let full = fs::read_to_string(&path).expect("readable");
    assert_refuses_meanwhile(&gate, || {
        for cut in cuts(&full) {
            let report = gate.reload_after(|| write(&path, cut));
            assert_eq!(report["result"], "rejected", "{cut}: {report}");
            assert_eq!(report["problems"][0]["line"], cut.lines().count(), "{report}");
            // On request as well: the program that asks may be the one that has not finished the file.
            assert_eq!(gate.reload()["result"], "rejected", "{cut}");
        }
        let report = gate.reload_after(|| write(&path, &full));
        assert_eq!(report["result"], "unchanged", "{report}");
    });
    gate.assert_log(
        "portcullis.yaml:11:1: error: the file ends on line 11, and the version in force has 12 lines",
    );
    assert_admits(&gate, "127.0.0.5");
    // A comment says that the shorter file is whole.
    let report = gate.reload_after(|| write(&path, &full.replace("    deny: [abusers]\n", "    # none\n")));
    assert_eq!(report["result"], "applied", "{report}");
    assert_admits(&gate, "127.0.0.66");
}

/// A writer of a new version pauses at each line end, and closes the file meanwhile. The version has another first line, so
/// its part is not the beginning of the version in force.
#[test]
fn a_writer_pauses_in_a_main_file() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).config(YAML).start();
    let path = gate.directory().join("portcullis.yaml");
    let old = fs::read_to_string(&path).expect("readable");
    let new = edit(&old, "[127.0.0.66]", "[127.0.0.66, 127.0.0.77]");
    assert_refuses_meanwhile(&gate, || {
        for (number, cut) in cuts(&new).into_iter().enumerate() {
            let is_valid = number >= FIRST_VALID;
            if !is_valid {
                let report = gate.reload_after(|| write(&path, cut));
                assert_eq!(report["result"], "rejected", "{cut}: {report}");
                continue;
            }
            let report = gate.reload_after(|| {
                write(&path, cut);
                sleep(PAUSE);
                write(&path, &new);
            });
            assert_eq!(report["result"], "applied", "{cut}: {report}");
            assert_refuses(&gate, "127.0.0.77");
            let report = gate.reload_after(|| gate.configure(YAML));
            assert_eq!(report["result"], "applied", "{cut}: {report}");
            assert_admits(&gate, "127.0.0.77");
        }
    });
    gate.assert_log("portcullis.yaml no longer has all of listeners.public.acl");
    gate.assert_log("portcullis.yaml no longer has all of listeners.public.deny");
}
