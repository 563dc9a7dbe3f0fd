//! Users of the model, with the part of Redis's ACL that they need.

use super::Model;
use super::commands::is_subscription;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    /// The password. `None` means `nopass`.
    pub(crate) password: Option<&'static str>,
    /// The commands that are not allowed; unknown commands are not allowed either. `None` allows everything.
    pub(crate) denied: Option<&'static [&'static str]>,
    /// The prefix of all allowed keys and channels.
    pub(crate) prefix: &'static str,
}

impl Account {
    pub(crate) const fn unrestricted(name: &'static str, password: Option<&'static str>) -> Self {
        Self { name, password, denied: None, prefix: "" }
    }

    fn accepts(&self, password: &str) -> bool {
        self.password.is_none_or(|right| right == password)
    }
}

impl Model {
    pub(super) fn account(&self, name: &str, password: &str) -> Option<&'static Account> {
        self.rules.accounts.iter().find(|account| account.name == name && account.accepts(password))
    }

    /// Returns the account of a password. Only the gate reads a password of the form `user:password` as a user and a
    /// password.
    pub(super) fn account_of_password(&self, password: &str) -> Option<&'static Account> {
        match password.split_once(':') {
            Some((name, password)) if self.rules.gate => self.account(name, password),
            _ => self.account("default", password),
        }
    }

    /// Returns the user of clients that have not logged in. `None` if they must log in.
    pub(super) fn default_account(&self) -> Option<&'static Account> {
        self.rules.accounts.iter().find(|account| account.name == "default" && account.password.is_none())
    }

    pub(super) fn refused_name(&self, name: &str) -> Option<String> {
        let account = self.user.filter(|account| account.denied.is_some())?;
        Some(no_permission(account, name))
    }

    /// Returns Redis's error for a command that the user is not allowed to run.
    pub(super) fn refused_by_acl(&self, name: &str, argv: &[String]) -> Option<String> {
        let account = self.user?;
        let denied = account.denied?;
        let subcommand = argv.get(1).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
        let full = if name == "client" { format!("client|{subcommand}") } else { name.to_owned() };
        if denied.contains(&&*full) {
            return Some(no_permission(account, &full));
        }
        let all_begin = |words: &[String]| words.iter().all(|word| word.starts_with(account.prefix));
        let (keys, channels): (&[String], &[String]) = match name {
            "get" | "set" | "rpush" | "lrange" => (&argv[1..2], &[]),
            "blpop" => (&argv[1..argv.len() - 1], &[]),
            "watch" => (&argv[1..], &[]),
            "publish" => (&[], &argv[1..2]),
            "subscribe" | "ssubscribe" | "psubscribe" => (&[], &argv[1..]),
            _ => (&[], &[]),
        };
        // A pattern must be literally in the rules, and none of these names is.
        let pattern = name == "psubscribe" && !account.prefix.is_empty();
        if !all_begin(keys) {
            return Some("-NOPERM No permissions to access a key".to_owned());
        }
        (pattern || !all_begin(channels)).then(|| "-NOPERM No permissions to access a channel".to_owned())
    }

    /// Returns whether the gate answers the command itself, because a shared connection does not belong to one client.
    pub(super) fn is_answered_by_gate(&self, name: &str, argv: &[String]) -> bool {
        self.rules.shared && name == "client" && !argv[1].eq_ignore_ascii_case("reply")
    }

    /// Records the user of a command that the gate forwards unchanged.
    pub(super) fn record(&mut self, name: &str, argv: &[String]) {
        let data = matches!(name, "ping" | "echo" | "get" | "set" | "rpush" | "lrange" | "blpop" | "publish");
        if data || is_subscription(name) {
            let user = self.user.map_or("", |account| account.name);
            self.ran.push((user, argv.to_vec()));
        }
    }
}

fn no_permission(account: &Account, name: &str) -> String {
    format!("-NOPERM User {} has no permissions to run the '{name}' command", account.name)
}
