//! `upstream` blocks, and the addresses in `proxy_pass` and `server`.

use portcullis_config::message::message;

use super::classes;
use super::directive::Directive;
use crate::notes::Notes;
use crate::place;
use crate::review::{Class, Review};

/// The parameters that say when nginx chooses a server. They do not affect which clients get in.
const HARMLESS: [&str; 5] = ["weight", "max_conns", "max_fails", "fail_timeout", "slow_start"];

/// The servers of an `upstream` block.
pub(super) struct Upstream {
    /// The addresses of the servers, with those marked `backup` last.
    pub(super) addresses: Vec<String>,
    pub(super) review: Review,
}

impl Upstream {
    pub(super) fn read(block: &[Directive], notes: &mut Notes) -> Self {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let directives = block.iter().map(|directive| (directive.at.clone(), directive));
        let review = Review::of(directives, notes, |directive, notes| {
            let ["server", text, ..] = directive.words.iter().map(String::as_str).collect::<Vec<_>>()[..]
            else {
                return classes::of_upstream(directive.name());
            };
            let parameters: Vec<&str> = directive.words.iter().skip(2).map(String::as_str).collect();
            if parameters.contains(&"down") {
                notes.left_out(&directive.at, directive, "it is marked as down");
                return Class::Understood;
            }
            let Some(to) = address(text) else {
                notes.left_out(&directive.at, directive, "not host:port or unix:/path");
                return Class::Understood;
            };
            let others: Vec<&str> = parameters.iter().copied().filter(|word| *word != "backup").collect();
            if !others.iter().all(|word| is_harmless(word)) {
                return Class::unknown();
            }
            if !others.is_empty() {
                let why = "the gate tries the addresses of an upstream in their order";
                let what = message!("'{}' of {}", notes.quote(&others.join(" ")), notes.quote(text));
                notes.left_out(&directive.at, what, why);
            }
            if parameters.contains(&"backup") {
                last.push(to)
            } else {
                first.push(to)
            }
            Class::Understood
        });
        first.append(&mut last);
        Self { addresses: first, review }
    }
}

fn is_harmless(word: &str) -> bool {
    match word.split_once('=') {
        Some((name, _)) => HARMLESS.contains(&name),
        None => word == "resolve",
    }
}

/// Reads the address of a server. Returns `None` if it is not `host:port` or `unix:/path`.
pub(super) fn address(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return place::socket_path(path).map(|path| format!("unix:{path}"));
    }
    let (host, port) = text.rsplit_once(':')?;
    place::address(host, place::port(port)?)
}
