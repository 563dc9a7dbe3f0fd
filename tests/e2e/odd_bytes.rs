//! Bytes that no client library sends. The tests compare the reaction of Redis with that of the proxy, which is never
//! more lenient.

use std::time::Duration;

use e2e::client::{command, encode};
use e2e::{Client, Stage, Way, behaviours};

/// The reply, and the state of the connection after it.
#[derive(Clone, Copy)]
enum Answer {
    /// These bytes. The connection stays open.
    Goes(&'static str),
    /// These bytes, and then the close.
    Ends(&'static str),
    /// The close at once. The pending replies may be missing.
    Cut(&'static str),
    /// No reply, because the server waits for more bytes.
    Waits,
    /// The close within the frame timeout, with or without a protocol error.
    EndsSomehow,
}

use Answer::{Cut, Ends, EndsSomehow, Goes, Waits};

const FRAMING: Answer = Ends("-ERR Protocol error: invalid request framing\r\n");
const MULTIBULK: Answer = Ends("-ERR Protocol error: invalid multibulk length\r\n");
const BULK: Answer = Ends("-ERR Protocol error: invalid bulk length\r\n");

/// The input, the reaction of Redis 7.0, the reaction of the proxy, and whether Redis sets the key `smuggled`.
struct Row(&'static [u8], Answer, Answer, bool);

const ROWS: &[Row] = &[
    // Invalid line ends.
    Row(b"*3\n$3\nSET\n$8\nsmuggled\n$1\n1\n", Waits, EndsSomehow, false),
    Row(b"*3\rX$3\rXSET\rX$8\rXsmuggled\rX$1\rX1\rX", Goes("+OK\r\n"), FRAMING, true),
    Row(b"*3\r\r$3\r\rSET\r\r$8\r\rsmuggled\r\r$1\r\r1\r\r", Goes("+OK\r\n"), FRAMING, true),
    Row(b"*3\r\n$3\r\nSETxx$8\r\nsmuggledxx$1\r\n1xx", Goes("+OK\r\n"), FRAMING, true),
    Row(b"*3\r\n$3\r\nSET\r\n$8\r\nsmuggled\r\n$1\r\n1xx", Goes("+OK\r\n"), FRAMING, true),
    Row(b"*3\r\n$3\r\nSET\r\n$8\r\nsmuggled\r\n$1\r\n1\n\r", Goes("+OK\r\n"), FRAMING, true),
    // Lengths that are not canonical.
    Row(b"*+1\r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*01\r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"* 1\r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*1 \r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*-0\r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*\r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*1x\r\n$4\r\nPING\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*123456789012345678901\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*1\r\n$04\r\nPING\r\n", BULK, BULK, false),
    Row(b"*1\r\n$+4\r\nPING\r\n", BULK, BULK, false),
    Row(b"*1\r\n$ 4\r\nPING\r\n", BULK, BULK, false),
    Row(b"*1\r\n$\r\nPING\r\n", BULK, BULK, false),
    Row(b"*1\r\n$-0\r\nPING\r\n", BULK, BULK, false),
    Row(b"*1\r\n$123456789012345678901\r\n", BULK, BULK, false),
    // Empty commands get no reply.
    Row(b"*0\r\n*1\r\n$4\r\nPING\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"*-1\r\n*1\r\n$4\r\nPING\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"*-10\r\n*1\r\n$4\r\nPING\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"\r\n\n   \r\n\t\n*1\r\n$4\r\nPING\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    // Other types at the place of a bulk string, and at the top level.
    Row(b"*1\r\n$-1\r\n", BULK, BULK, false),
    Row(
        b"*1\r\n:5\r\n",
        Ends("-ERR Protocol error: expected '$', got ':'\r\n"),
        Ends("-ERR Protocol error: expected '$', got ':'\r\n"),
        false,
    ),
    Row(
        b"*1\r\n*3\r\n$3\r\nSET\r\n$8\r\nsmuggled\r\n$1\r\n1\r\n",
        Ends("-ERR Protocol error: expected '$', got '*'\r\n"),
        Ends("-ERR Protocol error: expected '$', got '*'\r\n"),
        false,
    ),
    Row(
        b"*1\r\n~1\r\n",
        Ends("-ERR Protocol error: expected '$', got '~'\r\n"),
        Ends("-ERR Protocol error: expected '$', got '~'\r\n"),
        false,
    ),
    Row(
        b"*1\r\n>1\r\n",
        Ends("-ERR Protocol error: expected '$', got '>'\r\n"),
        Ends("-ERR Protocol error: expected '$', got '>'\r\n"),
        false,
    ),
    Row(
        b"~1\r\n",
        Goes("-ERR unknown command '~1', with args beginning with: \r\n"),
        Goes("-ERR unknown command '~1', with args beginning with: \r\n"),
        false,
    ),
    Row(
        b"*1\r\n$0\r\n\r\n",
        Goes("-ERR unknown command '', with args beginning with: \r\n"),
        Goes("-ERR unknown command '', with args beginning with: \r\n"),
        false,
    ),
    // A leading space makes three inline commands of it.
    Row(
        b" *1\r\n$4\r\nPING\r\n",
        Goes(
            "-ERR unknown command '*1', with args beginning with: \r\n\
             -ERR unknown command '$4', with args beginning with: \r\n+PONG\r\n",
        ),
        Goes(
            "-ERR unknown command '*1', with args beginning with: \r\n\
             -ERR unknown command '$4', with args beginning with: \r\n+PONG\r\n",
        ),
        false,
    ),
    // Inline commands.
    Row(b"\"PI\\x4eG\"\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"'PING'\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"\tPING\r\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"PING\n", Goes("+PONG\r\n"), Goes("+PONG\r\n"), false),
    Row(b"SET\tsmuggled\t1\n", Goes("+OK\r\n"), Goes("+OK\r\n"), true),
    Row(
        b"ECHO\x0bhi\r\n",
        Goes("-ERR unknown command 'ECHO\x0bhi', with args beginning with: \r\n"),
        Goes("-ERR unknown command 'ECHO\x0bhi', with args beginning with: \r\n"),
        false,
    ),
    Row(b"\x0bECHO hi\r\n", Goes("$2\r\nhi\r\n"), Goes("$2\r\nhi\r\n"), false),
    Row(b"ECHO \"a\\x00\\r\\n\\\"b\"\r\n", Goes("$6\r\na\0\r\n\"b\r\n"), Goes("$6\r\na\0\r\n\"b\r\n"), false),
    Row(b"ECHO 'it\\'s \\x41'\r\n", Goes("$9\r\nit's \\x41\r\n"), Goes("$9\r\nit's \\x41\r\n"), false),
    Row(b"SET smuggled\0 1\r\n", Waits, FRAMING, false),
    Row(
        b"SET \"smuggled 1\r\n",
        Ends("-ERR Protocol error: unbalanced quotes in request\r\n"),
        Ends("-ERR Protocol error: unbalanced quotes in request\r\n"),
        false,
    ),
    Row(
        b"SET \"smuggled\"1\r\n",
        Ends("-ERR Protocol error: unbalanced quotes in request\r\n"),
        Ends("-ERR Protocol error: unbalanced quotes in request\r\n"),
        false,
    ),
    Row(
        b"GET \"x\\x4\r\n",
        Ends("-ERR Protocol error: unbalanced quotes in request\r\n"),
        Ends("-ERR Protocol error: unbalanced quotes in request\r\n"),
        false,
    ),
    // Lengths above the limit. With lengths just below the limit, the server waits for more bytes.
    Row(b"*2147483647\r\n", Waits, MULTIBULK, false),
    Row(b"*2147483648\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*9223372036854775808\r\n", MULTIBULK, MULTIBULK, false),
    Row(b"*1048577\r\n$3\r\nDEL\r\n", Waits, MULTIBULK, false),
    Row(b"*1048576\r\n$3\r\nDEL\r\n", Waits, EndsSomehow, false),
    Row(b"*2\r\n$4\r\nECHO\r\n$536870912\r\n", Waits, EndsSomehow, false),
    Row(b"*2\r\n$4\r\nECHO\r\n$536870913\r\n", BULK, BULK, false),
    // HTTP requests are closed without a reply.
    Row(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nSET smuggled 1\r\n", Ends(""), Ends(""), false),
    Row(
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET smuggled 1\r\n",
        Cut("-ERR wrong number of arguments for 'get' command\r\n"),
        Cut("-ERR wrong number of arguments for 'get' command\r\n"),
        false,
    ),
    Row(b"post x\r\nSET smuggled 1\r\n", Ends(""), Ends(""), false),
    Row(b"hOsT: x\r\nSET smuggled 1\r\n", Ends(""), Ends(""), false),
    Row(b"*1\r\n$4\r\nPOST\r\nSET smuggled 1\r\n", Ends(""), Ends(""), false),
    Row(b"*2\r\n$5\r\nHost:\r\n$1\r\nx\r\nSET smuggled 1\r\n", Ends(""), Ends(""), false),
    Row(
        b"MULTI\r\nSET smuggled 1\r\nPOST x\r\nEXEC\r\n",
        Cut("+OK\r\n+QUEUED\r\n"),
        Cut("+OK\r\n+QUEUED\r\n"),
        false,
    ),
    // TLS on a plain port.
    Row(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Waits, Ends(""), false),
];

/// Starts a proxy that waits one second for the rest of a frame, and not 30 seconds.
fn stage(way: Way) -> Stage {
    let mut stage = Stage::new(way);
    let builder = e2e::Gate::before(&stage.redis).top("limits: {timeouts: {frame: 1s}}");
    stage.gate = match way {
        Way::Direct => None,
        Way::Passthrough => Some(builder.start()),
        Way::Trust | Way::Tls | Way::Shared => {
            let builder = builder.listener("auth: trust").password(e2e::scene::CANARY);
            Some(if stage.is_shared() {
                builder.upstream("connections: shared").start()
            } else {
                builder.start()
            })
        }
    };
    stage
}

fn check_rows(way: Way) {
    let stage = stage(way);
    let mut control = stage.redis.control();
    for Row(sent, redis, gate, executed) in ROWS {
        let answer = if stage.is_direct() { *redis } else { *gate };
        check_row(&stage, sent, answer);
        let executed = *executed && (stage.is_direct() || matches!(answer, Goes(_)));
        let due = if executed { ":1" } else { ":0" };
        assert_eq!(control.call("DEL smuggled").to_string(), due, "key set by {}", sent.escape_ascii());
    }
}

fn check_row(stage: &Stage, sent: &[u8], answer: Answer) {
    let shown = sent.escape_ascii().to_string();
    let mut client = stage.connect();
    client.send_raw(sent);
    match answer {
        Goes(bytes) => {
            let mut due = bytes.as_bytes().to_vec();
            client.send("ECHO alive");
            due.extend_from_slice(b"$5\r\nalive\r\n");
            assert_eq!(read_as_much(&mut client, due.len()), due.escape_ascii().to_string(), "after {shown}");
        }
        Ends(bytes) => {
            let (got, _) = client.read_to_end();
            assert_eq!(
                got.escape_ascii().to_string(),
                bytes.as_bytes().escape_ascii().to_string(),
                "after {shown}"
            );
        }
        Cut(bytes) => {
            let (got, _) = client.read_to_end();
            assert!(got.is_empty() || got == bytes.as_bytes(), "{} after {shown}", got.escape_ascii());
        }
        Waits => client.assert_silent_for(Duration::from_millis(100)),
        EndsSomehow => {
            let got = String::from_utf8_lossy(&client.read_to_end().0).into_owned();
            let due = got.is_empty() || (got.starts_with("-ERR Protocol error: ") && got.ends_with("\r\n"));
            assert!(due, "{got:?} after {shown}");
        }
    }
}

fn read_as_much(client: &mut Client, length: usize) -> String {
    let mut got = Vec::new();
    client.read_through(u64::try_from(length).expect("a length"), |bytes| got.extend_from_slice(bytes));
    got.escape_ascii().to_string()
}

#[test]
fn redis_itself() {
    check_rows(Way::Direct);
}

#[test]
fn through_the_gate_with_trust() {
    check_rows(Way::Trust);
}

#[test]
fn through_the_gate_on_shared_connections() {
    check_rows(Way::Shared);
}

#[test]
fn through_the_gate_with_passthrough() {
    check_rows(Way::Passthrough);
}

behaviours! {
    /// Checks each limit of Redis on a line without an end.
    fn endless_lines(scene: &Scene<'_>) {
        let endless = |start: &str| {
            let mut bytes = start.as_bytes().to_vec();
            bytes.resize(64 * 1024 + start.len() + 1, b'1');
            bytes
        };
        for (start, text) in [
            ("x", "too big inline request"),
            ("*", "too big mbulk count string"),
            ("*1\r\n$", "too big bulk count string"),
        ] {
            let mut client = scene.stage.connect();
            client.send_raw(&endless(start));
            client.assert_recv(&format!("-ERR Protocol error: {text}"));
            client.assert_closed();
        }
    }

    /// All pending replies arrive before the error.
    fn earlier_replies_come_before_the_error(scene: &Scene<'_>) {
        let mut client = scene.client();
        for i in 0..300 {
            client.hold(&command(&format!("ECHO {i}")));
        }
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("SET k v"));
        client.hold(b"*1\r\n$-5\r\n");
        client.send("SET never 1");
        for i in 0..300 {
            client.assert_recv(&format!(r#""{i}""#));
        }
        client.assert_recv("-ERR Protocol error: invalid bulk length");
        client.assert_closed();
        let mut control = scene.stage.redis.control();
        control.assert_reply("EXISTS k", ":1");
        control.assert_reply("EXISTS never", ":0");
    }

    /// The error waits for the reply to a blocked command.
    fn the_error_waits_for_a_blocked_command(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("BLPOP list 0"));
        client.send_raw(b"*x\r\n");
        e2e::eventually("the client waits", || {
            scene.stage.redis.control().call("INFO clients").text().contains("blocked_clients:1\r").then_some(())
        });
        scene.other().assert_reply("RPUSH list x", ":1");
        client.assert_recv(r#"["list" "x"]"#);
        client.assert_recv("-ERR Protocol error: invalid multibulk length");
        client.assert_closed();
    }

    /// Arguments and names may have any bytes and any length.
    fn any_bytes_as_arguments(scene: &Scene<'_>) {
        let mut client = scene.client();
        let all: Vec<u8> = (0..=255).collect();
        client.send_args(&[b"SET", &all, b"\r\n*1\r\n$4\r\nPING\r\n"]);
        client.assert_recv("+OK");
        client.send_args(&[b"GET", &all]);
        client.assert_recv(r#""\r\n*1\r\n$4\r\nPING\r\n""#);
        let many: Vec<Vec<u8>> = (0..20_000).map(|i| format!("k{i}").into_bytes()).collect();
        let mut exists: Vec<&[u8]> = vec![b"EXISTS"];
        exists.extend(many.iter().map(Vec::as_slice));
        client.send_raw(&encode(&exists));
        client.assert_recv(":0");
        let long = vec![b'N'; 100_000];
        client.send_args(&[&long, b"x"]);
        let text = client.recv().text();
        assert!(text.starts_with("ERR unknown command 'NNNN") && text.len() < 300, "{text}");
        client.assert_in_step("after");
    }
}
