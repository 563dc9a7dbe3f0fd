use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::gather::{MAX_SOURCES, WINDOW};
use super::*;

const SOURCE: &str = "203.0.113.9:4711";

fn source(text: &str) -> ClientAddr {
    ClientAddr::from_socket(text.parse().unwrap())
}

fn rule() -> Rule<'static> {
    Rule {
        group: Some("office"),
        group_index: Some(1),
        cidr: Some("203.0.113.0/24".parse().unwrap()),
        host: None,
        note: Some("a \"note\"\n"),
        owner: None,
        until: None,
        file: Some("groups/office.yaml"),
        line: 7,
    }
}

fn named(listener: &str) -> Arc<str> {
    listener.into()
}

fn to_file(path: &Path) -> Audit {
    Audit::start(&AuditPath::File(path.into()), Overflow::Drop).unwrap()
}

fn to(out: impl Write + Send + 'static, on_overflow: Overflow) -> Audit {
    Audit::start_on(Sink::on(AuditPath::Stdout, Box::new(out)), on_overflow).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn sum_of_counts(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["count"].as_u64().unwrap()).sum()
}

#[test]
fn each_event_is_one_line_with_all_its_facts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = to_file(&path);
    let rule = rule();
    let who = Subject { id: 17, source: source(SOURCE), listener: "public", rule: Some(&rule), user: None };
    audit.accepted(&who);
    audit.refused(source("[2001:db8::1]:9"), &named("local"), RefusedReason::NotAllowed, None);
    audit.refused(ClientAddr::unix(), &named("local"), RefusedReason::Denied, Some(&rule));
    let totals = Totals {
        bytes_from_client: 1,
        bytes_to_client: 2,
        commands: 3,
        denied: 4,
        duration: Duration::from_micros(1_500_000),
    };
    audit.closed(&Subject { user: Some("reporting"), ..who }, ClosedReason::Idle, &totals);
    audit.finish();

    let lines = lines(&path);
    let without_time = |line: &Value| {
        let mut line = line.clone();
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        line.as_object_mut().unwrap().remove("time");
        line
    };
    assert_eq!(lines.len(), 4);
    assert_eq!(
        without_time(&lines[0]),
        serde_json::json!({
            "event": "accepted", "id": 17, "source": SOURCE, "listener": "public", "group": "office",
            "entry": "203.0.113.0/24", "note": "a \"note\"\n", "file": "groups/office.yaml", "line": 7,
        })
    );
    assert_eq!(
        without_time(&lines[1]),
        serde_json::json!({
            "event": "refused", "source": "[2001:db8::1]:9", "listener": "local", "reason": "not_allowed", "count": 1,
        })
    );
    assert_eq!(
        without_time(&lines[2]),
        serde_json::json!({
            "event": "refused", "source": "unix", "listener": "local", "reason": "denied", "group": "office",
            "entry": "203.0.113.0/24", "note": "a \"note\"\n", "file": "groups/office.yaml", "line": 7, "count": 1,
        })
    );
    assert_eq!(
        without_time(&lines[3]),
        serde_json::json!({
            "event": "closed", "id": 17, "source": SOURCE, "listener": "public", "user": "reporting",
            "reason": "idle", "group": "office",
            "entry": "203.0.113.0/24", "note": "a \"note\"\n", "file": "groups/office.yaml", "line": 7,
            "bytes_from_client": 1, "bytes_to_client": 2, "commands": 3, "denied": 4, "seconds": 1.5,
        })
    );
    assert_eq!(audit.dropped(), 0);
}

#[test]
fn a_refusal_is_told_at_once_and_more_of_it_as_one_line_with_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = to_file(&path);
    for port in 1..=500 {
        audit.refused(
            source(&format!("203.0.113.9:{port}")),
            &named("public"),
            RefusedReason::NotAllowed,
            None,
        );
    }
    audit.refused(source(SOURCE), &named("public"), RefusedReason::Denied, None);
    audit.refused(source(SOURCE), &named("local"), RefusedReason::NotAllowed, None);
    let first = wait_for(&path, 3, Duration::from_millis(700));
    assert_eq!(sum_of_counts(&first), 3, "the first of each, without waiting for the second to pass");
    let all = wait_for(&path, 4, Duration::from_secs(3));
    assert_eq!(sum_of_counts(&all), 502);
    assert_eq!(all[3]["source"], "203.0.113.9:500");
    assert_eq!(all[3]["count"], 499);
    audit.finish();
    assert_eq!(lines(&path).len(), 4);
}

fn wait_for(path: &Path, count: usize, within: Duration) -> Vec<Value> {
    let deadline = Instant::now() + within;
    loop {
        let text = fs::read_to_string(path).unwrap();
        if text.lines().count() >= count && text.ends_with('\n') {
            return lines(path);
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_that_was_gathered_is_lost_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = to_file(&path);
    for host in 0..MAX_SOURCES + 50 {
        for _ in 0..3 {
            let text = format!("10.0.{}.{}:1", host / 256, host % 256);
            audit.refused(source(&text), &named("public"), RefusedReason::NotAllowed, None);
        }
    }
    audit.finish();
    let lines = lines(&path);
    assert_eq!(sum_of_counts(&lines), 3 * (u64::try_from(MAX_SOURCES).unwrap() + 50));
    let various: Vec<_> = lines.iter().filter(|line| line["source"] == "various").collect();
    assert_eq!(various.len(), 1, "sources beyond the table are one line");
    assert_eq!(various[0]["count"], 150);
    assert!(lines.len() <= 2 * MAX_SOURCES + 1);
}

#[test]
fn a_source_that_goes_on_gets_a_line_a_second_and_a_quiet_one_is_forgotten() {
    let mut gather = Gather::default();
    let start = Instant::now();
    let refuse = |gather: &mut Gather, at| {
        gather.add(
            source(SOURCE),
            &named("public"),
            Refusal::Connection(RefusedReason::Rate),
            None,
            start + Duration::from_millis(at),
        )
    };
    assert_eq!(refuse(&mut gather, 0), Gathered::First);
    assert_eq!(refuse(&mut gather, 10), Gathered::Held);
    assert!(gather.due(start + Duration::from_millis(999), false).is_empty());
    let told = gather.due(start + WINDOW, false);
    assert_eq!(told.iter().map(|told| told.count).collect::<Vec<_>>(), [1]);
    assert_eq!(refuse(&mut gather, 1500), Gathered::Held, "still gathered");
    assert_eq!(gather.next_due(), Some(start + 2 * WINDOW));
    assert_eq!(gather.due(start + 2 * WINDOW, false).len(), 1);
    assert!(gather.due(start + 3 * WINDOW, false).is_empty());
    assert_eq!(gather.next_due(), None);
    assert_eq!(refuse(&mut gather, 3100), Gathered::First, "forgotten, so reported at once again");
}

#[test]
fn a_moved_file_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
    let audit = to_file(&path);
    let who = Subject { id: 1, source: source(SOURCE), listener: "public", rule: None, user: None };
    audit.accepted(&who);
    wait_for(&path, 1, Duration::from_secs(2));
    fs::rename(&path, &moved).unwrap();
    audit.reopen();
    audit.accepted(&Subject { id: 2, ..who });
    audit.finish();
    assert_eq!((lines(&moved)[0]["id"].as_u64(), lines(&path)[0]["id"].as_u64()), (Some(1), Some(2)));
    assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
}

#[test]
fn a_file_that_cannot_be_opened_says_which() {
    let path = AuditPath::File("/nonexistent/audit.log".into());
    let error = Audit::start(&path, Overflow::Drop).unwrap_err();
    assert!(error.to_string().starts_with("cannot open audit output '/nonexistent/audit.log': "), "{error}");
}

#[test]
fn a_stalled_reader_never_holds_up_who_reports() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let audit = to(ours, Overflow::Drop);
    let rule = rule();
    let started = Instant::now();
    for id in 0..20_000 {
        audit.accepted(&Subject {
            id,
            source: source(SOURCE),
            listener: "public",
            rule: Some(&rule),
            user: None,
        });
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let dropped = audit.dropped();
    assert!(dropped > 0);

    let started = Instant::now();
    audit.finish();
    assert!(started.elapsed() < Duration::from_secs(4), "the end does not wait for ever either");

    let mut written = Vec::new();
    theirs.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let _ = theirs.read_to_end(&mut written);
    let written = written.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(u64::try_from(written).unwrap() + audit.dropped(), 20_000, "each line is written or counted");
}

#[test]
fn with_block_nothing_is_lost_to_a_slow_reader() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let audit = to(ours, Overflow::Block);
    let reader = thread::spawn(move || {
        let mut written = Vec::new();
        theirs.read_to_end(&mut written).unwrap();
        written
    });
    let rule = rule();
    for id in 0..20_000 {
        audit.accepted(&Subject {
            id,
            source: source(SOURCE),
            listener: "public",
            rule: Some(&rule),
            user: None,
        });
    }
    audit.finish();
    assert_eq!(audit.dropped(), 0);
    drop(audit);
    let written = reader.join().unwrap();
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 20_000);
}

/// A disk that becomes full in the middle of a line, and later has space again.
struct FullDisk {
    full: Arc<AtomicBool>,
    out: Arc<Mutex<Vec<u8>>>,
}

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = self.out.lock().unwrap();
        if !self.full.load(Ordering::Relaxed) {
            out.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if out.last() == Some(&b'\n') {
            out.extend_from_slice(&bytes[..10]);
            return Ok(10);
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_loses_counted_lines_and_tears_none_that_follow() {
    let (full, out) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let audit = to(FullDisk { full: Arc::clone(&full), out: Arc::clone(&out) }, Overflow::Drop);
    let report = |id| {
        audit.accepted(&Subject { id, source: source(SOURCE), listener: "public", rule: None, user: None })
    };
    let written = || String::from_utf8(out.lock().unwrap().clone()).unwrap();
    let until = |done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(3);
        while !done() {
            assert!(Instant::now() < deadline, "{}", written());
            thread::sleep(Duration::from_millis(5));
        }
    };
    report(1);
    until(&|| written().lines().count() == 1);
    full.store(true, Ordering::Relaxed);
    report(2);
    until(&|| audit.dropped() == 1);
    full.store(false, Ordering::Relaxed);
    report(3);
    audit.finish();
    let written = written();
    let ids: Vec<_> = written
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line["id"].as_u64())
        .collect();
    assert_eq!(ids, [1, 3], "{written}");
    assert_eq!(written.lines().count(), 3, "the torn line stands alone: {written}");
}

/// Threat 29: whatever a note contains, its line is a single line of valid JSON.
#[test]
fn text_cannot_break_out_of_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let audit = to_file(&path);
    let rule = Rule { note: Some("\r\n{\"event\":\"forged\"}\x1b[2J\u{2028}"), ..rule() };
    audit.accepted(&Subject {
        id: 1,
        source: source(SOURCE),
        listener: "public",
        rule: Some(&rule),
        user: None,
    });
    audit.finish();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.contains('\x1b') && !text.contains('\r'));
    assert_eq!(lines(&path)[0]["note"], rule.note.unwrap());
}

#[test]
fn the_log_has_the_same_facts() {
    let dir = tempfile::tempdir().unwrap();
    let audit = to_file(&dir.path().join("audit.log"));
    let rule = rule();
    let who = Subject { id: 17, source: source(SOURCE), listener: "public", rule: Some(&rule), user: None };
    let text = crate::log::captured(|| {
        audit.accepted(&who);
        for _ in 0..3 {
            audit.refused(source(SOURCE), &named("local"), RefusedReason::Denied, Some(&rule));
        }
        audit.closed(&who, ClosedReason::Client, &Totals { commands: 3, ..Totals::default() });
    });
    audit.finish();
    let facts = "group=office entry=203.0.113.0/24 file=groups/office.yaml line=7";
    let lines: Vec<_> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            format!("DEBUG accepted id=17 source={SOURCE} listener=public {facts}"),
            format!(" INFO refused source={SOURCE} listener=local reason=denied {facts} count=1"),
            format!(
                "DEBUG closed id=17 source={SOURCE} listener=public reason=client bytes_from_client=0 \
                 bytes_to_client=0 commands=3 denied=0 seconds=0.0"
            ),
        ],
        "of three refusals the log has the first; the others follow from the writer's thread"
    );
}
