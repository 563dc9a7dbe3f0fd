//! Command rules (`acl`): Redis's ACL syntax, one string or a list of them.

use std::sync::Arc;

use portcullis_acl::command_rule::{CommandRules, RuleError, nearest};

use crate::config::load::Scope;
use crate::config::model::Acl;
use crate::config::raw::Node;
use crate::config::value;

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
                scope.problems.error(
                    place,
                    format!("bad rule '{}'", word.escape_debug()),
                    problem.to_string(),
                );
            }
            return None;
        }
    };
    for unknown in rules.names_unknown() {
        let hint = match nearest(unknown) {
            Some(meant) => format!("did you mean {meant}? For a module's command the name is right"),
            None => "for a module's command the name is right; a misspelt one allows nothing".to_owned(),
        };
        let message = format!("no Redis known here has the command {}", unknown.escape_debug());
        scope.problems.warning(&node.place, message, hint);
    }
    if rules.scripts_escape() {
        let message = "scripts or functions are allowed, and what they do is not seen here: other rules do not bind them";
        let hint = "add -@scripting, or give the upstream's user the same rules (ACL SETUSER)";
        scope.problems.warning(&node.place, message, hint);
    }
    let text = texts.iter().map(|text| (*text).to_owned()).collect();
    Some(Acl { text, rules: Arc::new(rules) })
}
