//! `tcp-request ... accept|reject [if|unless ...]`: in each of the three stages the first rule that matches decides,
//! and who meets none goes on. Who gets in has passed them all.

use portcullis_config::message::{Message, message};

use super::acl::{Acl, Acls};
use super::section::{Line, Section};
use crate::express::{Entry, Lists};
use crate::notes::{Foreign, Notes};
use crate::sources::{Net, Sources};

const STAGES: [&str; 3] = ["connection", "session", "content"];

/// Actions that go on to the next rule, and change nothing that later rules here look at.
const GOES_ON: [&str; 8] =
    ["track-sc", "sc-inc-", "sc-set-", "sc-add-", "set-var", "unset-var", "set-mark", "capture"];

/// The rules of a frontend and its backend, stage by stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    stages: Vec<Vec<Rule>>,
    /// Something may refuse clients, and cannot be read.
    pub(super) doubt: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    accept: bool,
    /// `None`: always.
    condition: Option<Condition>,
}

impl Rules {
    pub(super) fn read(section: &Section, acls: &Acls, notes: &mut Notes) -> Self {
        let mut rules = Self { stages: vec![Vec::new(); STAGES.len()], doubt: false };
        for line in section.lines.iter().filter(|line| line.word(0) == "tcp-request") {
            rules.line(line, acls, notes);
        }
        rules.stages.retain(|stage| !stage.is_empty());
        rules
    }

    /// What must be passed as well.
    pub(super) fn also(&mut self, other: Self) {
        self.stages.extend(other.stages);
        self.doubt |= other.doubt;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Who gets in for certain.
    pub(super) fn admitted(&self) -> Sources {
        self.stages.iter().fold(Sources::all(), |admitted, stage| admitted.and(&passed(stage)))
    }

    /// The rules as two lists, as far as they have that form.
    pub(super) fn written(&self) -> Lists {
        let mut lists = Lists::default();
        for stage in &self.stages {
            written(stage, &mut lists);
        }
        lists
    }

    fn line(&mut self, line: &Line, acls: &Acls, notes: &mut Notes) {
        let Some(stage) = STAGES.iter().position(|stage| *stage == line.word(1)) else {
            let harmless = line.word(1) == "inspect-delay";
            self.doubt |= !harmless;
            notes.left_out(line.number, line, "it has no counterpart");
            return;
        };
        let accept = match line.word(2) {
            "accept" => true,
            "reject" | "silent-drop" => false,
            action if GOES_ON.iter().any(|known| action.starts_with(known)) => {
                notes.left_out(line.number, line, "it has no counterpart");
                return;
            }
            _ => {
                self.doubt = true;
                notes.left_out(line.number, line, "it has no counterpart, and may decide who gets in");
                return;
            }
        };
        // Between the action and the condition stand parameters of the action.
        let at = line.words.iter().position(|word| word == "if" || word == "unless");
        let condition = at.map(|at| {
            let unless = line.words[at] == "unless";
            Condition::read(&line.words[at + 1..], unless, line.number, acls, notes)
        });
        if condition.as_ref().is_some_and(|condition| condition.may != condition.must) {
            let how = if accept {
                "in doubt it lets nobody in"
            } else {
                "in doubt it refuses all whom it might match"
            };
            notes.left_out(line.number, line, message!("whom it matches cannot be known here: {}", how));
        }
        self.stages[stage].push(Rule { accept, condition });
    }
}

/// A condition in disjunctive form, as HAProxy's are: `a !b or c`.
#[derive(Clone, Debug)]
struct Condition {
    must: Sources,
    may: Sources,
    terms: Vec<Vec<Literal>>,
    unless: bool,
}

#[derive(Clone, Debug)]
struct Literal {
    negated: bool,
    acl: Acl,
}

impl Condition {
    fn read(words: &[String], unless: bool, line: usize, acls: &Acls, notes: &mut Notes) -> Self {
        let mut terms: Vec<Vec<Literal>> = vec![Vec::new()];
        let mut negated = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut word = word.as_str();
            if word == "or" || word == "||" {
                terms.push(Vec::new());
                continue;
            }
            while let Some(rest) = word.strip_prefix('!') {
                negated = !negated;
                word = rest;
            }
            let acl = match word {
                "" => continue,
                "{" => {
                    let test: Vec<String> = words.by_ref().take_while(|word| *word != "}").cloned().collect();
                    acls.test(&test, line, None, notes)
                }
                name => acls.named(name).unwrap_or_else(|| {
                    notes.left_out(
                        line,
                        Foreign(name),
                        "there is no such acl in this section, so whom it matches is in doubt",
                    );
                    Acl::unknown()
                }),
            };
            if let Some(term) = terms.last_mut() {
                term.push(Literal { negated: std::mem::take(&mut negated), acl });
            }
        }
        let (mut must, mut may) = (Sources::default(), Sources::default());
        for term in &terms {
            let (sure, possible) =
                term.iter().fold((Sources::all(), Sources::all()), |(sure, possible), literal| {
                    let (least, most) = literal.bounds();
                    (sure.and(&least), possible.and(&most))
                });
            must = must.or(&sure);
            may = may.or(&possible);
        }
        if unless {
            (must, may) = (may.not(), must.not());
        }
        Self { must, may, terms, unless }
    }

    /// The entries of `a or b`.
    fn any_of(&self) -> Option<Vec<Entry>> {
        self.alternatives().filter(|_| !self.unless)
    }

    /// The entries of `!a !b`, or of `unless a or b`: it matches who is in none of them.
    fn none_of(&self) -> Option<Vec<Entry>> {
        match (self.unless, self.terms.as_slice()) {
            (true, _) => self.alternatives(),
            (false, [term]) if term.iter().all(|literal| literal.negated) => {
                Some(term.iter().flat_map(|literal| literal.acl.entries.clone()).collect())
            }
            _ => None,
        }
    }

    fn alternatives(&self) -> Option<Vec<Entry>> {
        let each = self.terms.iter().map(|term| match term.as_slice() {
            [Literal { negated: false, acl }] => Some(acl.entries.clone()),
            _ => None,
        });
        each.collect::<Option<Vec<_>>>().map(|lists| lists.concat())
    }
}

impl Literal {
    fn bounds(&self) -> (Sources, Sources) {
        match self.negated {
            false => (self.acl.must.clone(), self.acl.may.clone()),
            true => (self.acl.may.not(), self.acl.must.not()),
        }
    }
}

/// Who passes a stage for certain: a rule that may reject does, one that may accept does not.
fn passed(stage: &[Rule]) -> Sources {
    let (mut open, mut accepted) = (Sources::all(), Sources::default());
    for rule in stage {
        let bounds = rule.condition.as_ref().map(|condition| (condition.must.clone(), condition.may.clone()));
        let (must, may) = bounds.unwrap_or_else(|| (Sources::all(), Sources::all()));
        if rule.accept {
            accepted = accepted.or(&open.and(&must));
            open = open.less(&must);
        } else {
            open = open.less(&may);
        }
    }
    accepted.or(&open)
}

fn written(stage: &[Rule], lists: &mut Lists) {
    for rule in stage {
        match (&rule.condition, rule.accept) {
            (None, true) => break,
            (None, false) => return,
            (Some(condition), true) => lists.allow.extend(condition.any_of().unwrap_or_default()),
            (Some(condition), false) => {
                lists.deny.extend(condition.any_of().unwrap_or_default());
                if let Some(entries) = condition.none_of() {
                    lists.allow.extend(entries);
                    return;
                }
            }
        }
    }
    let origin = Message::from("no rule for the rest: HAProxy admits it");
    lists.allow.extend(Net::all().map(|net| Entry { net, origin: origin.clone(), group: None }));
}
