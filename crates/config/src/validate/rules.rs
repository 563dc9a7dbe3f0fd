//! Command rules (`acl`): Redis's ACL syntax, one string or a list of them.

use std::fmt;
use std::sync::Arc;

use portcullis_acl::command_rule::{CommandRules, Problem, RuleError, nearest};

use portcullis_resp::command::Categories;

use crate::message::{Harmless, Masked, Message, message, nearest as closest};
use crate::model::Acl;
use crate::raw::Node;
use crate::scope::Scope;
use crate::value;

/// Reads rules. What is questionable about good ones is noted as well.
pub(super) fn read(node: &Node, scope: &mut Scope) -> Option<Acl> {
    let items = value::list(node);
    if items.is_empty() {
        let hint = "write acl: \"@public\", or remove acl to allow every command";
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
                scope.problems.error(
                    place,
                    message!("invalid rule '{}'", rule(&word, &problem)),
                    hint(&word, &problem),
                );
            }
            return None;
        }
    };
    for unknown in rules.names_unknown() {
        let hint = match nearest(unknown) {
            Some(meant) => {
                message!("did you mean {}? If it is a command of a module, the name is correct", meant)
            }
            None => {
                "if it is a command of a module, the name is correct; a misspelled name allows nothing".into()
            }
        };
        let message = message!("no known version of Redis has the command {}", Name(unknown));
        scope.problems.warning(&node.place, message, hint);
    }
    // Whether Redis holds scripts of the preset back shows where the whole configuration is known.
    if rules.scripts_escape() && !rules.has_public_scripts() {
        let message = "scripts or functions are allowed: other rules do not restrict the commands inside them, which the proxy cannot see";
        let hint = "add -@scripting, or set the same rules for the upstream's Redis user (ACL SETUSER)";
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
    let meant = nearest(&name).or_else(|| closest(&name, &categories())).or_else(|| closest(&name, &PRESETS));
    let meant = meant.or_else(|| closest(&name, &KEYWORDS));
    // The first argument that a rule names is not the name of anything.
    let name = word.split_once('|').map_or(word, |(name, _)| name);
    match known || meant.is_some() {
        true => Masked::known(name),
        false => Masked::of(word),
    }
}

/// Presets, without their sign.
const PRESETS: [&str; 2] = ["public", "public-scripts"];
/// Rules that have no sign.
const KEYWORDS: [&str; 6] =
    ["allkeys", "resetkeys", "allchannels", "resetchannels", "allcommands", "nocommands"];

fn categories() -> Vec<&'static str> {
    Categories::ALL.iter().map(|(_, name)| *name).chain(["all"]).collect()
}

/// Returns the rule that was probably meant by a word that is none, out of the presets, categories and keywords.
fn meant(word: &str) -> Option<String> {
    let name = word.trim_start_matches(['(', '+', '-']);
    let sign = word.chars().find(|sign| matches!(sign, '+' | '-'));
    match name.strip_prefix('@') {
        Some(name) => {
            let preset = closest(name, &PRESETS).filter(|_| sign != Some('-'));
            let category = closest(name, &categories());
            match (preset, category, sign) {
                (Some(preset), ..) => Some(format!("'@{preset}'")),
                (None, Some(category), Some(sign)) => Some(format!("'{sign}@{category}'")),
                (None, Some(category), None) => Some(format!("'+@{category}' or '-@{category}'")),
                (None, None, _) => None,
            }
        }
        None if sign.is_none() => {
            let preset = closest(name, &PRESETS).map(|preset| format!("'@{preset}'"));
            preset.or_else(|| closest(name, &KEYWORDS).map(|keyword| format!("'{keyword}'")))
        }
        None => None,
    }
}

/// The right form, without words of the file.
fn hint(word: &str, problem: &Problem) -> Message {
    if matches!(problem, Problem::NotARule | Problem::UnknownCategory)
        && let Some(meant) = meant(word)
    {
        return message!("did you mean {}?", Masked::known(&meant));
    }
    match problem {
        Problem::ArgumentOfSubcommand(_) => {
            "rules cannot match arguments of a subcommand: remove them".into()
        }
        Problem::ArgumentOfUnknown(_) => {
            "rules cannot match the first argument of an unknown command: remove it".into()
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
