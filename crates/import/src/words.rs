//! The words of the imported programs. A note repeats only known words, because any other word of a file may be a
//! secret.

use portcullis_config::message::is_harmless;

/// The directives and parameters of HAProxy, nginx, rinetd and netsh that are used in files about TCP. The file has one
/// word a line, sorted.
const WORDS: &str = include_str!("words.txt");

/// Words that may be followed by a password, because they send something, set something or log in.
const SECRET_AFTER: [&str; 14] = [
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
];

/// Returns whether a secret may follow the word.
pub(super) fn hides_the_rest(word: &str) -> bool {
    SECRET_AFTER.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns whether a word is safe to repeat. The word is split at punctuation, and each part must be a known word, a
/// name, an address or a quantity.
pub(super) fn is_known(word: &str, is_name: impl Fn(&str) -> bool) -> bool {
    let of_program = |part: &str| WORDS.split_whitespace().any(|known| known == part);
    let fine = |part: &str| is_name(part) || of_program(part) || is_pattern(part) || is_harmless(part);
    if fine(word) || is_path(word) {
        return true;
    }
    let mut parts = word.split(['=', ',', '[', ']', '{', '}', '(', ')', '!', ';', '\'', '"', '/', '@']);
    parts.all(|part| part.is_empty() || part == "..." || fine(part))
}

/// Returns whether a word looks like a rinetd pattern for sources, for example `192.168.?.*`.
fn is_pattern(word: &str) -> bool {
    let short = word.split(['.', ':', '?', '*']).all(|run| run.len() <= 4);
    let fits = |c: char| c.is_ascii_hexdigit() || ".:?*".contains(c);
    short && word.contains(['.', ':', '*', '?']) && word.chars().all(fits)
}

fn is_path(word: &str) -> bool {
    word.starts_with('/')
        && portcullis_config::message::Masked::path(std::path::Path::new(word)).to_string() == word
}
