//! Secrets come from a file or the environment, and go nowhere but where they are needed.

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::fields::Fields;
use super::raw::{Node, Value};
use super::scope::Scope;
use super::value;
use crate::message::{Masked, Message, message};

const FORM: &str = "write {file: PATH} or {env: NAME}";
/// Longer than any password or token; a wrong path should not fill the memory.
const MAX_SECRET: u64 = 64 << 10;

/// Reads `{file: PATH}` or `{env: NAME}`. Without secrets only the form is checked, and the result is empty.
pub(super) fn read(node: &Node, what: &'static str, scope: &mut Scope) -> Option<SecretString> {
    match &node.value {
        Value::Map(_) => {}
        Value::Scalar(_) => {
            scope.problems.error(
                &node.place,
                message!("plaintext {} in a configuration file", what),
                "put it into a file and write {file: PATH}, or use {env: NAME}; \
                 where a digest is enough, create one with 'portcullis hash-password'",
            );
            return None;
        }
        Value::Null | Value::List(_) => {
            let message = message!("{} must be {{file: PATH}} or {{env: NAME}}, not {}", what, node.kind());
            scope.problems.error(&node.place, message, FORM);
            return None;
        }
    }
    let mut fields = Fields::of(node, what, &mut scope.problems)?;
    let (file, env) = (fields.take("file"), fields.take("env"));
    if fields.find("sha256").is_some() {
        let message = message!("a digest cannot be used as the {}: the full value is needed", what);
        scope.problems.error(&node.place, message, FORM);
        return None;
    }
    fields.finish_secret(&mut scope.problems);
    match (file, env) {
        (Some(file), None) => from_file(file, what, scope),
        (None, Some(env)) => from_env(env, what, scope),
        _ => {
            let message = message!("{} needs exactly one of 'file' and 'env'", what);
            scope.problems.error(&node.place, message, FORM);
            None
        }
    }
}

fn from_file(node: &Node, what: &'static str, scope: &mut Scope) -> Option<SecretString> {
    let path = scope.base.join(value::text(node, "file", &mut scope.problems)?);
    if !scope.options.reads_secrets() {
        scope.unread.push(path);
        return Some(SecretString::default());
    }
    let bytes = match scope.read_bytes(&path, MAX_SECRET) {
        Ok(bytes) => bytes,
        Err((reason, hint)) => {
            let message = message!("cannot read the {} from {}: {}", what, Masked::path(&path), reason);
            scope.problems.error(&node.place, message, hint);
            return None;
        }
    };
    let bytes = Zeroizing::new(bytes);
    let named = message!("{}", Masked::path(&path));
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            let secret = finish(text, node, what, named, scope)?;
            scope.warn_if_open(&path, what, &node.place);
            Some(secret)
        }
        Err(_) => {
            scope.problems.error(
                &node.place,
                message!("the {} in {} is not valid UTF-8", what, named),
                "save it as UTF-8",
            );
            None
        }
    }
}

fn from_env(node: &Node, what: &'static str, scope: &mut Scope) -> Option<SecretString> {
    let name = value::text(node, "env", &mut scope.problems)?;
    if !scope.options.reads_secrets() {
        return Some(SecretString::default());
    }
    let named = message!("environment variable {}", Masked::variable(name));
    match std::env::var(name) {
        Ok(text) => finish(&Zeroizing::new(text), node, what, named, scope),
        Err(std::env::VarError::NotPresent) => {
            let hint = "set it in the environment of portcullis, or check with --no-secrets";
            scope.problems.error(&node.place, message!("{} is not set", named), hint);
            None
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            scope.problems.error(
                &node.place,
                message!("the {} in {} is not valid UTF-8", what, named),
                "save it as UTF-8",
            );
            None
        }
    }
}

/// Editors and `echo` end a file with a newline that is not part of the secret.
fn finish(
    text: &str,
    node: &Node,
    what: &'static str,
    named: Message,
    scope: &mut Scope,
) -> Option<SecretString> {
    let secret = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        let message = message!("the {} in {} is empty", what, named);
        scope.problems.error(
            &node.place,
            message,
            "an empty secret protects nothing: set a value, or remove the key",
        );
        return None;
    }
    Some(SecretString::from(secret))
}
