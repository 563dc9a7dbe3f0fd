//! The commands of a client keep their order, whichever connection carries each of them.

use e2e::client::{command, encode};
use e2e::{Client, Stage, Way};

use crate::alike;

/// Returns commands of every kind in a row, with their replies.
fn medley(round: usize, nil: &str, null_array: &str) -> Vec<(Vec<u8>, String)> {
    let line = |line: &str, due: &str| (command(line), due.to_owned());
    let key = format!("k{round}");
    vec![
        line(&format!("SET {key} {round}"), "+OK"),
        line("MULTI", "+OK"),
        line(&format!("INCR {key}"), "+QUEUED"),
        line("GET nothing", "+QUEUED"),
        line("EXEC", &format!("[:{} {nil}]", round + 1)),
        line(&format!("GET {key}"), &format!("\"{}\"", round + 1)),
        line(&format!("RPUSH l:{key} a b"), ":2"),
        line(&format!("BLPOP l:{key} 0"), &format!(r#"["l:{key}" "a"]"#)),
        line(&format!("LRANGE l:{key} 0 -1"), r#"["b"]"#),
        line("BLPOP nothing 0.01", null_array),
        (
            encode(&[
                b"EVAL",
                b"redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])",
                b"1",
                key.as_bytes(),
                b"scripted",
            ]),
            r#""scripted""#.to_owned(),
        ),
        line(&format!("APPEND {key} !"), ":9"),
        line(&format!("OBJECT REFCOUNT {key}"), ":1"),
        line(&format!("GET {key}"), r#""scripted!""#),
        line(&format!("WATCH {key}"), "+OK"),
        line(&format!("GET {key}"), r#""scripted!""#),
        line("UNWATCH", "+OK"),
        line("SELECT 1", "+OK"),
        line(&format!("GET {key}"), nil),
        line("MULTI", "+OK"),
        line(&format!("SET {key} elsewhere"), "+QUEUED"),
        line("DISCARD", "+OK"),
        line(&format!("EXISTS {key}"), ":0"),
        line("SELECT 0", "+OK"),
        line(&format!("DEL {key} l:{key}"), ":2"),
        line("ECHO end", r#""end""#),
    ]
}

fn send_medleys(
    client: &mut Client,
    rounds: std::ops::Range<usize>,
    nil: &str,
    null_array: &str,
) -> Vec<String> {
    let mut due = Vec::new();
    for round in rounds {
        for (bytes, reply) in medley(round, nil, null_array) {
            client.hold(&bytes);
            due.push(reply);
        }
    }
    client.send_raw(b"");
    due
}

alike! {
    fn a_medley(scene: &Scene<'_>) {
        let mut client = scene.client();
        let due = send_medleys(&mut client, 0..5, scene.nil(), scene.by("nil[]", "null"));
        for reply in due {
            client.assert_recv(&reply);
        }
        client.assert_in_step("after");
    }

    fn many_medleys_at_once(scene: &Scene<'_>) {
        let mut clients: Vec<Client> = (0..8).map(|_| scene.other()).collect();
        let due: Vec<Vec<String>> = clients
            .iter_mut()
            .enumerate()
            .map(|(n, client)| send_medleys(client, n * 100..n * 100 + 3, scene.nil(), scene.by("nil[]", "null")))
            .collect();
        for (client, due) in clients.iter_mut().zip(due) {
            for reply in due {
                client.assert_recv(&reply);
            }
            client.assert_in_step("after");
        }
    }

    /// Earlier commands take effect before later ones, even if the later ones use another connection.
    fn a_transaction_sees_what_was_written_before_it(scene: &Scene<'_>) {
        let mut client = scene.client();
        for round in 0..20 {
            client.hold(&command(&format!("SET k {round}")));
            for line in ["MULTI", "INCR k", "EXEC", "INCR k"] {
                client.hold(&command(line));
            }
            client.send("GET k");
            client.assert_recv("+OK");
            client.assert_recv("+OK");
            client.assert_recv("+QUEUED");
            client.assert_recv(&format!("[:{}]", round + 1));
            client.assert_recv(&format!(":{}", round + 2));
            client.assert_recv(&format!("\"{}\"", round + 2));
        }
    }

    /// Values that are too large for any buffer, with small commands between them.
    fn large_frames(scene: &Scene<'_>) {
        const MIB: usize = 1024 * 1024;
        let value = |seed: usize, length: usize| -> Vec<u8> {
            (0..length).map(|i| u8::try_from((i * 31 + seed + i / 251) % 256).expect("a byte")).collect()
        };
        let mut client = scene.client();
        let mut other = scene.other();
        for (seed, length) in [(1, 15_000), (2, 17_000), (3, MIB), (4, 300_000), (5, 20 * MIB)] {
            let large = value(seed, length);
            client.hold(&command(&format!("SET before {seed}")));
            client.hold(&encode(&[b"SET", b"large", &large]));
            client.hold(&command(&format!("SET after {seed}")));
            client.hold(&command("GET large"));
            client.send("MGET before after");
            other.hold(&command(&format!("ECHO beside-{seed}")));
            other.send("STRLEN small");
            for _ in 0..3 {
                client.assert_recv("+OK");
            }
            client.assert_recv_raw(format!("${length}\r\n").as_bytes());
            let mut at = 0;
            client.read_through(u64::try_from(length).expect("a length"), |bytes| {
                assert!(bytes == &large[at..at + bytes.len()], "near byte {at} of value {seed}");
                at += bytes.len();
            });
            client.assert_recv_raw(b"\r\n");
            client.assert_recv(&format!(r#"["{seed}" "{seed}"]"#));
            other.assert_recv(&format!("\"beside-{seed}\""));
            other.assert_recv(":0");
        }
        client.assert_in_step("after");
    }

    /// A large value in an array, and a large array.
    fn large_replies_of_other_kinds(scene: &Scene<'_>) {
        let mut client = scene.client();
        let mut other = scene.other();
        client.send_args(&[b"RPUSH", b"l", &[b'x'; 400_000], b"y"]);
        client.assert_recv(":2");
        client.send_args(&[b"EVAL", b"for i = 1, 40000 do redis.call('RPUSH', KEYS[1], 'element:' .. i) end", b"1", b"many"]);
        client.assert_recv(scene.nil());
        for _ in 0..3 {
            client.hold(&command("LRANGE l 0 -1"));
            client.hold(&command("LRANGE many 0 -1"));
            client.send("ECHO small");
            other.assert_reply("ECHO beside", r#""beside""#);
            let items = client.recv();
            assert_eq!(items.items()[0].text().len(), 400_000);
            assert_eq!(items.items()[1].text(), "y");
            let many = client.recv();
            assert_eq!(many.items().len(), 40_000);
            for (i, item) in many.items().iter().enumerate() {
                assert_eq!(item.text(), format!("element:{}", i + 1));
            }
            client.assert_recv(r#""small""#);
        }
    }

    /// Another client writes between WATCH and EXEC, at every possible position.
    fn watch_against_others(scene: &Scene<'_>) {
        let mut client = scene.client();
        let mut other = scene.other();
        let aborted = scene.by("nil[]", "null");
        client.assert_reply("WATCH k", "+OK");
        other.assert_reply("SET k 1", "+OK");
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("SET mine 1", "+QUEUED");
        client.assert_reply("EXEC", aborted);
        client.assert_reply("WATCH k", "+OK");
        client.assert_reply("GET k", r#""1""#);
        client.assert_reply("MULTI", "+OK");
        other.assert_reply("APPEND k 2", ":2");
        client.assert_reply("SET mine 2", "+QUEUED");
        client.assert_reply("EXEC", aborted);
        client.assert_reply("EXISTS mine", ":0");
        // A write by the client itself also aborts EXEC. A write to another key does not.
        client.assert_reply("WATCH k", "+OK");
        client.assert_reply("SET k own", "+OK");
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("EXEC", aborted);
        client.assert_reply("WATCH k", "+OK");
        other.assert_reply("SET another 1", "+OK");
        for line in ["MULTI", "SET k x"] {
            client.hold(&command(line));
        }
        client.send("EXEC");
        for due in ["+OK", "+QUEUED", "[+OK]"] {
            client.assert_recv(due);
        }
        client.assert_in_step("after");
    }

    /// A watched key stays watched until its client ends the WATCH, whatever other clients do on their connections.
    fn a_watch_outlives_others(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SET k 1", "+OK");
        client.assert_reply("WATCH k", "+OK");
        for round in 0..20 {
            let mut other = scene.other();
            for line in ["WATCH k", "MULTI", "GET k", "EXEC", "SELECT 2", "WATCH k", "UNWATCH"] {
                other.hold(&command(line));
            }
            other.send(&format!("SET other {round}"));
            for due in ["+OK", "+OK", "+QUEUED", r#"["1"]"#, "+OK", "+OK", "+OK", "+OK"] {
                other.assert_recv(due);
            }
            client.assert_reply("GET k", r#""1""#);
        }
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("INCR k", "+QUEUED");
        client.assert_reply("EXEC", "[:2]");
    }
}

/// Between two medleys each client gives back its lease.
#[test]
fn medleys_with_rests() {
    let stage = Stage::new(Way::Shared);
    let mut clients: Vec<Client> = (0..10).map(|_| stage.connect()).collect();
    // A lease lasts one second, then two.
    for (round, rest) in [1300, 2500, 0].into_iter().enumerate() {
        let due: Vec<Vec<String>> = clients
            .iter_mut()
            .enumerate()
            .map(|(n, client)| {
                client.hold(&command(&format!("ECHO round:{n}:{round}")));
                send_medleys(client, n * 100 + round..n * 100 + round + 1, "nil", "nil[]")
            })
            .collect();
        for (n, (client, due)) in clients.iter_mut().zip(due).enumerate() {
            client.assert_recv(&format!("\"round:{n}:{round}\""));
            for reply in due {
                client.assert_recv(&reply);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(rest));
        for (n, client) in clients.iter_mut().enumerate() {
            client.assert_in_step(&format!("rested:{n}:{round}"));
        }
    }
}

/// A blocked client has a connection of its own, so no other client waits with it.
#[test]
fn blocked_clients_stop_no_other_client() {
    let stage = Stage::new(Way::Shared);
    let mut blocked: Vec<Client> = (0..30).map(|_| stage.connect()).collect();
    for (number, client) in blocked.iter_mut().enumerate() {
        client.hold(&command(&format!("ECHO before:{number}")));
        client.hold(&command(&format!("BLPOP list:{number} 0")));
        client.send(&format!("ECHO after:{number}"));
        client.assert_recv(&format!("\"before:{number}\""));
    }
    let mut other = stage.connect();
    for number in 0..30 {
        other.assert_in_step(&format!("{number}"));
    }
    for number in (0..30).rev() {
        other.assert_reply(&format!("RPUSH list:{number} {number}"), ":1");
    }
    for (number, client) in blocked.iter_mut().enumerate() {
        client.assert_recv(&format!(r#"["list:{number}" "{number}"]"#));
        client.assert_recv(&format!("\"after:{number}\""));
    }
}
