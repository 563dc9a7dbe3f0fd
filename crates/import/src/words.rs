//! The words of the imported programs. A note repeats only known words, because any other word of a file may be a
//! secret.

use std::collections::HashSet;
use std::path::Path;
use std::sync::LazyLock;

use portcullis_config::message::{Masked, is_harmless};

/// The keywords of the imported programs, one word a line, sorted. `words.txt` has those that the importers read, and
/// Windows's around netsh; `haproxy.txt` has the other keywords that `haproxy -dKall` prints, and `nginx.txt` the other
/// directives and variables of the stream modules.
const LISTS: [&str; 4] = [
    include_str!("words.txt"),
    include_str!("words/haproxy.txt"),
    include_str!("words/nginx.txt"),
    include_str!("haproxy/global.txt"),
];

/// All words of the lists.
static WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| LISTS.into_iter().flat_map(str::split_whitespace).collect());

/// Words that may be followed by a password, because they send something, set something or log in.
const SECRET_AFTER: [&str; 18] = [
    "send",
    "send-binary",
    "send-lf",
    "auth",
    "password",
    "insecure-password",
    "requirepass",
    "masterauth",
    "user",
    "set",
    "set-header",
    "add-header",
    "proxy_set_header",
    "comment",
    "ca-sign-pass",
    "cluster-secret",
    "setenv",
    "presetenv",
];

/// Returns whether a secret may follow the word.
pub(super) fn hides_the_rest(word: &str) -> bool {
    SECRET_AFTER.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns whether a word is safe to repeat. The word is split at punctuation, and each part must be a known word, a
/// name, an address or a quantity.
pub(super) fn is_known(word: &str, is_name: impl Fn(&str) -> bool) -> bool {
    // Windows does not distinguish the case of commands.
    let of_program = |part: &str| WORDS.contains(part) || WORDS.contains(part.to_ascii_lowercase().as_str());
    let fine = |part: &str| {
        is_name(part) || of_program(part) || is_pattern(part) || is_harmless(part) || is_path(part)
    };
    if fine(word) {
        return true;
    }
    let mut parts = word.split([
        '=', ',', '[', ']', '{', '}', '(', ')', '!', ';', '\'', '"', '/', '@', '$', '%', ':', '*', '|',
    ]);
    parts.all(|part| part.is_empty() || part == "..." || fine(part))
}

/// Returns whether a word looks like a rinetd pattern for sources, for example `192.168.?.*`.
fn is_pattern(word: &str) -> bool {
    let short = word.split(['.', ':', '?', '*']).all(|run| run.len() <= 4);
    let fits = |c: char| c.is_ascii_hexdigit() || ".:?*".contains(c);
    short && word.contains(['.', ':', '*', '?']) && word.chars().all(fits)
}

/// The endings of files that the imported programs read. A word with such an ending is a name, not a secret.
const FILES: [&str; 13] = [
    ".acl", ".cer", ".cfg", ".conf", ".crl", ".crt", ".csv", ".key", ".lst", ".list", ".map", ".pem", ".txt",
];

/// Returns whether a word is an absolute path, or the name of a file or a pattern for such names.
fn is_path(word: &str) -> bool {
    let plain = word.replace(['*', '?', '[', ']', '!'], "");
    let is_file = word.starts_with('/') || FILES.iter().any(|ending| word.ends_with(ending));
    is_file && Masked::path(Path::new(&plain)).to_string() == plain
}

#[cfg(test)]
mod tests;
