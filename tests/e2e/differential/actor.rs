//! A client with one connection through the proxy and one to the reference server. It compares the replies.

use std::thread::sleep;
use std::time::Duration;

use e2e::{Client, Random, Reply, eventually};

use super::script::{Batch, Listener, Script, Step};
use super::{Stage, Tally};

pub(super) struct Actor<'s> {
    stage: &'s Stage,
    number: u64,
    listener: Listener,
    random: Random,
    connection: u64,
    /// The last commands, for the message if the test fails.
    sent: Vec<String>,
}

/// The reason why an actor makes a new connection.
enum End {
    /// The actor disconnected.
    Left,
    /// The proxy closed the connection during or after a disturbance.
    Closed,
    /// The test is over.
    Over,
}

impl<'s> Actor<'s> {
    pub(super) fn new(stage: &'s Stage, number: u64, seed: u64) -> Self {
        let listener = Listener::ALL[usize::try_from(number).expect("small") % Listener::ALL.len()];
        let random = Random::new(seed.wrapping_mul(1000).wrapping_add(number));
        Self { stage, number, listener, random, connection: 0, sent: Vec::new() }
    }

    pub(super) fn live(mut self) {
        let _failing = self.stage.failing();
        while !self.stage.is_over() {
            self.connection += 1;
            let tally = &self.stage.tally;
            match self.connect_and_talk() {
                End::Left => Tally::add(&tally.left, 1),
                End::Closed => Tally::add(&tally.closed, 1),
                End::Over => {}
            }
        }
    }

    fn connect_and_talk(&mut self) -> End {
        let calm = self.stage.disturbances();
        let Some(mut gate) = self.stage.connect(self.listener) else {
            self.assert_disturbed(calm, || "cannot connect".to_owned());
            return End::Closed;
        };
        let mut twin = Client::tcp(self.stage.twin());
        let name = format!("{}.{}", self.number, self.connection);
        let mut script = Script::new(self.listener, name, self.stage.version);
        let mut batch = script.hello(&mut self.random);
        let mut calm = calm;
        loop {
            if self.random.one_in(60) {
                self.leave(gate, &batch);
                return End::Left;
            }
            self.sent.clear();
            let due = self.beside(&mut twin, &batch);
            let sent = self.send(&mut gate, &batch);
            if !self.compare(&mut gate, &batch, &due, calm) {
                return End::Closed;
            }
            if !sent {
                self.assert_ended_in_a_disturbance(&gate, calm, "cannot send");
                return End::Closed;
            }
            calm = self.stage.disturbances();
            if self.stage.is_over() {
                return End::Over;
            }
            batch = script.batch(&mut self.random);
        }
    }

    /// Returns the replies of the reference server to a batch, up to the end of the batch.
    fn beside(&mut self, twin: &mut Client, batch: &Batch) -> Vec<Reply> {
        let mut due = Vec::new();
        let mut bytes = Vec::new();
        for (number, step) in batch.steps.iter().enumerate() {
            self.sent.push(shown(step));
            if !step.alone {
                bytes.extend_from_slice(&step.twin);
                continue;
            }
            let barrier = format!("barrier:{number}");
            bytes.extend(e2e::client::encode(&[b"PING", barrier.as_bytes()]));
            twin.send_raw(&bytes);
            due.extend(read_until(twin, &barrier));
            due.pop();
            bytes.clone_from(&step.twin);
            bytes.extend(e2e::client::encode(&[b"PING", barrier.as_bytes()]));
            twin.send_raw(&bytes);
            due.extend(read_until(twin, &barrier));
            due.pop();
            bytes.clear();
        }
        twin.send_raw(&bytes);
        due.extend(read_until(twin, &batch.end));
        due
    }

    /// Sends the batch in up to four pieces, so that reloads and kills happen in the middle of a batch or a command.
    /// Returns false if the connection is closed.
    fn send(&mut self, gate: &mut Client, batch: &Batch) -> bool {
        let bytes: Vec<u8> = batch.steps.iter().flat_map(|step| step.gate.iter().copied()).collect();
        let mut rest = &bytes[..];
        for _ in 0..self.random.below(4) {
            let (piece, after) = rest.split_at(self.random.below(rest.len()));
            if gate.try_send_raw(piece).is_err() {
                return false;
            }
            rest = after;
            sleep(Duration::from_micros(self.random.below(3000) as u64));
        }
        gate.try_send_raw(rest).is_ok()
    }

    /// Disconnects in the middle of writing or without reading, with or without a reset.
    fn leave(&mut self, mut gate: Client, batch: &Batch) {
        let bytes: Vec<u8> = batch.steps.iter().flat_map(|step| step.gate.iter().copied()).collect();
        // The connection may be closed already.
        let _ = gate.try_send_raw(&bytes[..self.random.below(bytes.len())]);
        if self.random.one_in(2) {
            gate.abort();
        }
    }

    /// Returns whether the proxy sent all of `due`. If a disturbance ended the connection, the replies before it must
    /// still be equal.
    fn compare(&self, gate: &mut Client, batch: &Batch, due: &[Reply], calm: u64) -> bool {
        for (number, due) in due.iter().enumerate() {
            let got = match next(gate) {
                Ok(got) => got,
                Err(end) => {
                    let what = format!("{end:?} instead of {due}, reply {number}");
                    self.assert_ended_in_a_disturbance(gate, calm, &what);
                    return false;
                }
            };
            if agrees(&got, due) {
                Tally::add(&self.stage.tally.compared, 1);
                continue;
            }
            let says_why = matches!(&got, Reply::Error(text)
                if text.starts_with("ERR portcullis: upstream") || text.starts_with("EXECABORT"));
            assert!(
                says_why && self.stage.was_disturbed_since(calm),
                "{} reads\n  {got}\ninstead of\n  {due}\nas reply {number} to this batch (which ends with {}):\n{}",
                self.name(),
                batch.end,
                self.sent.join("\n")
            );
            return false;
        }
        true
    }

    #[track_caller]
    fn assert_disturbed(&self, calm: u64, what: impl FnOnce() -> String) {
        assert!(
            self.stage.was_disturbed_since(calm),
            "{} without a disturbance: {}, in this batch:\n{}",
            self.name(),
            what(),
            self.sent.join("\n")
        );
    }

    /// Checks that a close belongs to a disturbance. The client may read it long after the proxy closed the connection,
    /// after unread replies. So the position of the line in the audit trail counts as well.
    #[track_caller]
    fn assert_ended_in_a_disturbance(&self, gate: &Client, calm: u64, what: &str) {
        if self.stage.was_disturbed_since(calm) {
            return;
        }
        let source = gate.local().to_string();
        let of_source = |line: &serde_json::Value| line["event"] == "closed" && line["source"] == *source;
        let (number, line) = eventually("the end is audited", || {
            self.stage.gate.audit().into_iter().enumerate().find(|(_, line)| of_source(line))
        });
        let monitored = self.sent.iter().any(|command| command.contains("MONITOR"));
        let is_overrun = monitored && self.stage.has_overrun();
        if !is_overrun && !self.stage.was_disturbed_at(number) {
            self.assert_disturbed(calm, || format!("{what}; {line}"));
        }
    }

    fn name(&self) -> String {
        format!("client {} of {:?}, connection {}", self.number, self.listener, self.connection)
    }
}

fn shown(step: &Step) -> String {
    let text = step.gate.escape_ascii().to_string();
    text.chars().take(160).collect()
}

/// Returns the next reply to compare. Skips lines of MONITOR, which report commands of other clients.
fn next(client: &mut Client) -> Result<Reply, e2e::client::End> {
    loop {
        let reply = client.try_recv()?;
        let of_monitor = matches!(&reply, Reply::Status(text)
            if text.starts_with(|first: char| first.is_ascii_digit()) && text.contains(" ["));
        if !of_monitor {
            return Ok(reply);
        }
    }
}

fn read_until(client: &mut Client, end: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    loop {
        let reply = next(client).expect("the server beside stays");
        let is_last = match &reply {
            Reply::Bulk(text) => text == end.as_bytes(),
            // A RESP2 subscriber gets this reply to PING.
            Reply::Array(items) => matches!(&items[..], [Reply::Bulk(pong), Reply::Bulk(text)]
                if pong == b"pong" && text == end.as_bytes()),
            _ => false,
        };
        replies.push(reply);
        if is_last {
            return replies;
        }
    }
}

/// Returns whether the proxy may reply `got` if the reference server replies `due`.
fn agrees(got: &Reply, due: &Reply) -> bool {
    match (got, due) {
        _ if got == due => true,
        // The wording differs between the versions of the server.
        (Reply::Error(got), Reply::Error(due)) => is_refusal(got) && due.starts_with("NOPERM"),
        (got, Reply::Bulk(due)) if due.starts_with(b"special:") => {
            is_special(got, &String::from_utf8_lossy(&due["special:".len()..]))
        }
        (Reply::Map(got), Reply::Map(due)) | (Reply::Array(got), Reply::Array(due)) => {
            let of_hello = matches!(due.first(), Some(Reply::Bulk(first)) if first == b"server");
            got.len() == due.len()
                && got.iter().zip(due).enumerate().all(|(number, (got, due))| {
                    // Each connection has its own id.
                    agrees(got, due) || (of_hello && number == 7)
                })
        }
        _ => false,
    }
}

fn is_refusal(text: &str) -> bool {
    [
        "NOPERM ",
        "NOAUTH ",
        "ERR portcullis: ",
        "ERR Command not allowed inside a transaction",
        // On shared connections no client has an id of Redis.
        "ERR The client ID you want redirect to does not exist",
    ]
    .iter()
    .any(|beginning| text.starts_with(beginning))
}

fn is_special(got: &Reply, kind: &str) -> bool {
    match (kind, got) {
        ("integer", Reply::Integer(_)) | ("volatile", Reply::Bulk(_) | Reply::NullBulk | Reply::Null) => true,
        ("volatile", Reply::Error(text)) => text.starts_with("NOPERM "),
        ("ok", Reply::Status(text)) => text == "OK",
        (kind, Reply::Bulk(text) | Reply::Verbatim(text)) => {
            let wanted = kind.strip_prefix("text:").expect("a kind of answer");
            String::from_utf8_lossy(text).contains(wanted)
        }
        _ => false,
    }
}
