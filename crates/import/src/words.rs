//! Words of the imported programs. A note repeats these; any other word of a file may be a secret.

use portcullis_config::message::is_harmless;

/// Directives and parameters of HAProxy, nginx, rinetd and netsh that stand in files about TCP, one a line, sorted.
const WORDS: &str = include_str!("words.txt");

/// Words behind which anything may be a password: something that is sent, set or used to log in.
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

/// Whether a secret may follow the word.
pub(super) fn hides_the_rest(word: &str) -> bool {
    SECRET_AFTER.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Whether a word, taken apart at its signs, is made of known words, names, addresses and quantities only.
pub(super) fn is_known(word: &str, is_name: impl Fn(&str) -> bool) -> bool {
    let of_program = |part: &str| WORDS.split_whitespace().any(|known| known == part);
    let fine = |part: &str| is_name(part) || of_program(part) || is_pattern(part) || is_harmless(part);
    if fine(word) || is_path(word) {
        return true;
    }
    let mut parts = word.split(['=', ',', '[', ']', '{', '}', '(', ')', '!', ';', '\'', '"', '/', '@']);
    parts.all(|part| part.is_empty() || part == "..." || fine(part))
}

/// `192.168.?.*`, as rinetd writes the sources that it matches.
fn is_pattern(word: &str) -> bool {
    let short = word.split(['.', ':', '?', '*']).all(|run| run.len() <= 4);
    let fits = |c: char| c.is_ascii_hexdigit() || ".:?*".contains(c);
    short && word.contains(['.', ':', '*', '?']) && word.chars().all(fits)
}

fn is_path(word: &str) -> bool {
    word.starts_with('/')
        && portcullis_config::message::Masked::path(std::path::Path::new(word)).to_string() == word
}
