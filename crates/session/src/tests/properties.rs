//! One client sends random commands in pieces of any size. It gets the replies of a Redis that has the gate's rules.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::model::{Account, Model, Rules};
use super::pair::{Pair, plan, show};
use super::script::{Command, scripts};
use super::users::{User, Users};
use crate::{Auth, Standing};

/// The number of events that [`World::turn`] knows.
const EVENTS: u64 = 8;

/// The maximum size of the queues of one session with small buffers and a short script.
const MAX_HELD: usize = 64 * 1024;

#[derive(Clone, Copy, Debug)]
struct Setting {
    auth: Auth,
    /// The upstream's password. Under trust the gate knows it.
    password: Option<&'static str>,
}

const SETTINGS: [Setting; 6] = [
    Setting { auth: Auth::Passthrough, password: None },
    Setting { auth: Auth::Passthrough, password: Some("secret") },
    Setting { auth: Auth::Trust, password: None },
    Setting { auth: Auth::Trust, password: Some("secret") },
    // This setting occurs twice, because it has the most code to test.
    Setting { auth: Auth::Users, password: None },
    Setting { auth: Auth::Users, password: None },
];

const CAROL_DENIED: &[&str] = &["lrange", "client|getname", "monitor"];
const BOB_DENIED: &[&str] = &["echo", "exec", "ssubscribe"];

/// The users of the gate, with the gate's login for each.
pub(super) const USERS: [User; 4] = [
    User { name: "alice", password: "a", login: Some(("ua", "pa")), acl: None },
    User {
        name: "carol",
        password: "c",
        login: Some(("uc", "pc")),
        acl: Some("+@all -lrange -client|getname -monitor ~a* &a*"),
    },
    User { name: "bob", password: "b", login: None, acl: Some("+@all -echo -exec -ssubscribe") },
    User { name: "default", password: "d", login: None, acl: None },
];

static KNOWN: LazyLock<Users> = LazyLock::new(|| Users::new(&USERS));

/// The same users with logins that no upstream knows.
static ROTATED: LazyLock<Users> = LazyLock::new(|| {
    let users = USERS.map(|user| User { login: Some(("unknown", "unknown")), ..user });
    Users::renewed(&users, &KNOWN)
});

/// The same users as accounts of the model.
pub(super) const ACCOUNTS: &[Account] = &[
    Account::unrestricted("alice", Some("a")),
    Account { denied: Some(CAROL_DENIED), prefix: "a", ..Account::unrestricted("carol", Some("c")) },
    Account { denied: Some(BOB_DENIED), ..Account::unrestricted("bob", Some("b")) },
    Account::unrestricted("default", Some("d")),
];

/// The accounts of the upstream.
pub(super) const LOGINS: &[Account] = &[
    Account::unrestricted("default", None),
    Account::unrestricted("ua", Some("pa")),
    Account::unrestricted("uc", Some("pc")),
];

impl Setting {
    /// Returns a Redis that behaves towards a client as the gate does.
    fn reference(self) -> Model {
        let trust = self.auth == Auth::Trust;
        let password = self.password.filter(|_| !trust);
        let accounts = if self.auth == Auth::Users { ACCOUNTS } else { &[] };
        Model::new(Rules { password, accounts, gate: true, trust, ..Rules::default() })
    }

    fn upstream(self) -> Model {
        let accounts = if self.auth == Auth::Users { LOGINS } else { &[] };
        Model::new(Rules {
            password: self.password,
            accounts,
            behind_gate: true,
            swallows: true,
            ..Rules::default()
        })
    }

    fn gate(self) -> Pair {
        if self.auth == Auth::Users {
            return Pair::of_users(KNOWN.clone());
        }
        Pair::new(plan(self.auth, self.password))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2000)))]

    #[test]
    fn the_client_gets_the_replies_of_redis(
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

/// The gate, the network and the Redis of one client.
struct World {
    setting: Setting,
    pair: Pair,
    upstream: Model,
    client: Vec<u8>,
    received: Vec<u8>,
    buffer: usize,
    seed: u64,
    most_held: usize,
}

impl World {
    fn new(setting: Setting, script: &[Command], seed: u64, buffer: usize) -> Self {
        let mut pair = setting.gate();
        pair.room = buffer;
        let client = script.iter().flat_map(Command::bytes).collect();
        Self {
            setting,
            pair,
            upstream: setting.upstream(),
            client,
            received: Vec::new(),
            buffer,
            seed,
            most_held: 0,
        }
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

    /// Runs one event, for up to `n` bytes if the event moves bytes.
    fn turn(&mut self, event: u64, n: usize) {
        match event {
            0 => {
                let room =
                    self.buffer.max(self.pair.client_need).saturating_sub(self.pair.client_input.len());
                let n = n.min(room).min(self.client.len());
                self.pair.client_input.extend(self.client.drain(..n));
            }
            1 => self.pair.requests(),
            2 => {
                let n = n.min(self.pair.sent.len());
                let bytes: Vec<u8> = self.pair.sent.drain(..n).collect();
                self.upstream.feed(&bytes);
            }
            3 => {
                let room =
                    self.buffer.max(self.pair.upstream_need).saturating_sub(self.pair.upstream_input.len());
                let n = n.min(room).min(self.upstream.output.len());
                self.pair.upstream_input.extend(self.upstream.output.drain(..n));
            }
            4 => self.pair.replies(),
            5 => {
                let n = n.min(self.pair.received.len());
                self.received.extend(self.pair.received.drain(..n));
            }
            6 if self.pair.wants_link && !self.pair.linked => self.pair.connect(),
            7 if self.setting.auth == Auth::Users => self.rotate(),
            _ => {}
        }
        self.most_held = self.most_held.max(self.pair.session.held() + self.pair.link.held());
    }

    /// Applies a reload that changes the gate's logins but no rules. The client must not notice the reload. If a
    /// connection was requested, the upstream must not notice it either.
    fn rotate(&mut self) {
        let new = if self.pair.wants_link { &*ROTATED } else { &*KNOWN };
        assert_eq!(
            self.pair.session.renew(self.pair.link.subscribed(), |user| new.plan_of(user)),
            Standing::Stays
        );
    }

    /// Returns the number of bytes at each place, the bytes that the pair waits for, the state of the connection, and
    /// the number of commands.
    fn progress(&self) -> [usize; 10] {
        let Pair { client_input, sent, upstream_input, client_need, upstream_need, linked, .. } = &self.pair;
        let ends = [self.client.len(), self.upstream.output.len(), self.received.len()];
        let [client, upstream, received] = ends;
        let linked = usize::from(*linked);
        let (client_input, sent, upstream_input) = (client_input.len(), sent.len(), upstream_input.len());
        [
            client,
            upstream,
            received,
            client_input,
            sent,
            upstream_input,
            *client_need,
            *upstream_need,
            linked,
            self.upstream.seen.len(),
        ]
    }

    /// Checks that each command ran as the user who sent it, and that no other command ran.
    fn check_identities(&self, reference: &Model) {
        assert_eq!(self.upstream.failed_logins * usize::from(self.setting.auth != Auth::Passthrough), 0);
        let expected: Vec<_> = reference.ran.iter().map(|(user, argv)| (login_of(user), argv)).collect();
        let ran: Vec<_> = self.upstream.ran.iter().map(|(user, argv)| (*user, argv)).collect();
        assert!(expected.starts_with(&ran), "\n expected {expected:?}\n      ran {ran:?}");
        let waits = self.pair.fault.is_some() || self.upstream.swallowed > 0;
        assert!(waits || expected.len() == ran.len(), "\n expected {expected:?}\n      ran {ran:?}");
    }

    fn check(&self, reference: &Model) {
        assert!(!self.pair.desync, "a reply was taken for another");
        assert!(self.most_held < MAX_HELD, "held {} bytes", self.most_held);
        let (received, received_lines) = without_monitor(&self.received);
        let (expected, expected_lines) = without_monitor(&reference.output);
        self.check_identities(reference);
        if let Some(fault) = self.pair.fault {
            assert!(self.upstream.ambiguous, "{fault}");
            assert!(
                expected.starts_with(&received),
                "\n received {}\n expected {}",
                show(&received),
                show(&expected)
            );
            return;
        }
        if self.upstream.swallowed > 0 {
            // Only lines of MONITOR were pending. The gate took no other reply for the reply to the login, and a
            // timeout ends the wait.
            assert!(self.upstream.monitored, "a login was sent behind a pending reply");
            assert!(self.pair.session.pending_login().is_some_and(|login| login.of_client));
            assert!(
                expected.starts_with(&received),
                "\n received {}\n expected {}",
                show(&received),
                show(&expected)
            );
            return;
        }
        assert_eq!(show(&received), show(&expected));
        // After QUIT the client does not wait for any further replies.
        assert!(received_lines == expected_lines || reference.closed && received_lines < expected_lines);
        assert_eq!(self.upstream.strings, reference.strings);
        assert_eq!(self.upstream.lists, reference.lists);
        assert_eq!(self.pair.closed.is_some(), reference.closed);
        if !reference.closed {
            assert!(self.pair.session.is_idle(), "a reply is still pending");
            assert!(!self.pair.session.is_mid_frame());
        }
    }
}

/// Returns the upstream user that runs this user's commands.
pub(super) fn login_of(user: &str) -> &'static str {
    let user = USERS.iter().find(|known| known.name == user);
    user.map_or("", |user| user.login.map_or("default", |(name, _)| name))
}

/// The beginning of each line of MONITOR.
const LINE: &[u8] = b"+1700000000.000001 ";

/// Returns a stream without its lines of MONITOR, and the number of these lines. Their position between replies is
/// undefined.
pub(super) fn without_monitor(stream: &[u8]) -> (Vec<u8>, usize) {
    let (mut rest, mut lines, mut out) = (stream, 0, Vec::new());
    while let Some((&first, _)) = rest.split_first() {
        if rest.len() > 1 && LINE.starts_with(rest) {
            // The end of the session cut the line.
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

/// Returns the number of MONITOR lines directly before the reply to a RESET. For a client that shares connections, the
/// gate answers RESET and closes the client's own connection. Lines about its last command may then be lost.
pub(super) fn lines_before_reset(stream: &[u8]) -> usize {
    const RESET: &str = "+RESET\r\n";
    let text = String::from_utf8_lossy(stream);
    let mut parts = text.split(RESET).collect::<Vec<_>>();
    parts.pop();
    let line = |line: &&str| line.as_bytes().starts_with(LINE);
    parts.iter().map(|part| part.lines().rev().take_while(line).count()).sum()
}
