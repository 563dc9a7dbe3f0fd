//! `/api/events`: server-sent events.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::session::cookie;
use super::*;

/// Opens the stream of events with these headers.
fn open(gate: &Gate, headers: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(gate.admin()).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut request = "GET /api/events HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for header in headers {
        request += &format!("{header}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("sent");
    stream
}

/// Reads until the text has been seen, or to the end. Returns everything that was read.
fn read_until(stream: &mut TcpStream, seen: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains(seen) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => text.push_str(&String::from_utf8_lossy(&buffer[..n])),
        }
    }
    text
}

#[test]
fn samples_come_each_second_and_have_no_inner_address() {
    let redis = Redis::plain();
    let gate = before(&redis, BASE).start();
    let mut client = assert_admits(&gate, "127.0.0.1");
    let mut stream = open(&gate, &[]);
    client.assert_reply("GET key", "nil");
    let text = read_until(&mut stream, "}\n\n");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    let data = text.split("data: ").nth(1).and_then(|rest| rest.lines().next()).expect("a sample");
    let sample: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{e} in {data}"));
    assert_eq!((&sample["clients"], &sample["generation"]), (&json!(1), &json!(1)), "{sample}");
    assert!(!data.contains(&redis.address().to_string()), "{data}");
}

#[test]
fn events_want_the_token_and_end_with_the_session() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    assert_eq!(status(&gate, "GET /api/events", &[]), 401);
    let cookie = cookie(&gate);
    let mut stream = open(&gate, &[&cookie]);
    assert!(read_until(&mut stream, "event: sample").contains("event: sample"));
    assert_eq!(status(&gate, "DELETE /api/session", &[&cookie, "X-Portcullis: 1"]), 200);
    let mut rest = Vec::new();
    // The end, or a reset.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(status(&gate, "GET /api/events", &[&cookie]), 401);
}

/// Viewers that do not read hold a few kilobytes each. They delay neither monitoring nor the other viewers, and a new
/// one takes the place of the oldest.
#[test]
fn viewers_that_do_not_read_disturb_no_one() {
    let redis = Redis::plain();
    let gate = before(&redis, BASE).start();
    let idle: Vec<TcpStream> = (0..40).map(|_| open(&gate, &[])).collect();
    let mut reader = open(&gate, &[]);
    for _ in 0..3 {
        assert!(read_until(&mut reader, "event: sample").contains("event: sample"));
    }
    for _ in 0..50 {
        assert_eq!(gate.get("/live").0, 200);
    }
    // Requests that are never finished take no place from a viewer.
    let held: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(gate.admin()).expect("connected");
            stream.write_all(b"GET /api/status HTT").expect("sent");
            stream
        })
        .collect();
    assert_eq!(gate.get("/live").0, 200);
    assert!(read_until(&mut reader, "event: sample").contains("event: sample"));
    assert_admits(&gate, "127.0.0.1");
    drop((idle, held));
}

#[test]
fn an_oversized_body_is_refused() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let body = json!({"cidr": "192.0.2.1", "note": "x".repeat(100_000)});
    for path in ["/api/groups/office/entries", "/api/sources/unblock", "/api/session"] {
        let (code, answer) = http::post_json(gate.admin(), path, TOKEN, &body).expect("an answer");
        assert!(code == 413 && answer.contains(r#""error":"body""#), "{path}: {code} {answer}");
    }
}
