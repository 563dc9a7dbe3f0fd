use std::ffi::OsStr;
use std::sync::{Arc, Mutex};

use super::*;

/// Returns the lines that a subscriber of that format and level writes during `events`.
pub(super) fn logged(format: LogFormat, level: LogLevel, events: impl FnOnce()) -> String {
    let out = Memory::default();
    let layer = match format {
        LogFormat::Text => text_layer(out.clone(), filter(level)),
        LogFormat::Json => json_layer(out.clone(), filter(level)),
    };
    written(&out, layer, events)
}

/// Returns the lines that a terminal with these values of `NO_COLOR` and `TERM` gets.
fn on_terminal(no_color: Option<&str>, term: &str, events: impl FnOnce()) -> String {
    let (out, form) = (Memory::default(), ForTerminal::of(no_color.map(OsStr::new), Some(OsStr::new(term))));
    let layer = terminal_layer(out.clone(), form, filter(LogLevel::Info));
    written(&out, layer, events)
}

fn written(out: &Memory, layer: BoxedLayer, events: impl FnOnce()) -> String {
    tracing::subscriber::with_default(Registry::default().with(layer), events);
    let bytes = out.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn form_and_level_change_while_the_log_runs() {
    let (out, settings) = (Memory::default(), Log::new);
    let first = settings(LogFormat::Text, LogLevel::Info);
    let (text, text_level) = reload::Layer::new(level_of(&first, LogFormat::Text));
    let (json, json_level) = reload::Layer::new(level_of(&first, LogFormat::Json));
    let subscriber =
        Registry::default().with(vec![text_layer(out.clone(), text), json_layer(out.clone(), json)]);
    let levels = Levels { text: text_level, json: json_level };
    tracing::subscriber::with_default(subscriber, || {
        let say = |n: u32| {
            tracing::info!(target: "portcullis", n, "info");
            tracing::debug!(target: "portcullis", n, "debug");
        };
        say(1);
        levels.change(&settings(LogFormat::Json, LogLevel::Debug));
        say(2);
        levels.change(&settings(LogFormat::Text, LogLevel::Error));
        say(3);
    });
    let bytes = out.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].ends_with("INFO info n=1"));
    assert!(lines[1].starts_with('{') && lines[1].contains("\"info\""));
    assert!(lines[2].contains("\"debug\"") && lines[2].contains("\"n\":2"));
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Memory {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[test]
fn a_text_line_has_time_level_message_and_fields() {
    let text = logged(LogFormat::Text, LogLevel::Info, || tracing::info!(listener = %"public", "listening"));
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-11-22T13:25:48.123456Z".len(), "{text}");
    assert_eq!(rest, " INFO listening listener=public\n");
}

#[test]
fn a_line_on_a_terminal_has_colours_where_they_are_wanted() {
    let events = || tracing::warn!(listener = %"public", n = 3, text = "two words", "a message");
    let plain = " WARN  a message listener=public n=3 text=\"two words\"\n";
    for (no_color, term) in [(Some("1"), "xterm"), (None, "dumb"), (None, ""), (Some("0"), "xterm")] {
        let text = on_terminal(no_color, term, events);
        let (time, rest) = text.split_at("2026-11-22 13:25:48Z".len());
        assert!(time.ends_with('Z') && rest == plain, "{no_color:?} {term:?}: {text:?}");
    }
    for no_color in [None, Some("")] {
        let text = on_terminal(no_color, "xterm-256color", events);
        let level = "Z\x1b[0m \x1b[33mWARN \x1b[0m a message \x1b[2mlistener=\x1b[0mpublic";
        assert!(text.contains(level), "{text:?}");
    }
}

#[test]
fn a_terminal_gets_no_control_character_but_those_of_the_colours() {
    let evil = "a\r\n\x1b[2J\u{9b}31m\u{202e}\x7f\0";
    for term in ["dumb", "xterm"] {
        let text = on_terminal(None, term, || tracing::info!(text = %evil, debug = ?evil, "{evil}"));
        let text = text.replace("\x1b[0m", "").replace("\x1b[2m", "").replace("\x1b[32m", "");
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(text.trim_end_matches('\n').chars().all(|character| !character.is_control()), "{text:?}");
        assert!(text.contains("a\\x0d\\x0a\\x1b[2J\\u{9b}31m\\u{202e}"), "{text:?}");
    }
}

#[test]
fn a_json_line_is_one_flat_object() {
    let text = logged(LogFormat::Json, LogLevel::Info, || {
        tracing::warn!(listener = %"public", n = 3, "a \"quoted\"\nmessage");
    });
    let json: serde_json::Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!(json["level"], "WARN");
    assert_eq!(json["message"], "a \"quoted\"\nmessage");
    assert_eq!(json["listener"], "public");
    assert_eq!(json["n"], 3);
    assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn the_level_is_ours_and_libraries_are_heard_only_when_something_is_wrong() {
    let text = logged(LogFormat::Text, LogLevel::Debug, || {
        tracing::debug!("ours");
        tracing::trace!("ours in detail");
        tracing::info!(target: "hyper::proto", "library");
        tracing::warn!(target: "hyper::proto", "library in trouble");
    });
    assert!(text.contains("ours") && text.contains("in trouble"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    let text = logged(LogFormat::Text, LogLevel::Error, || tracing::warn!(target: "hyper::proto", "library"));
    assert_eq!(text, "");
}

/// Threat 29: text that a client chose stays inside its line, in both formats, escaped by the caller or not.
#[test]
fn clients_cannot_forge_lines_or_steer_terminals() {
    let evil = "a\r\n2026-01-01T00:00:00Z ERROR forged\x1b[2J\u{9b}31m\u{2028}\u{202e}\x7f\0";
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = logged(format, LogLevel::Info, || {
            tracing::info!(text = %evil, "unescaped {evil}");
            tracing::info!(text = %Escaped::new(evil), "escaped {}", Escaped::new(b"\xff\xfe\n"));
        });
        assert_eq!(text.lines().count(), 2, "{text:?}");
        for character in text.chars().filter(|character| *character != '\n') {
            assert!(!character.is_control(), "{text:?}");
        }
        if format == LogFormat::Json {
            let json: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert_eq!(json["text"], evil, "nothing is lost");
        }
        assert!(text.contains("\\xff\\xfe\\x0a") || text.contains("\\\\xff\\\\xfe\\\\x0a"), "{text:?}");
    }
}

#[test]
fn escaped_text_is_bounded_and_unambiguous() {
    assert_eq!(Escaped::new("plain ünï").to_string(), "plain ünï");
    assert_eq!(Escaped::new("a\\x1b\x1b").to_string(), "a\\\\x1b\\x1b");
    assert_eq!(Escaped::new(&[b'x'; 129]).to_string(), format!("{}...", "x".repeat(128)));
    assert_eq!(Escaped::new("\u{85}").to_string(), "\\u{85}");
}

#[test]
fn a_failing_sink_counts_and_a_full_queue_drops_without_waiting() {
    struct Never;
    impl Write for Never {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let before = FAILED.load(Relaxed);
    assert_eq!(Lossy(Never).write(b"line\n").unwrap(), 5);
    assert!(FAILED.load(Relaxed) > before);

    let (stalled, release) = std::sync::mpsc::channel::<()>();
    struct Stalled(std::sync::mpsc::Receiver<()>);
    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (mut lines, guard) = queue(Stalled(release));
    for _ in 0..QUEUE_LINES + 100 {
        lines.write_all(b"line\n").unwrap();
    }
    assert!(lines.error_counter().dropped_lines() >= 98, "{}", lines.error_counter().dropped_lines());
    drop(stalled);
    drop(guard);
}

#[test]
fn a_panic_is_told_by_its_place() {
    let here = panic::Location::caller();
    let text = captured(|| log_panic(Some(here)));
    assert!(text.contains(&format!("panicked at {}:{}: this is a bug", here.file(), here.line())), "{text}");
}
