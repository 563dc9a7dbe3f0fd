//! Batches of random commands of one client, for every state of a connection.

use e2e::Random;
use e2e::client::encode;

/// The listener of a client. It decides which commands the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// `auth: users`, TLS on both sides, dedicated connections.
    Users,
    /// `auth: users`, TLS to the upstream, shared connections.
    Shared,
    /// `auth: trust` with `@public`, dedicated connections.
    Public,
    /// `auth: passthrough` without rules, dedicated connections.
    Passthrough,
}

impl Listener {
    pub(super) const ALL: [Self; 4] = [Self::Users, Self::Shared, Self::Public, Self::Passthrough];

    /// Returns the user that a client logs in as. `None` if the listener requires no login.
    const fn user(self, second: bool) -> Option<&'static str> {
        match self {
            Self::Users | Self::Shared if second => Some("bob"),
            Self::Users | Self::Shared => Some("alice"),
            Self::Passthrough => Some("carol"),
            Self::Public => None,
        }
    }

    /// Returns whether the proxy applies command rules.
    const fn has_rules(self) -> bool {
        !matches!(self, Self::Passthrough)
    }
}

/// A command for the proxy, and the command for the reference server.
pub(super) struct Step {
    pub(super) gate: Vec<u8>,
    pub(super) twin: Vec<u8>,
    /// Whether the reference server gets the command when no reply is pending. Redis 7.2 to 8.2 does not answer it
    /// otherwise.
    pub(super) alone: bool,
}

/// Commands that are sent together. The batch ends with the reply to `PING` with the text `end`.
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
    pub(super) end: String,
}

/// The state of a client's connection, which decides the commands that the client may send.
pub(super) struct Script {
    listener: Listener,
    /// A text in the client's keys and channels that is unique to the connection.
    name: String,
    /// The major version of the servers.
    version: u32,
    second: bool,
    resp3: bool,
    subscribed: bool,
    batches: u64,
    questions: u64,
    steps: Vec<Step>,
}

/// A command that the reference server refuses to every user. It stands for a command that the proxy refuses.
const REFUSED_BESIDE: &[&str] = &["DEBUG", "JMAP"];

impl Script {
    pub(super) fn new(listener: Listener, name: String, version: u32) -> Self {
        Self {
            listener,
            name,
            version,
            second: false,
            resp3: false,
            subscribed: false,
            batches: 0,
            questions: 0,
            steps: Vec::new(),
        }
    }

    /// Returns the first batch of a connection.
    pub(super) fn hello(&mut self, random: &mut Random) -> Batch {
        self.log_in();
        if random.one_in(2) {
            self.greet(random);
        }
        self.end()
    }

    pub(super) fn batch(&mut self, random: &mut Random) -> Batch {
        for _ in 0..=random.below(24) {
            if self.subscribed && !self.resp3 {
                self.as_resp2_subscriber(random);
            } else {
                self.anything(random);
            }
        }
        self.end()
    }

    fn end(&mut self) -> Batch {
        self.batches += 1;
        let end = format!("end:{}:{}", self.name, self.batches);
        self.same(&["PING", &end]);
        Batch { steps: std::mem::take(&mut self.steps), end }
    }

    fn anything(&mut self, random: &mut Random) {
        match random.below(100) {
            0..34 => self.plain(random),
            34..40 => self.transaction(random),
            40..44 => self.watch(random),
            44..48 => self.muted(random),
            48..52 => self.refused(random),
            52..55 => self.odd(random),
            55..58 => self.script(random),
            58..62 => self.blocking(random),
            62..66 => self.subscribe(random),
            66..71 => self.about_clients(random),
            71..74 => self.log_in_again(random),
            74..77 => self.greet(random),
            77..79 => self.reset(),
            79..82 => self.volatile(random),
            82..85 => self.large(random),
            85..87 => self.deep(random),
            87..90 => {
                let database = *random.pick(&["0", "1", "2", "99", "x"]);
                self.same(&["SELECT", database]);
            }
            90..93 => self.tracking(random),
            93..96 => self.monitor(),
            _ => self.collections(random),
        }
    }

    fn key(&self, number: usize) -> String {
        format!("k:{}:{number}", self.name)
    }

    fn text(&mut self) -> String {
        self.questions += 1;
        format!("v:{}:{}", self.name, self.questions)
    }

    fn push(&mut self, gate: Vec<u8>, twin: Vec<u8>) {
        self.steps.push(Step { gate, twin, alone: false });
    }

    fn same(&mut self, words: &[&str]) {
        let bytes = words_of(words);
        self.push(bytes.clone(), bytes);
    }

    /// Adds a command that the proxy refuses. The reference server gets another command, which it refuses.
    fn refuse(&mut self, words: &[&str]) {
        self.push(words_of(words), words_of(REFUSED_BESIDE));
    }

    /// Adds a command to which both servers reply differently. `kind` selects the check of the proxy's reply.
    fn special(&mut self, words: &[&str], kind: &str) {
        self.push(words_of(words), words_of(&["ECHO", &format!("special:{kind}")]));
    }

    fn plain(&mut self, random: &mut Random) {
        let (a, b) = (self.key(random.below(4)), self.key(random.below(4)));
        let text = self.text();
        match random.below(16) {
            0..4 => self.same(&["GET", &a]),
            4..7 => self.same(&["SET", &a, &text]),
            7 => self.same(&["APPEND", &a, &text]),
            8 => self.same(&["INCR", &a]),
            9 => self.same(&["MGET", &a, &b, &a]),
            10 => self.same(&["DEL", &a]),
            11 => self.same(&["ECHO", &text]),
            12 => self.same(&["STRLEN", &a]),
            13 => self.same(&["SETRANGE", &a, "3", "xyz"]),
            14 => self.same(&["GET"]),
            _ => self.same(&["EXPIRE", &a, "100"]),
        }
    }

    fn collections(&mut self, random: &mut Random) {
        let (list, set, hash) = (
            format!("k:{}:list", self.name),
            format!("k:{}:set", self.name),
            format!("k:{}:hash", self.name),
        );
        let text = self.text();
        match random.below(8) {
            0 => self.same(&["RPUSH", &list, &text]),
            1 => self.same(&["LRANGE", &list, "-5", "-1"]),
            2 => self.same(&["LPOP", &list, "2"]),
            3 => self.same(&["SADD", &set, &text]),
            4 => self.same(&["SCARD", &set]),
            5 => self.same(&["HSET", &hash, "f", &text]),
            6 => self.same(&["HGETALL", &hash]),
            _ => self.same(&["INCR", &list]),
        }
    }

    fn transaction(&mut self, random: &mut Random) {
        self.same(&["MULTI"]);
        for _ in 0..random.below(5) {
            match random.below(14) {
                0 if self.listener.has_rules() => self.refused(random),
                1 => self.same(&["GET"]),
                2 => self.same(&["MULTI"]),
                3 => self.collections(random),
                // The proxy refuses commands that change the user in a transaction.
                4 => self.refuse(&["AUTH", "alice", "wrong"]),
                5 => self.refuse(&["HELLO", "3", "AUTH", "alice", "wrong"]),
                _ => self.plain(random),
            }
        }
        self.same(&[if random.one_in(5) { "DISCARD" } else { "EXEC" }]);
    }

    fn watch(&mut self, random: &mut Random) {
        let key = self.key(random.below(4));
        self.same(&["WATCH", &key]);
        match random.below(4) {
            0 => self.same(&["SET", &key, "changed"]),
            1 => self.same(&["UNWATCH"]),
            _ => {}
        }
        if random.one_in(4) {
            return;
        }
        self.transaction(random);
    }

    /// Adds CLIENT REPLY in each of its forms. At the end, replies are on.
    fn muted(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => {
                self.same(&["CLIENT", "REPLY", "OFF"]);
                for _ in 0..random.below(5) {
                    if random.one_in(4) { self.refused(random) } else { self.plain(random) }
                }
                self.same(&["CLIENT", "REPLY", "ON"]);
            }
            1 => {
                self.same(&["CLIENT", "REPLY", "SKIP"]);
                self.plain(random);
            }
            // Redis 8.2 keeps the SKIP after an empty command. The proxy and other versions end it.
            2 if self.version < 8 => {
                self.same(&["CLIENT", "REPLY", "SKIP"]);
                self.empty(random);
                self.plain(random);
            }
            _ => self.same(&["CLIENT", "REPLY", "ON"]),
        }
    }

    fn empty(&mut self, random: &mut Random) {
        let bytes = random.pick(&["*0\r\n", "*-1\r\n", "\r\n", "\n"]).as_bytes().to_vec();
        self.push(bytes.clone(), bytes);
    }

    /// Adds inline commands, empty commands, and commands that no server knows.
    fn odd(&mut self, random: &mut Random) {
        match random.below(5) {
            0 => self.empty(random),
            1 => {
                let line = format!("SET {} 'in line'\r\n", self.key(0)).into_bytes();
                self.push(line.clone(), line);
            }
            2 => {
                let line = format!("get \"{}\"\n", self.key(0)).into_bytes();
                self.push(line.clone(), line);
            }
            3 if self.listener.has_rules() => self.refuse(&["NO.SUCH", "command"]),
            3 => self.same(&["NO.SUCH", "command"]),
            _ => self.same(&["eChO", "case"]),
        }
    }

    /// Adds commands that the rules refuse, and commands of known attacks.
    fn refused(&mut self, random: &mut Random) {
        const ANYWHERE: &[&[&str]] =
            &[&["SYNC"], &["PSYNC", "?", "-1"], &["REPLCONF", "listening-port", "1"]];
        const WITH_RULES: &[&[&str]] = &[
            &["PUBLISH", "__sentinel__:hello", "127.0.0.1,1,x"],
            &["PUBLISH", "__keyspace@0__:x", "set"],
            &["PUBLISH", "__redis__:invalidate", "x"],
            &["SUBSCRIBE", "__sentinel__:hello"],
            &["PSUBSCRIBE", "*"],
            &["CLIENT", "TRACKING", "on", "BCAST"],
            // No client has this id. A redirect to the client's own id would be allowed.
            &["CLIENT", "TRACKING", "on", "REDIRECT", "4000000000000"],
            &["FLUSHALL"],
            &["CONFIG", "GET", "requirepass"],
            &["KEYS", "*"],
            &["GET", "another:key"],
            &["MGET", "k:mine", "another:key"],
            &["SPUBLISH", "__sentinel__:hello", "x"],
        ];
        const PUBLIC: &[&[&str]] = &[
            &["SCAN", "0", "COUNT", "1000000000"],
            &["SRANDMEMBER", "k:set", "-3000000"],
            &["SETRANGE", "k:far", "500000000", "x"],
            &["SETBIT", "k:far", "4000000000", "1"],
            &["LCS", "k:a", "k:b"],
            &["SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "1", "1", "*"],
            &["HSCAN", "k:hash", "0", "MATCH", "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*"],
            &["EVAL", "return 1", "0"],
            &["SCRIPT", "LOAD", "return 1"],
            &["MONITOR"],
            &["CLIENT", "KILL", "TYPE", "normal"],
        ];
        let list = match self.listener {
            Listener::Passthrough => ANYWHERE,
            Listener::Public if random.one_in(2) => PUBLIC,
            _ if random.one_in(5) => ANYWHERE,
            _ => WITH_RULES,
        };
        let words: &[&str] = list[random.below(list.len())];
        self.refuse(words);
    }

    fn script(&mut self, random: &mut Random) {
        if self.listener == Listener::Public {
            return self.plain(random);
        }
        let (key, text) = (self.key(random.below(4)), self.text());
        match random.below(4) {
            0 => self.same(&["EVAL", "return {KEYS[1], ARGV[1]}", "1", &key, &text]),
            1 => self.same(&["EVAL", "return redis.call('GET', KEYS[1])", "1", &key]),
            2 => self.same(&["EVAL", "return redis.error_reply('ERR mine')", "0"]),
            _ => self.same(&["EVALSHA", "0000000000000000000000000000000000000000", "0"]),
        }
    }

    fn blocking(&mut self, random: &mut Random) {
        let (list, stream) = (format!("k:{}:queue", self.name), format!("k:{}:stream", self.name));
        let text = self.text();
        match random.below(4) {
            0 => self.same(&["BLPOP", &list, "0.01"]),
            1 => {
                self.same(&["RPUSH", &list, &text]);
                self.same(&["BLPOP", &list, "0"]);
            }
            2 => self.same(&["XREAD", "BLOCK", "5", "STREAMS", &stream, "$"]),
            _ => self.same(&["BLMOVE", &list, &list, "LEFT", "RIGHT", "0.01"]),
        }
    }

    fn subscribe(&mut self, random: &mut Random) {
        let (one, two) = (format!("c:s:{}:1", self.name), format!("c:s:{}:2", self.name));
        match random.below(4) {
            0 => self.same(&["SUBSCRIBE", &one, &two]),
            1 => self.same(&["PSUBSCRIBE", "c:p:*"]),
            2 if self.version >= 7 => self.same(&["SSUBSCRIBE", &one]),
            _ => self.same(&["SUBSCRIBE", &one]),
        }
        self.subscribed = true;
        if self.resp3 {
            let text = self.text();
            self.same(&["PUBLISH", &one, &text]);
            // Redis 8 sends the message after the reply. A local reply of the proxy could come before it.
            self.same(&["PING"]);
        }
        if random.one_in(2) {
            self.unsubscribe();
        }
    }

    /// Unsubscribes from one channel at a time. UNSUBSCRIBE without arguments has replies in no defined order.
    fn unsubscribe(&mut self) {
        for number in 1..=3 {
            self.same(&["UNSUBSCRIBE", &format!("c:s:{}:{number}", self.name)]);
        }
        self.same(&["UNSUBSCRIBE"]);
        self.same(&["PUNSUBSCRIBE"]);
        if self.version >= 7 {
            self.same(&["SUNSUBSCRIBE"]);
        }
        self.subscribed = false;
    }

    fn as_resp2_subscriber(&mut self, random: &mut Random) {
        match random.below(8) {
            0..3 => self.unsubscribe(),
            3 => self.same(&["SUBSCRIBE", &format!("c:s:{}:3", self.name)]),
            4 => self.same(&["GET", &self.key(0)]),
            5 => self.empty(random),
            6 => self.reset(),
            _ => self.same(&["PING", "subscribed"]),
        }
    }

    fn about_clients(&mut self, random: &mut Random) {
        let name = format!("name-{}", self.name.replace(':', "-"));
        match random.below(6) {
            0 => self.same(&["CLIENT", "SETNAME", &name]),
            1 => self.same(&["CLIENT", "GETNAME"]),
            2 => self.special(&["CLIENT", "ID"], "integer"),
            3 => {
                self.same(&["CLIENT", "SETNAME", &name]);
                self.special(&["CLIENT", "LIST"], &format!("text:name={name}"));
            }
            4 => {
                self.same(&["CLIENT", "SETNAME", &name]);
                self.special(&["CLIENT", "INFO"], &format!("text:name={name}"));
            }
            _ => self.same(&["CLIENT", "SETNAME", "not allowed"]),
        }
    }

    fn log_in(&mut self) {
        if let Some(user) = self.listener.user(self.second) {
            self.same(&["AUTH", user, password(user)]);
        }
    }

    fn log_in_again(&mut self, random: &mut Random) {
        match self.listener.user(self.second) {
            None => self.special(&["AUTH", "any-password"], "ok"),
            Some(user) if random.one_in(2) => {
                let step = words_of(&["AUTH", user, "wrong"]);
                self.steps.push(Step { gate: step.clone(), twin: step, alone: true });
            }
            Some(_) => {
                self.second = !self.second;
                self.log_in();
            }
        }
    }

    fn greet(&mut self, random: &mut Random) {
        if self.subscribed {
            return self.plain(random);
        }
        self.resp3 = random.one_in(2);
        let version = if self.resp3 { "3" } else { "2" };
        match self.listener.user(self.second) {
            Some(user) if random.one_in(2) => self.same(&["HELLO", version, "AUTH", user, password(user)]),
            _ => self.same(&["HELLO", version]),
        }
        if random.one_in(4) {
            self.same(&["HELLO", "9"]);
        }
    }

    /// Adds RESET, which ends all state, including the login.
    fn reset(&mut self) {
        self.same(&["RESET"]);
        (self.resp3, self.subscribed, self.second) = (false, false, false);
        if self.listener.user(false).is_some() && self.listener.has_rules() {
            self.refuse(&["GET", "before:login"]);
        }
        self.log_in();
    }

    /// Adds a command that only one of the two configurations allows.
    fn volatile(&mut self, random: &mut Random) {
        if !matches!(self.listener, Listener::Users | Listener::Shared) || self.subscribed {
            return self.plain(random);
        }
        let key = format!("k:{}:volatile", self.name);
        let text = self.text();
        self.special(&["GETSET", &key, &text], "volatile");
    }

    fn large(&mut self, random: &mut Random) {
        let key = format!("k:{}:large", self.name);
        let value = self.text().repeat(1 + random.below(4000));
        self.same(&["SET", &key, &value]);
        self.same(&["GET", &key]);
    }

    fn deep(&mut self, random: &mut Random) {
        let key = self.key(random.below(4));
        for _ in 0..100 + random.below(400) {
            self.same(&["GET", &key]);
        }
    }

    fn tracking(&mut self, random: &mut Random) {
        if !self.resp3 || self.listener == Listener::Public {
            return self.plain(random);
        }
        let (key, text) = (self.key(random.below(4)), self.text());
        self.same(&["CLIENT", "TRACKING", "on"]);
        self.same(&["GET", &key]);
        self.same(&["SET", &key, &text]);
        self.same(&["PING"]);
        self.same(&["CLIENT", "TRACKING", "off"]);
    }

    /// Adds MONITOR. Its lines report commands of other clients and are not compared.
    fn monitor(&mut self) {
        if self.listener != Listener::Passthrough {
            return self.same(&["PING"]);
        }
        self.same(&["MONITOR"]);
        self.reset();
    }
}

pub(super) fn password(user: &str) -> &'static str {
    match user {
        "alice" => "canary-alice",
        "bob" => "canary-bob",
        _ => "canary-carol",
    }
}

fn words_of(words: &[&str]) -> Vec<u8> {
    encode(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
}
