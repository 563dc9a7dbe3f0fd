//! Conditions of rules, `if a !b or c` or `unless ...`, in disjunctive form.

use super::acl::{Acl, Acls};
use super::limits::Limit;
use crate::express::Entry;
use crate::notes::{Foreign, Notes};
use crate::sources::Sources;

/// A condition in HAProxy's form: `a !b or c`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// The sources that it matches for certain.
    pub(super) must: Sources,
    /// The sources that it may match.
    pub(super) may: Sources,
    terms: Vec<Vec<Literal>>,
    unless: bool,
}

#[derive(Clone, Debug)]
struct Literal {
    negated: bool,
    acl: Acl,
}

impl Condition {
    /// Reads the condition in the words after an action, which begins with `if` or `unless`. `None` if there is no
    /// condition, so the rule always applies.
    pub(super) fn behind(words: &[String], line: usize, acls: &Acls, notes: &mut Notes) -> Option<Self> {
        /// The keyword, and an action or the name of a backend, which may be `if` itself.
        const BEFORE: usize = 2;
        // Parameters of the action stand before the condition.
        let at = (BEFORE..words.len()).find(|at| words[*at] == "if" || words[*at] == "unless")?;
        let terms = terms(&words[at + 1..], line, acls, notes);
        Some(Self::of(terms, words[at] == "unless"))
    }

    fn of(terms: Vec<Vec<Literal>>, unless: bool) -> Self {
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

    /// Splits off the alternatives that are limits. Returns the rest of the condition, and the limits. The rest is
    /// `None` if all alternatives are limits.
    pub(super) fn without_limits(mut self) -> (Option<Self>, Vec<Limit>) {
        if self.unless {
            return (Some(self), Vec::new());
        }
        let mut limits = Vec::new();
        self.terms.retain(|term| match term.as_slice() {
            [Literal { negated: false, acl: Acl { limit: Some(limit), .. } }] => {
                limits.push(limit.clone());
                false
            }
            _ => true,
        });
        match self.terms.is_empty() {
            true => (None, limits),
            false => (Some(Self::of(self.terms, false)), limits),
        }
    }

    /// Returns whether it cannot be known for every source if the condition matches.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.may != self.must
    }

    /// Returns the entries of a condition `a or b`. `None` if the condition has another form.
    pub(super) fn any_of(&self) -> Option<Vec<Entry>> {
        self.alternatives().filter(|_| !self.unless)
    }

    /// Returns the entries of a condition `!a !b` or `unless a or b`, which matches the sources that are in none of
    /// them. `None` if the condition has another form.
    pub(super) fn none_of(&self) -> Option<Vec<Entry>> {
        match (self.unless, self.terms.as_slice()) {
            (true, _) => self.alternatives(),
            (false, [term]) if term.iter().all(|literal| literal.negated) => {
                Some(term.iter().flat_map(|literal| literal.acl.entries.clone()).collect())
            }
            _ => None,
        }
    }

    /// Returns the entries of the tests that are `negated`, or of the tests that are not.
    pub(super) fn entries(&self, negated: bool) -> Vec<Entry> {
        let literals = self.terms.iter().flatten();
        let wanted = literals.filter(|literal| (literal.negated != self.unless) == negated);
        wanted.flat_map(|literal| literal.acl.entries.clone()).collect()
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

fn terms(words: &[String], line: usize, acls: &Acls, notes: &mut Notes) -> Vec<Vec<Literal>> {
    let mut terms: Vec<Vec<Literal>> = vec![Vec::new()];
    let mut negated = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut word = word.as_str();
        while let Some(rest) = word.strip_prefix('!') {
            negated = !negated;
            word = rest;
        }
        // HAProxy forgets a `!` before this word, and does not distinguish its case.
        if word.eq_ignore_ascii_case("or") || word == "||" {
            terms.push(Vec::new());
            negated = false;
            continue;
        }
        let acl = match word {
            "" => continue,
            "{" => {
                let test: Vec<String> = words.by_ref().take_while(|word| *word != "}").cloned().collect();
                acls.test(&test, line, None, notes)
            }
            name => acls.named(name).unwrap_or_else(|| {
                let why = "there is no such acl in this section, so which clients it matches is in doubt";
                notes.left_out(line, Foreign(name), why);
                Acl::unknown()
            }),
        };
        if let Some(term) = terms.last_mut() {
            term.push(Literal { negated: std::mem::take(&mut negated), acl });
        }
    }
    terms
}
