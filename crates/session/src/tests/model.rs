//! A Redis 7.0 with one client, limited to the state of a connection. The model was checked against redis-server
//! 7.0.15.

mod accounts;
mod commands;
mod databases;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::accounts::Account;
use self::commands::{arity, in_subscriber_mode, is_never_forwarded, is_reply_mode, is_subscription};

/// The configuration of a real Redis, or the behaviour that the gate adds to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// The `requirepass`. Without one the default user is `nopass`.
    pub(crate) password: Option<&'static str>,
    /// Users in place of `requirepass`.
    pub(crate) accounts: &'static [Account],
    /// Whether the model also sends the refusals of the gate.
    pub(crate) gate: bool,
    /// Whether the gate alone checks AUTH and the credentials in HELLO, and accepts them at any time. Used with `gate`.
    pub(crate) trust: bool,
    /// Whether the model panics on commands that the gate must answer itself.
    pub(crate) behind_gate: bool,
    /// Whether a failed login has no reply while output is pending, as in Redis from 7.2 on.
    pub(crate) swallows: bool,
    /// Whether upstream connections are shared, so that the gate answers CLIENT. Used with `gate`.
    pub(crate) shared: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    rules: Rules,
    input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) strings: BTreeMap<String, String>,
    pub(crate) lists: BTreeMap<String, Vec<String>>,
    pub(crate) closed: bool,
    /// Whether an element of EXEC's reply looked like a message to a RESP2 client.
    pub(crate) ambiguous: bool,
    /// Requests that were executed or queued.
    pub(crate) seen: Vec<Vec<String>>,
    /// The commands that were run, with their users.
    pub(crate) ran: Vec<(&'static str, Vec<String>)>,
    /// The number of failed logins.
    pub(crate) failed_logins: usize,
    /// The number of failed logins without a reply.
    pub(crate) swallowed: usize,
    /// Whether lines of MONITOR were sent.
    pub(crate) monitored: bool,
    authenticated: bool,
    user: Option<&'static Account>,
    resp3: bool,
    multi: Option<Vec<Vec<String>>>,
    dirty: bool,
    in_exec: bool,
    reply_off: bool,
    skip_next: bool,
    skip: bool,
    monitor: bool,
    channels: BTreeSet<String>,
    patterns: BTreeSet<String>,
    shards: BTreeSet<String>,
    name: String,
    db: u32,
}

impl Model {
    pub(crate) fn new(rules: Rules) -> Self {
        let mut model = Self { rules, ..Self::default() };
        model.log_out();
        model
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.closed
            && let Some(argv) = self.take_request()
        {
            self.request(argv);
        }
    }

    /// Takes the next whole request. The parser is as lenient as Redis.
    fn take_request(&mut self) -> Option<Vec<String>> {
        let line_end = |from: usize, input: &[u8]| {
            input.get(from..)?.iter().position(|&b| b == b'\n').map(|at| from + at + 1)
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let mut at = line_end(0, &self.input)?;
        let line = text(&self.input[..at]);
        let mut argv = Vec::new();
        if let Some(count) = line.strip_prefix('*') {
            for _ in 0..count.parse::<i64>().unwrap() {
                let body = line_end(at, &self.input)?;
                let len: usize = text(&self.input[at + 1..body]).parse().unwrap();
                if self.input.len() < body + len + 2 {
                    return None;
                }
                argv.push(String::from_utf8_lossy(&self.input[body..body + len]).into_owned());
                at = body + len + 2;
            }
        } else {
            argv.extend(line.split_whitespace().map(str::to_owned));
        }
        self.input.drain(..at);
        Some(argv)
    }

    fn request(&mut self, argv: Vec<String>) {
        if argv.is_empty() {
            return;
        }
        assert!(!self.rules.behind_gate || !is_never_forwarded(&argv), "the gate forwarded: {argv:?}");
        self.seen.push(argv.clone());
        self.process(argv);
        self.skip = std::mem::take(&mut self.skip_next);
    }

    fn process(&mut self, argv: Vec<String>) {
        let name = argv[0].to_ascii_lowercase();
        if name == "quit" {
            self.reply("+OK\r\n");
            self.closed = true;
            return;
        }
        let Some((least, most)) = arity(&name) else {
            if let Some(line) = self.refused_name(&argv[0]) {
                return self.reject(&name, &line);
            }
            let args: String = argv[1..].iter().map(|arg| format!("'{arg}' ")).collect();
            let shown = &argv[0];
            return self
                .reject(&name, &format!("-ERR unknown command '{shown}', with args beginning with: {args}"));
        };
        if argv.len() < least || argv.len() > most {
            return self.reject(&name, &format!("-ERR wrong number of arguments for '{name}' command"));
        }
        let not_logged_in = !self.authenticated && !matches!(&*name, "auth" | "hello" | "reset");
        if not_logged_in && !self.rules.accounts.is_empty() {
            return self.reject(&name, "-NOAUTH Authentication required.");
        }
        if self.rules.gate && matches!(&*name, "sync" | "psync" | "replconf") {
            let line = match self.user.filter(|account| account.denied.is_some()) {
                Some(user) => {
                    format!("-NOPERM User {} has no permissions to run the '{name}' command", user.name)
                }
                None => {
                    format!("-NOPERM portcullis: '{name}' is refused here unless an acl names it: +{name}")
                }
            };
            return self.reject(&name, &line);
        }
        if not_logged_in {
            return self.reject(&name, "-NOAUTH Authentication required.");
        }
        if let Some(line) = self.refused_by_acl(&name, &argv) {
            return self.reject(&name, &line);
        }
        if self.rules.gate && self.multi.is_some() && self.not_in_multi(&name, &argv) {
            return self.reject(&name, "-ERR Command not allowed inside a transaction");
        }
        // The gate does not send a second MONITOR, because Redis would not answer it. So neither of the two refuses it.
        let swallowed = self.rules.gate && self.monitor && name == "monitor";
        if self.listens_in_resp2() && !in_subscriber_mode(&name) && !swallowed {
            let subcommand = || format!("client|{}", argv[1].to_ascii_lowercase());
            let full = if name == "client" { subcommand() } else { name.clone() };
            let allowed = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed";
            return self.reject(&name, &format!("-ERR Can't execute '{full}': {allowed} in this context"));
        }
        let at_once = matches!(&*name, "exec" | "discard" | "multi" | "watch" | "reset");
        if let Some(queue) = &mut self.multi
            && !at_once
        {
            queue.push(argv);
            return self.reply("+QUEUED\r\n");
        }
        self.call(&name, &argv);
    }

    fn not_in_multi(&self, name: &str, argv: &[String]) -> bool {
        match name {
            "hello" | "monitor" | "auth" => true,
            "client" => is_reply_mode(argv) || self.is_answered_by_gate(name, argv),
            _ => is_subscription(name) && argv.len() != 2,
        }
    }

    fn reject(&mut self, name: &str, line: &str) {
        if name == "exec" {
            self.end_transaction();
            let why = line.strip_prefix('-').unwrap().trim_start_matches("ERR ");
            return self.reply(&format!("-EXECABORT Transaction discarded because of: {why}\r\n"));
        }
        self.dirty |= self.multi.is_some();
        self.reply(&format!("{line}\r\n"));
    }

    fn call(&mut self, name: &str, argv: &[String]) {
        self.record(name, argv);
        let argv = &self.in_database(name, argv)[..];
        match name {
            "ping" => self.ping(argv),
            "echo" => self.reply(&bulk(&argv[1])),
            "set" | "get" | "rpush" => self.data(name, argv),
            "lrange" => self.lrange(&argv[1]),
            "blpop" => self.blpop(&argv[1]),
            "multi" | "discard" | "watch" => self.transaction(name),
            "exec" => self.exec(),
            "publish" => self.publish(&argv[1], &argv[2]),
            "monitor" => self.start_monitor(),
            "hello" => self.hello(argv),
            "reset" => self.reset(),
            "client" => self.client(argv),
            "auth" => self.auth(argv),
            "select" => self.select(&argv[1]),
            _ => self.subscription(name, &argv[1..]),
        }
        if self.monitor && matches!(name, "ping" | "get" | "set" | "echo") {
            let line = format!("+1700000000.000001 [0 model] \"{name}\"\r\n");
            self.output.extend_from_slice(line.as_bytes());
            self.monitored = true;
        }
    }

    fn ping(&mut self, argv: &[String]) {
        match argv {
            [_, _, _, ..] => self.reply("-ERR wrong number of arguments for 'ping' command\r\n"),
            _ if self.listens_in_resp2() => {
                let text = argv.get(1).map_or("", String::as_str);
                self.reply(&format!("*2\r\n$4\r\npong\r\n{}", bulk(text)));
            }
            [_, text] => self.reply(&bulk(text)),
            _ => self.reply("+PONG\r\n"),
        }
    }

    fn data(&mut self, name: &str, argv: &[String]) {
        let key = argv[1].clone();
        let reply = match name {
            "set" => {
                self.strings.insert(key, argv[2].clone());
                "+OK\r\n".to_owned()
            }
            "get" => self.strings.get(&key).map_or_else(|| self.null().to_owned(), |value| bulk(value)),
            _ => {
                let list = self.lists.entry(key).or_default();
                list.extend_from_slice(&argv[2..]);
                format!(":{}\r\n", list.len())
            }
        };
        self.reply(&reply);
    }

    fn transaction(&mut self, name: &str) {
        match (name, self.multi.is_some()) {
            ("multi", true) => return self.reply("-ERR MULTI calls can not be nested\r\n"),
            ("multi", false) => self.multi = Some(Vec::new()),
            ("discard", true) => self.end_transaction(),
            ("discard", false) => return self.reply("-ERR DISCARD without MULTI\r\n"),
            (_, true) => return self.reply("-ERR WATCH inside MULTI is not allowed\r\n"),
            (_, false) => {}
        }
        self.reply("+OK\r\n");
    }

    fn start_monitor(&mut self) {
        if self.in_exec {
            self.reply("-ERR MONITOR isn't allowed for DENY BLOCKING client\r\n");
        } else if !self.monitor {
            self.reply("+OK\r\n");
            self.monitor = true;
        }
    }

    fn exec(&mut self) {
        let Some(queue) = self.multi.take() else { return self.reply("-ERR EXEC without MULTI\r\n") };
        if std::mem::take(&mut self.dirty) {
            return self.reply("-EXECABORT Transaction discarded because of previous errors.\r\n");
        }
        self.reply(&format!("*{}\r\n", queue.len()));
        self.in_exec = true;
        for argv in queue {
            let name = argv[0].to_ascii_lowercase();
            self.call(&name, &argv);
        }
        self.in_exec = false;
    }

    fn end_transaction(&mut self) {
        self.multi = None;
        self.dirty = false;
    }

    fn lrange(&mut self, key: &str) {
        let list = self.lists.get(key).cloned().unwrap_or_default();
        let words = ["message", "pmessage", "smessage", "subscribe", "unsubscribe"];
        if self.in_exec
            && self.listens_in_resp2()
            && list.first().is_some_and(|first| words.contains(&&**first))
        {
            self.ambiguous = true;
        }
        let items: String = list.iter().map(|item| bulk(item)).collect();
        self.reply(&format!("*{}\r\n{items}", list.len()));
    }

    fn blpop(&mut self, key: &str) {
        let item = self.lists.get_mut(key).filter(|list| !list.is_empty()).map(|list| list.remove(0));
        match item {
            Some(item) => self.reply(&format!("*2\r\n{}{}", bulk(key), bulk(&item))),
            None if self.resp3 => self.reply("_\r\n"),
            None => self.reply("*-1\r\n"),
        }
    }

    fn publish(&mut self, channel: &str, text: &str) {
        let mut receivers = 0;
        if self.channels.contains(channel) {
            receivers += 1;
            self.push(&["message", channel, text]);
        }
        let matching: Vec<String> =
            self.patterns.iter().filter(|pattern| channel.starts_with(&***pattern)).cloned().collect();
        for pattern in matching {
            receivers += 1;
            self.push(&["pmessage", &pattern, channel, text]);
        }
        self.reply(&format!(":{receivers}\r\n"));
    }

    fn push(&mut self, items: &[&str]) {
        self.ambiguous |= self.in_exec && self.listens_in_resp2();
        let kind = if self.resp3 { '>' } else { '*' };
        let items_text: String = items.iter().map(|item| bulk(item)).collect();
        let text = format!("{kind}{}\r\n{items_text}", items.len());
        self.output.extend_from_slice(text.as_bytes());
    }

    fn subscription(&mut self, name: &str, channels: &[String]) {
        let adds = !name.contains("unsub");
        let held = match name.as_bytes()[0] {
            b'p' => &self.patterns,
            b's' if name.starts_with("ss") || name.starts_with("sun") => &self.shards,
            _ => &self.channels,
        };
        let wanted: Vec<String> =
            if channels.is_empty() { held.iter().cloned().collect() } else { channels.to_vec() };
        if wanted.is_empty() {
            return self.confirm(name, None);
        }
        for channel in wanted {
            let held = match name.as_bytes()[0] {
                b'p' => &mut self.patterns,
                b's' if name.starts_with("ss") || name.starts_with("sun") => &mut self.shards,
                _ => &mut self.channels,
            };
            if adds {
                held.insert(channel.clone());
            } else {
                held.remove(&channel);
            }
            self.confirm(name, Some(&channel));
        }
    }

    fn confirm(&mut self, name: &str, channel: Option<&str>) {
        let kind = if self.resp3 { '>' } else { '*' };
        let shard = name.starts_with("ss") || name.starts_with("sun");
        let count = if shard { self.shards.len() } else { self.channels.len() + self.patterns.len() };
        let channel = channel.map_or_else(|| self.null().to_owned(), bulk);
        let text = format!("{kind}3\r\n{}{channel}:{count}\r\n", bulk(name));
        self.output.extend_from_slice(text.as_bytes());
    }

    fn hello(&mut self, argv: &[String]) {
        let (resp3, name, user) = match self.parse_hello(argv) {
            Ok(wanted) => wanted,
            Err(line) if line == WRONGPASS => return self.refuse_login(),
            Err(line) => return self.reply(&line),
        };
        if let Some(user) = user {
            self.log_in(user);
        }
        if !self.authenticated {
            return self.reply(NOAUTH_HELLO);
        }
        self.name = name.unwrap_or_else(|| self.name.clone());
        self.resp3 = resp3;
        let (head, proto) = if resp3 { ("%2", 3) } else { ("*4", 2) };
        let text = format!("{head}\r\n{}{}{}:{proto}\r\n", bulk("server"), bulk("redis"), bulk("proto"));
        self.reply(&text);
    }

    /// Returns whether the HELLO requests RESP3, the client's name, and the user of its credentials.
    fn parse_hello(&self, argv: &[String]) -> Result<(bool, Option<String>, Option<Identity>), String> {
        let mut resp3 = self.resp3;
        if let Some(version) = argv.get(1) {
            match version.parse::<i64>() {
                Err(_) => return Err("-ERR Protocol version is not an integer or out of range\r\n".into()),
                Ok(2) => resp3 = false,
                Ok(3) => resp3 = true,
                Ok(_) => return Err("-NOPROTO unsupported protocol version\r\n".into()),
            }
        }
        let (mut credentials, mut name) = (None, None);
        let mut at = 2;
        while at < argv.len() {
            let more = argv.len() - at - 1;
            match &*argv[at].to_ascii_lowercase() {
                "auth" if more >= 2 => {
                    credentials = Some((&argv[at + 1], &argv[at + 2]));
                    at += 3;
                }
                "setname" if more >= 1 => {
                    name = Some(argv[at + 1].clone());
                    at += 2;
                }
                _ => return Err(format!("-ERR Syntax error in HELLO option '{}'\r\n", argv[at])),
            }
        }
        match credentials {
            None => Ok((resp3, name, None)),
            Some((user, password)) => {
                let user = self.identify(Some(user), password).ok_or(WRONGPASS)?;
                Ok((resp3, name, Some(user)))
            }
        }
    }

    fn identify(&self, user: Option<&str>, password: &str) -> Option<Identity> {
        if !self.rules.accounts.is_empty() {
            let account = match user {
                Some(user) => self.account(user, password),
                None => self.account_of_password(password),
            };
            return account.map(Some);
        }
        let right = user.is_none_or(|user| user == "default")
            && self.rules.password.is_none_or(|set| set == password);
        right.then_some(None)
    }

    fn log_in(&mut self, user: Identity) {
        self.authenticated = true;
        self.user = user;
    }

    fn log_out(&mut self) {
        self.user = self.default_account();
        self.authenticated =
            if self.rules.accounts.is_empty() { self.rules.password.is_none() } else { self.user.is_some() };
    }

    fn auth(&mut self, argv: &[String]) {
        let user = match argv {
            [_, _] if self.rules.trust => Some(None),
            [_, _] if self.rules.password.is_none() && self.rules.accounts.is_empty() => {
                return self.reply(
                    "-ERR AUTH <password> called without any password configured for the default user. \
                     Are you sure your configuration is correct?\r\n",
                );
            }
            [_, password] => self.identify(None, password),
            [_, user, password] => self.identify(Some(user), password),
            _ => return self.reply("-ERR syntax error\r\n"),
        };
        match user {
            Some(user) => {
                self.log_in(user);
                self.reply("+OK\r\n");
            }
            None => self.refuse_login(),
        }
    }

    fn refuse_login(&mut self) {
        self.failed_logins += 1;
        if self.rules.swallows && !self.output.is_empty() {
            self.swallowed += 1;
        } else {
            self.reply(WRONGPASS);
        }
    }

    fn reset(&mut self) {
        self.end_transaction();
        self.channels.clear();
        self.patterns.clear();
        self.shards.clear();
        self.resp3 = false;
        self.monitor = false;
        self.reply_off = false;
        self.skip_next = false;
        self.name.clear();
        self.db = 0;
        self.log_out();
        self.reply("+RESET\r\n");
    }

    fn client(&mut self, argv: &[String]) {
        match (&*argv[1].to_ascii_lowercase(), argv.len()) {
            ("reply", 3) => match &*argv[2].to_ascii_lowercase() {
                "on" => {
                    self.reply_off = false;
                    self.skip = false;
                    self.reply("+OK\r\n");
                }
                "off" => self.reply_off = true,
                "skip" => self.skip_next |= !self.reply_off,
                _ => self.reply("-ERR syntax error\r\n"),
            },
            ("id", 2) => self.reply(":9\r\n"),
            ("setname", 3) => {
                self.name = argv[2].clone();
                self.reply("+OK\r\n");
            }
            ("getname", 2) if self.name.is_empty() => {
                let nil = self.null().to_owned();
                self.reply(&nil);
            }
            ("getname", 2) => self.reply(&bulk(&self.name.clone())),
            _ => self.reply("-ERR no such subcommand\r\n"),
        }
    }

    /// Sends a reply, unless CLIENT REPLY suppresses it.
    fn reply(&mut self, text: &str) {
        if !self.reply_off && !self.skip {
            self.output.extend_from_slice(text.as_bytes());
        }
    }

    const fn null(&self) -> &'static str {
        if self.resp3 { "_\r\n" } else { "$-1\r\n" }
    }

    fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shards.len()
    }

    fn listens_in_resp2(&self) -> bool {
        !self.resp3 && self.subscriptions() > 0
    }
}

/// A user of the accounts. `None` means the only user of a Redis without accounts.
type Identity = Option<&'static Account>;

const NOAUTH_HELLO: &str = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                            <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
                            RESP protocol version at the same time\r\n";

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
