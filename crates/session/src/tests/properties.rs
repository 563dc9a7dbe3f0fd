//! Whatever a client says, in whatever pieces it travels: it hears what a Redis with the gate's rules would tell it.

use proptest::prelude::*;

use super::model::{Model, Rules};
use super::pair::{Pair, plan, show};
use super::script::{Command, scripts};
use crate::Auth;

/// As many as [`World::turn`] knows.
const EVENTS: u64 = 7;

/// What the queues of one session with small buffers and a short script may take.
const MAX_HELD: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
struct Setting {
    auth: Auth,
    /// The upstream's; under trust the gate knows it.
    password: Option<&'static str>,
}

const SETTINGS: [Setting; 4] = [
    Setting { auth: Auth::Passthrough, password: None },
    Setting { auth: Auth::Passthrough, password: Some("secret") },
    Setting { auth: Auth::Trust, password: None },
    Setting { auth: Auth::Trust, password: Some("secret") },
];

impl Setting {
    /// A Redis that a client would see as it sees the gate.
    fn reference(self) -> Model {
        let trust = self.auth == Auth::Trust;
        let password = self.password.filter(|_| !trust);
        Model::new(Rules { password, gate: true, trust, behind_gate: false })
    }

    fn upstream(self) -> Model {
        Model::new(Rules { password: self.password, behind_gate: true, ..Rules::default() })
    }

    fn gate(self) -> Pair {
        Pair::new(plan(self.auth, self.password))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn the_client_hears_what_redis_says(
        script in scripts(),
        setting in prop::sample::select(&SETTINGS[..]),
        seed in 1..u64::MAX,
        buffer in 16..2048_usize,
    ) {
        let mut reference = setting.reference();
        for command in &script {
            reference.feed(&command.bytes());
        }
        let mut world = World::new(setting, &script, seed, buffer);
        world.run();
        world.check(&reference);
    }
}

/// Everything between a client and its Redis.
struct World {
    pair: Pair,
    upstream: Model,
    client: Vec<u8>,
    heard: Vec<u8>,
    buffer: usize,
    seed: u64,
    most_held: usize,
}

impl World {
    fn new(setting: Setting, script: &[Command], seed: u64, buffer: usize) -> Self {
        let mut pair = setting.gate();
        pair.room = buffer;
        let client = script.iter().flat_map(Command::bytes).collect();
        Self { pair, upstream: setting.upstream(), client, heard: Vec::new(), buffer, seed, most_held: 0 }
    }

    fn run(&mut self) {
        for _ in 0..500 + self.client.len() / 8 {
            let (event, n) = self.draw();
            self.turn(event, n);
        }
        let mut before = None;
        while before != Some(self.progress()) {
            before = Some(self.progress());
            for event in 0..EVENTS {
                self.turn(event, self.buffer);
            }
        }
    }

    fn draw(&mut self) -> (u64, usize) {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % EVENTS, usize::try_from(self.seed >> 32).unwrap() % self.buffer + 1)
    }

    /// One of the things that may happen next, to `n` bytes where it is about bytes.
    fn turn(&mut self, event: u64, n: usize) {
        match event {
            0 => {
                let room = self.buffer.max(self.pair.asked_need).saturating_sub(self.pair.asked.len());
                let n = n.min(room).min(self.client.len());
                self.pair.asked.extend(self.client.drain(..n));
            }
            1 => self.pair.requests(),
            2 => {
                let n = n.min(self.pair.sent.len());
                let bytes: Vec<u8> = self.pair.sent.drain(..n).collect();
                self.upstream.feed(&bytes);
            }
            3 => {
                let room = self.buffer.max(self.pair.answered_need).saturating_sub(self.pair.answered.len());
                let n = n.min(room).min(self.upstream.output.len());
                self.pair.answered.extend(self.upstream.output.drain(..n));
            }
            4 => self.pair.replies(),
            5 => {
                let n = n.min(self.pair.heard.len());
                self.heard.extend(self.pair.heard.drain(..n));
            }
            _ if self.pair.wants_link && !self.pair.linked => self.pair.connect(),
            _ => {}
        }
        self.most_held = self.most_held.max(self.pair.session.held() + self.pair.link.held());
    }

    /// Bytes at each place, what is waited for, and whether there is a connection.
    fn progress(&self) -> [usize; 9] {
        let Pair { asked, sent, answered, asked_need, answered_need, linked, .. } = &self.pair;
        let ends = [self.client.len(), self.upstream.output.len(), self.heard.len()];
        let [client, upstream, heard] = ends;
        let linked = usize::from(*linked);
        let (asked, sent, answered) = (asked.len(), sent.len(), answered.len());
        [client, upstream, heard, asked, sent, answered, *asked_need, *answered_need, linked]
    }

    fn check(&self, reference: &Model) {
        assert!(!self.pair.doubt, "replies were taken for others");
        assert!(self.most_held < MAX_HELD, "held {} bytes", self.most_held);
        let (heard, heard_lines) = without_monitor(&self.heard);
        let (said, said_lines) = without_monitor(&reference.output);
        if let Some(fault) = self.pair.fault {
            assert!(self.upstream.ambiguous, "{fault}");
            assert!(said.starts_with(&heard), "\n heard {}\n  said {}", show(&heard), show(&said));
            return;
        }
        assert_eq!(show(&heard), show(&said));
        // After QUIT nothing more is waited for.
        assert!(heard_lines == said_lines || reference.closed && heard_lines < said_lines);
        assert_eq!(self.upstream.strings, reference.strings);
        assert_eq!(self.upstream.lists, reference.lists);
        assert_eq!(self.pair.closed.is_some(), reference.closed);
        if !reference.closed {
            assert!(self.pair.session.is_idle(), "something is still owed");
            assert!(!self.pair.session.is_mid_frame());
        }
    }
}

/// Lines of MONITOR are counted apart: where they stand between replies is not promised.
fn without_monitor(stream: &[u8]) -> (Vec<u8>, usize) {
    const LINE: &[u8] = b"+1700000000.000001 ";
    let (mut rest, mut lines, mut out) = (stream, 0, Vec::new());
    while let Some((&first, _)) = rest.split_first() {
        if rest.len() > 1 && LINE.starts_with(rest) {
            // Cut by the end of the session.
            rest = &[];
        } else if rest.starts_with(LINE) {
            let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
            rest = &rest[end..];
            lines += 1;
        } else {
            out.push(first);
            rest = &rest[1..];
        }
    }
    (out, lines)
}
