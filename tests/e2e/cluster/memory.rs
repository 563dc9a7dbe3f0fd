//! Clients that send everything before they read anything. The replies wait in the sockets of the nodes.

use e2e::client::command;
use e2e::{Cluster, own_turn};

use super::commands::{KEYS, started};

const COUNT: usize = 300_000;

/// The most memory that one such client needs.
const MOST: u64 = 2 << 20;

/// Sends `COUNT` commands at once, then reads the replies. `words` returns the words of a command, and its reply.
fn send_everything(words: impl Fn(usize) -> (String, String)) {
    let _turn = own_turn();
    let cluster = Cluster::builder().without_replicas().start();
    let gate = started(&cluster);
    let mut client = gate.connect();
    // The first replies bring all buffers to their size.
    for key in KEYS {
        client.assert_reply(&format!("SET {key} {}", "v".repeat(8)), "+OK");
    }
    let (mut sent, mut due) = (Vec::new(), Vec::new());
    for number in 0..COUNT {
        let (words, reply) = words(number);
        sent.extend(command(&words));
        due.extend(reply.into_bytes());
    }
    let before = gate.peak_memory();
    client.send_raw(&sent);
    let mut at = 0;
    client.read_through(due.len() as u64, |bytes| {
        assert!(due[at..].starts_with(bytes), "wrong replies from byte {at}");
        at += bytes.len();
    });
    client.assert_in_step("after");
    let needed = gate.peak_memory() - before;
    assert!(needed < MOST, "{} KiB", needed >> 10);
}

#[test]
fn reads_of_all_nodes() {
    send_everything(|number| (format!("GET {}", KEYS[number % 3]), "$8\r\nvvvvvvvv\r\n".to_owned()));
}

#[test]
fn writes_and_reads_of_all_nodes() {
    send_everything(|number| {
        let key = KEYS[number / 2 % 3];
        let value = format!("{:08}", number / 2);
        match number % 2 {
            0 => (format!("SET {key} {value}"), "+OK\r\n".to_owned()),
            _ => (format!("GET {key}"), format!("$8\r\n{value}\r\n")),
        }
    });
}
