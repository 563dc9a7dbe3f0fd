//! The servers behind a frontend.

use portcullis_config::message::message;

use super::section::{Line, Section};
use crate::notes::Notes;
use crate::place;

/// Their addresses, those marked `backup` last.
pub(super) fn servers(section: &Section, notes: &mut Notes) -> Vec<String> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for line in section.lines.iter().filter(|line| line.word(0) == "server") {
        match server(line, notes) {
            Ok((address, backup)) => {
                if backup {
                    last.push(address)
                } else {
                    first.push(address)
                }
            }
            Err(why) => notes.left_out(line.number, line, why),
        }
    }
    first.append(&mut last);
    first
}

fn server(line: &Line, notes: &mut Notes) -> Result<(String, bool), &'static str> {
    let text = line.word(2);
    let parameters = line.words.get(3..).unwrap_or_default();
    let has = |word: &str| parameters.iter().any(|parameter| parameter == word);
    if has("ssl") {
        return Err("TLS to Redis is not supported yet");
    }
    if parameters.iter().any(|parameter| parameter.starts_with("send-proxy")) {
        return Err("Redis takes no PROXY protocol, so what it leads to is no Redis");
    }
    if has("disabled") {
        return Err("it is marked as disabled");
    }
    let address = address(text).ok_or("not host:port or the path of a socket")?;
    let others: Vec<&str> = parameters.iter().map(String::as_str).filter(|word| *word != "backup").collect();
    if !others.is_empty() {
        let why = "the gate probes its upstreams itself and tries their addresses in order";
        let what = message!("'{}' of server {}", notes.quote(&others.join(" ")), notes.quote(line.word(1)));
        notes.left_out(line.number, what, why);
    }
    Ok((address, has("backup")))
}

fn address(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix@").or_else(|| text.starts_with('/').then_some(text)) {
        return place::socket_path(path).map(|path| format!("unix:{path}"));
    }
    let text = text.strip_prefix("ipv4@").or_else(|| text.strip_prefix("ipv6@")).unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    place::address(host, place::port(port)?)
}
