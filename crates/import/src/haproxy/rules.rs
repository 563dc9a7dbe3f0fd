//! `tcp-request ... accept|reject [if|unless ...]`. In each of the three stages the first rule that matches decides. A
//! client that matches no rule passes the stage, and a client gets in if it passes all stages.

use portcullis_config::message::Message;
use portcullis_config::message::message;

use super::acl::Acls;
use super::condition::Condition;
use super::limits::Limit;
use super::section::Line;
use crate::express::{Entry, Lists};
use crate::notes::Notes;
use crate::review::Class;
use crate::sources::{Net, Sources};

/// The stages after `tcp-request connection`. They see the address in a PROXY header.
const LATER: [&str; 2] = ["session", "content"];

/// Actions after which HAProxy reads the next rule. They change nothing that later rules depend on here.
const GOES_ON: [&str; 14] = [
    "capture",
    "sc-add-gpc",
    "sc-inc-gpc",
    "sc-inc-gpc0",
    "sc-inc-gpc1",
    "sc-set-gpt",
    "sc-set-gpt0",
    "set-log-level",
    "set-priority-class",
    "set-priority-offset",
    "set-tos",
    "set-var",
    "set-var-fmt",
    "unset-var",
];

/// The rules of a proxy by stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// The rules `tcp-request connection`, which see the address of the peer.
    pub(super) connection: Stage,
    later: [Stage; 2],
    /// Rules that choose a backend or a server. A client that they send elsewhere does not get in here.
    routes: Stage,
}

/// The rules of a stage, in order, and its limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    rules: Vec<Rule>,
    pub(super) limits: Vec<Limit>,
}

#[derive(Clone, Debug)]
struct Rule {
    action: Action,
    /// `None` if the rule always applies.
    condition: Option<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Accept,
    Reject,
    /// Expects a PROXY header at the beginning of the connection.
    ExpectHeader,
}

/// The sources that pass a stage, and those that must send a PROXY header.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    /// The sources that pass for certain.
    pub(super) passed: Sources,
    /// The sources that must send a header for certain.
    pub(super) expected: Sources,
    /// The sources that may have to send a header.
    pub(super) maybe_expected: Sources,
}

impl Rules {
    /// Reads a `tcp-request` line.
    pub(super) fn line(&mut self, line: &Line, acls: &Acls, notes: &mut Notes) -> Class {
        if line.uncertain {
            return Class::doubtful(
                "it depends on a condition or a variable, and may decide which clients get in",
            );
        }
        let stage = match line.word(1) {
            "connection" => &mut self.connection,
            "inspect-delay" => return Class::Harmless("it has no counterpart"),
            name => match LATER.iter().position(|stage| *stage == name) {
                Some(at) => &mut self.later[at],
                None => return Class::unknown(),
            },
        };
        let action = match line.word(2) {
            "accept" => Action::Accept,
            "reject" | "silent-drop" => Action::Reject,
            "expect-proxy" if line.word(1) == "connection" && line.word(3) == "layer4" => {
                Action::ExpectHeader
            }
            action if goes_on(action) => {
                return Class::Harmless("it has no counterpart");
            }
            _ => return Class::unknown(),
        };
        let condition = Condition::behind(&line.words, line.number, acls, notes);
        let (condition, limits) = match condition {
            Some(condition) if action == Action::Reject => match condition.without_limits() {
                (None, limits) => {
                    stage.limits.extend(limits);
                    return Class::Understood;
                }
                (condition, limits) => (condition, limits),
            },
            condition => (condition, Vec::new()),
        };
        stage.limits.extend(limits);
        if condition.as_ref().is_some_and(Condition::is_in_doubt) {
            let how = match action {
                Action::Accept => "in doubt it admits no address",
                Action::Reject => "in doubt it refuses every address that it might match",
                Action::ExpectHeader => "in doubt no sender is trusted",
            };
            notes.left_out(
                line.number,
                line,
                message!("which clients it matches cannot be known here: {}", how),
            );
        }
        stage.rules.push(Rule { action, condition });
        Class::Understood
    }

    /// Adds a rule that sends clients to the upstream of the listener, so they get in.
    pub(super) fn lead_here(&mut self, condition: Option<Condition>) {
        self.routes.rules.push(Rule { action: Action::Accept, condition });
    }

    /// Adds a rule that sends clients elsewhere, so they are refused.
    pub(super) fn lead_elsewhere(&mut self, condition: Option<Condition>) {
        self.routes.rules.push(Rule { action: Action::Reject, condition });
    }

    /// Returns the stages that see the address in a PROXY header.
    pub(super) fn later(&self) -> impl Iterator<Item = &Stage> + Clone {
        self.later.iter().chain([&self.routes])
    }
}

impl Stage {
    /// Returns whether no rule of the stage accepts or rejects.
    pub(super) fn is_open(&self) -> bool {
        self.rules.iter().all(|rule| rule.action == Action::ExpectHeader)
    }

    /// Returns whether some connections must begin with a PROXY header.
    pub(super) fn expects_headers(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::ExpectHeader)
    }

    /// Applies the rules in order, and admits no source in doubt. A source that a rule may reject is rejected, and a
    /// source that a rule may accept is not accepted.
    pub(super) fn passage(&self) -> Passage {
        let (mut open, mut accepted) = (Sources::all(), Sources::default());
        // The sources that no rule can have decided, and the sources that perhaps no rule has decided.
        let (mut surely, mut maybe) = (Sources::all(), Sources::all());
        let (mut expected, mut maybe_expected) = (Sources::default(), Sources::default());
        for rule in &self.rules {
            let bounds = rule.condition.as_ref().map(|condition| (&condition.must, &condition.may));
            let all = Sources::all();
            let (must, may) = bounds.unwrap_or((&all, &all));
            match rule.action {
                Action::Accept => {
                    accepted = accepted.or(&open.and(must));
                    open = open.less(must);
                }
                Action::Reject => open = open.less(may),
                Action::ExpectHeader => {
                    expected = expected.or(&surely.and(must));
                    maybe_expected = maybe_expected.or(&maybe.and(may));
                    continue;
                }
            }
            surely = surely.less(may);
            maybe = maybe.less(must);
        }
        Passage { passed: accepted.or(&open), expected, maybe_expected }
    }

    /// Returns the entries that name sources which this stage admits, or from which it expects headers.
    pub(super) fn named(&self) -> Vec<Entry> {
        let conditions = self.rules.iter().filter_map(|rule| Some((rule.action, rule.condition.as_ref()?)));
        let entries = conditions.flat_map(|(action, condition)| condition.entries(action == Action::Reject));
        entries.collect()
    }

    /// Returns the entries that name senders of PROXY headers. If a rule without a condition expects headers, the peers
    /// that the other rules admit are the senders.
    pub(super) fn named_senders(&self) -> Vec<Entry> {
        let expecting = || self.rules.iter().filter(|rule| rule.action == Action::ExpectHeader);
        if expecting().any(|rule| rule.condition.is_none()) {
            return self.named();
        }
        let conditions = expecting().filter_map(|rule| rule.condition.as_ref());
        conditions.flat_map(|condition| condition.entries(false)).collect()
    }

    /// Adds the rules to the two lists. Returns whether the stage admits the sources that no rule names.
    fn written(&self, lists: &mut Lists) -> bool {
        for rule in &self.rules {
            match (&rule.condition, rule.action) {
                (_, Action::ExpectHeader) => {}
                (None, Action::Accept) => return true,
                (None, Action::Reject) => return false,
                (Some(condition), Action::Accept) => {
                    lists.allow.extend(condition.any_of().unwrap_or_default());
                }
                (Some(condition), Action::Reject) => {
                    lists.deny.extend(condition.any_of().unwrap_or_default());
                    if let Some(entries) = condition.none_of() {
                        lists.allow.extend(entries);
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// Returns whether HAProxy reads the next rule after this action. An action can have an argument in parentheses.
fn goes_on(action: &str) -> bool {
    let name = action.split('(').next().unwrap_or_default();
    let counter = name.strip_prefix("track-sc");
    let tracks = counter.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()));
    tracks || GOES_ON.contains(&name)
}

/// Returns the sources that pass all stages for certain.
pub(super) fn admitted<'s>(stages: impl Iterator<Item = &'s Stage>) -> Sources {
    stages.fold(Sources::all(), |admitted, stage| admitted.and(&stage.passage().passed))
}

/// Returns the rules as two lists. Rules that cannot be written as entries are left out.
pub(super) fn written<'s>(stages: impl Iterator<Item = &'s Stage>) -> Lists {
    let mut lists = Lists::default();
    let mut open = true;
    for stage in stages.filter(|stage| !stage.rules.is_empty()) {
        let mut own = Lists::default();
        // If a stage admits sources that it does not name, its `allow` entries do not restrict anything.
        if !stage.written(&mut own) {
            open = false;
            lists.allow.extend(own.allow);
        }
        lists.deny.extend(own.deny);
    }
    if open {
        let origin = Message::from("no rule for the rest: HAProxy admits it");
        lists.allow.extend(Net::all().map(|net| Entry { net, origin: origin.clone(), group: None }));
    }
    lists
}
