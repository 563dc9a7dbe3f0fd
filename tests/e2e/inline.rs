//! Inline commands, as people type them into telnet.

use e2e::{Gate, Redis, behaviours};

behaviours! {
    fn a_telnet_session(scene: &Scene<'_>) {
        let mut client = scene.client();
        for (line, due) in [
            ("SET greeting \"hello world\"\r\n", "+OK"),
            ("get greeting\r\n", r#""hello world""#),
            ("  GET    greeting  \n", r#""hello world""#),
            ("EXISTS 'greeting' \"other\"\r\n", ":1"),
            ("SET empty \"\"\r\n", "+OK"),
            ("STRLEN empty\r\n", ":0"),
            ("NOSUCH 'a b'\r\n", "-ERR unknown command 'NOSUCH', with args beginning with: 'a b' "),
            ("PING\r\n", "+PONG"),
        ] {
            client.send_raw(line.as_bytes());
            client.assert_recv(due);
        }
        client.assert_in_step("after");
    }

    /// Inline commands, multibulk commands and blank lines arrive in one write.
    fn mixed_with_multibulk(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send_raw(
            b"SET a 1\r\n\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\nINCR a\n\n\n*0\r\nINCR a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        );
        for due in ["+OK", ":2", ":3", ":4", r#""4""#] {
            client.assert_recv(due);
        }
        client.assert_in_step("after");
    }

    /// Inline commands can change the state of the connection too.
    fn stateful_commands(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send_raw(b"client reply skip\r\nSET a 1\r\nmulti\r\nINCR a\r\nexec\r\nsubscribe x \"y\"\r\nunsubscribe\r\nreset\r\nGET a\r\n");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        client.assert_recv("[:2]");
        client.assert_recv(&scene.push(r#""subscribe" "x" :1"#));
        client.assert_recv(&scene.push(r#""subscribe" "y" :2"#));
        client.recv();
        assert_eq!(client.recv().items()[2].integer(), 0);
        client.assert_recv("+RESET");
        client.assert_recv(r#""2""#);
        client.assert_in_step("after");
        client.send_raw(b"quit\r\nSET late 1\r\n");
        client.assert_recv("+OK");
        client.assert_closed();
        scene.stage.redis.control().assert_reply("EXISTS late", ":0");
    }

    fn a_long_line_in_pieces(scene: &Scene<'_>) {
        let mut client = scene.client();
        let value = "v".repeat(60_000);
        client.send_raw(format!("SET long {value}").as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(20));
        client.send_raw(b"\r\nSTRLEN long\r\n");
        client.assert_recv("+OK");
        client.assert_recv(":60000");
        client.assert_in_step("after");
    }
}

/// With `inline_commands: false` an inline command is an error, and multibulk commands work.
#[test]
fn switched_off() {
    let redis = Redis::plain();
    let gate = Gate::before(&redis).listener("inline_commands: false").start();
    let mut client = gate.connect();
    client.assert_reply("SET a 1", "+OK");
    client.send_raw(b"SET b 1\r\n");
    let text = client.recv().text();
    assert!(text.starts_with("ERR Protocol error: "), "{text}");
    client.assert_closed();
    redis.control().assert_reply("EXISTS b", ":0");
}
