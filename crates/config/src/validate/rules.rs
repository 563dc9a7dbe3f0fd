//! Command rules (`acl`): Redis's ACL syntax, one string or a list of them.

use std::fmt;
use std::sync::Arc;

use portcullis_acl::command_rule::{CommandRules, Problem, RuleError, nearest};

use portcullis_resp::command::Categories;

use crate::load::Scope;
use crate::message::{Harmless, Masked, Message, message, nearest as closest};
use crate::model::Acl;
use crate::raw::Node;
use crate::value;

/// Reads rules. What is questionable about good ones is noted as well.
pub(super) fn read(node: &Node, scope: &mut Scope) -> Option<Acl> {
    let items = value::list(node);
    if items.is_empty() {
        let hint = "write acl: \"@public\", or leave it out to allow every command";
        scope.problems.error(&node.place, "acl has no rule", hint);
        return None;
    }
    let texts: Option<Vec<&str>> =
        items.iter().map(|item| value::text(item, "acl", &mut scope.problems)).collect();
    let texts = texts?;
    let rules = match CommandRules::parse_list(texts.iter().copied()) {
        Ok(rules) => rules,
        Err(errors) => {
            for RuleError { item, word, problem, .. } in errors {
                let place = items.get(item).map_or(&node.place, |item| &item.place);
                scope.problems.error(place, message!("bad rule '{}'", rule(&word, &problem)), hint(&problem));
            }
            return None;
        }
    };
    for unknown in rules.names_unknown() {
        let hint = match nearest(unknown) {
            Some(meant) => message!("did you mean {}? For a module's command the name is right", meant),
            None => "for a module's command the name is right; a misspelt one allows nothing".into(),
        };
        let message = message!("no Redis known here has the command {}", Name(unknown));
        scope.problems.warning(&node.place, message, hint);
    }
    // Whether Redis holds scripts of the preset back shows where the whole configuration is known.
    if rules.scripts_escape() && !rules.has_public_scripts() {
        let message = "scripts or functions are allowed, and what they do is not seen here: other rules do not bind them";
        let hint = "add -@scripting, or give the upstream's user the same rules (ACL SETUSER)";
        scope.problems.warning(&node.place, message, hint);
    }
    let text = texts.iter().map(|text| (*text).to_owned()).collect();
    Some(Acl { text, rules: Arc::new(rules) })
}

/// A word that is no rule. It is shown where it names a command or a category, or nearly so; `>password` never is.
fn rule(word: &str, problem: &Problem) -> Masked {
    let name = word.trim_start_matches(['(', '+', '-', '@']).to_ascii_lowercase();
    let known =
        matches!(problem, Problem::NoSign(_) | Problem::PublicRefused | Problem::FirstArgumentRefused(_));
    let categories: Vec<&str> =
        Categories::ALL.iter().map(|(_, name)| *name).chain(["all", "public"]).collect();
    let meant = nearest(&name).or_else(|| closest(&name, &categories));
    // The first argument that a rule names is not the name of anything.
    let name = word.split_once('|').map_or(word, |(name, _)| name);
    match known || meant.is_some() {
        true => Masked::known(name),
        false => Masked::of(word),
    }
}

/// The right form, without words of the file.
fn hint(problem: &Problem) -> Message {
    match problem {
        Problem::ArgumentOfSubcommand(_) => {
            "a subcommand's arguments cannot be told apart: leave them out".into()
        }
        Problem::ArgumentOfUnknown(_) => {
            "first arguments cannot be told apart where the command is unknown: leave them out".into()
        }
        problem => message!("{}", Form(problem)),
    }
}

/// An error of the rules, where it holds names of the command table only.
struct Form<'p>(&'p Problem);

impl Harmless for Form<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)
    }
}

/// A command that a valid rule names: `check` prints valid rules as they are.
struct Name<'n>(&'n str);

impl Harmless for Name<'_> {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}
