//! The explanation of a refusal, from the configuration and the address of this host.

use std::net::SocketAddr;

use portcullis_acl::{ClientAddr, Decision, Reason, Rule};
use portcullis_config::{Config, Listener};

use crate::cli::test_connection::step::Trouble;
use crate::clock::wall_clock;
use crate::generation::explain::{Answer, AskedAddress, Question, as_text};
use crate::generation::logins::Logins;

/// A connection of this host to a listener, which the proxy may refuse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'c> {
    config: &'c Config,
    listener: &'c Listener,
    /// The address of this host at the connection.
    source: ClientAddr,
    /// Further options of a command in the advice.
    options: &'c str,
}

impl<'c> Refusal<'c> {
    /// `from`: the own end of the connection; `None` for a unix socket.
    pub(super) fn of(
        config: &'c Config,
        listener: &'c Listener,
        from: Option<SocketAddr>,
        options: &'c str,
    ) -> Self {
        let source = from.map_or_else(ClientAddr::unix, ClientAddr::from_socket);
        Self { config, listener, source, options }
    }

    /// Returns whether the proxy waits for a PROXY header of this host.
    pub(super) fn speaks_for_others(&self) -> bool {
        self.listener.proxy_protocol().is_some()
            && self.config.policy().speaks_for_others(self.listener.index(), &self.source, wall_clock())
    }

    /// Explains why the proxy refuses this host. `seen` is what the client sees.
    pub(super) fn explain(&self, seen: &str) -> Trouble {
        let source = self.shown();
        let is_strict = self.listener.proxy_protocol().is_some_and(|protocol| protocol.only());
        if is_strict && !self.speaks_for_others() {
            return Trouble::failure(
                "proxy_header",
                format!("{seen}: it takes connections from load balancers only, and {source} is none"),
                format!(
                    "connect through the load balancer, or add {source} to from of listeners.{}.proxy_protocol",
                    self.listener.name()
                ),
            );
        }
        let policy = self.config.policy();
        match policy.judge(self.listener.index(), &self.source, wall_clock()) {
            Decision::Allow(_) => Trouble::failure(
                "connect",
                format!("{seen}, but this configuration admits {source}"),
                "read the log of the proxy: it may run with another configuration, or see another address",
            ),
            Decision::Deny(denial) => {
                let rule = denial.rule().and_then(|rule| policy.rule(rule));
                let answer = self.answer(None).unwrap_or_default();
                let (why, remedy) = answer.split_once('\n').unwrap_or((&answer, ""));
                let advice = match remedy.trim() {
                    "" => self.advice(denial.reason(), rule),
                    remedy => remedy.to_owned(),
                };
                Trouble::failure(denial.reason().as_str(), format!("{seen}. {why}"), advice)
            }
        }
    }

    /// Returns the change that admits this host, where `explain` knows no command.
    fn advice(&self, reason: Reason, rule: Option<Rule<'_>>) -> String {
        let (listener, source) = (self.listener.name(), self.shown());
        let entry = rule.map_or_else(|| source.clone(), |rule| rule.entry().to_string());
        match (reason, rule.and_then(|rule| rule.group)) {
            (Reason::Denied, Some(group)) => {
                format!("to admit it: portcullis groups remove {group} {entry}{}", self.options)
            }
            (Reason::Denied, None) => format!("to admit it: remove {entry} from deny of listener {listener}"),
            (Reason::Expired, _) => {
                format!("to admit it: change until of {entry} in allow of listener {listener}")
            }
            (Reason::NotAllowed, _) => {
                format!("to admit it: write {source} into allow of listener {listener}")
            }
        }
    }

    /// Returns what to do about a refused login.
    pub(super) fn advice_on_user(&self, user: &str) -> String {
        let answer = self.answer(Some(user)).unwrap_or_default();
        let of_user = answer.lines().find(|line| line.contains(": user ") && line.contains(" refused: "));
        of_user.map_or_else(|| "correct the password".to_owned(), str::to_owned)
    }

    /// Asks the configuration about this host, as `explain` does. `None`: the question is not valid.
    fn answer(&self, user: Option<&str>) -> Option<String> {
        let asked = AskedAddress::parse(&self.shown()).ok()?;
        let question = Question::new(user.map(str::to_owned), None).ok()?;
        let logins = Logins::of(self.config, self.listener, None);
        let answer = Answer::of(self.config, self.listener, &logins, &asked, &question, wall_clock());
        Some(as_text(&asked, &[answer], self.options))
    }

    fn shown(&self) -> String {
        self.source.ip().map_or_else(|| self.source.to_string(), |ip| ip.to_string())
    }
}
