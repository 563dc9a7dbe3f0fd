//! nginx's stream module: `server` blocks with `listen`, `allow` and `deny` in order, and `proxy_pass`.

mod access;
mod directive;

use std::collections::HashMap;

use portcullis_config::message::{Message, message};

use super::draft::{Door, Draft};
use super::express::Lists;
use super::notes::Notes;
use super::place::{self, Bind};
use super::sources::Sources;
use access::Rules;
use directive::Directive;

/// Reads nginx.conf, or a file that it includes in its `stream` block.
///
/// # Errors
/// The file is broken as nginx would find it broken; the line and why.
pub(super) fn import(text: &str, draft: &mut Draft, notes: &mut Notes) -> Result<(), (usize, Message)> {
    let file = directive::parse(text)?;
    let streams = file.iter().filter(|directive| directive.name() == "stream" && directive.block.is_some());
    let streams: Vec<&Directive> = streams.collect();
    if streams.is_empty() {
        stream(&file, draft, notes);
        return Ok(());
    }
    for directive in &file {
        match &directive.block {
            Some(block) if directive.name() == "stream" => stream(block, draft, notes),
            _ => notes.left_out(directive.line, directive, "it is outside the stream block"),
        }
    }
    Ok(())
}

fn stream(block: &[Directive], draft: &mut Draft, notes: &mut Notes) {
    let mut scope = Stream { rules: Rules::default(), upstreams: HashMap::new(), included: false };
    for directive in block {
        match (directive.name(), &directive.block) {
            ("allow" | "deny", None) => scope.rules.push(directive, notes),
            ("upstream", Some(block)) => {
                if let [_, name] = directive.words.as_slice() {
                    notes.learn(name);
                    scope.upstreams.insert(name.clone(), servers(block, notes));
                }
            }
            ("server", Some(_)) => {}
            ("include", _) => {
                scope.included = true;
                notes.left_out(directive.line, directive, "import the included file by itself");
            }
            _ => notes.left_out(directive.line, directive, "it has no counterpart"),
        }
    }
    for directive in block.iter().filter(|directive| directive.name() == "server") {
        if let Some(block) = &directive.block {
            server(directive, block, &scope, draft, notes);
        }
    }
}

struct Stream {
    rules: Rules,
    upstreams: HashMap<String, Vec<String>>,
    /// Rules may stand in a file that was not read.
    included: bool,
}

/// The addresses of an `upstream`, those marked `backup` last.
fn servers(block: &[Directive], notes: &mut Notes) -> Vec<String> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for directive in block {
        let ["server", _, ..] = directive.words.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
            let why = "the gate tries the addresses of an upstream in their order";
            notes.left_out(directive.line, directive, why);
            continue;
        };
        let (text, parameters) = (&directive.words[1], &directive.words[2..]);
        if parameters.iter().any(|word| word == "down") {
            notes.left_out(directive.line, directive, "it is marked as down");
            continue;
        }
        let Some(to) = address(text) else {
            notes.left_out(directive.line, directive, "not host:port or unix:/path");
            continue;
        };
        let others: Vec<&str> =
            parameters.iter().map(String::as_str).filter(|word| *word != "backup").collect();
        if !others.is_empty() {
            let why = "the gate tries the addresses of an upstream in their order";
            let what = message!("'{}' of {}", notes.quote(&others.join(" ")), notes.quote(text));
            notes.left_out(directive.line, what, why);
        }
        if parameters.iter().any(|word| word == "backup") { last.push(to) } else { first.push(to) }
    }
    first.append(&mut last);
    first
}

/// What a `server` block says.
#[derive(Default)]
struct Server {
    binds: Vec<Bind>,
    rules: Rules,
    pass: Option<(usize, String)>,
    /// Why nothing of it can be carried over.
    bar: Option<&'static str>,
    /// Something in it may refuse clients, and cannot be read.
    doubt: bool,
}

fn server(directive: &Directive, block: &[Directive], scope: &Stream, draft: &mut Draft, notes: &mut Notes) {
    let mut server = Server::default();
    for directive in block {
        server.directive(directive, notes);
    }
    let line = directive.line;
    let what = message!("the server block of line {}", line);
    let bar =
        server.bar.or_else(|| server.binds.is_empty().then_some("nothing is left that it could listen on"));
    if let Some(why) = bar {
        notes.left_out(line, what, why);
        return;
    }
    let Some((at, pass)) = &server.pass else {
        notes.left_out(line, what, "it has no proxy_pass");
        return;
    };
    let (name, addresses) = match scope.upstreams.get(pass) {
        Some(addresses) => (Some(pass.clone()), addresses.clone()),
        None => (None, address(pass).into_iter().collect()),
    };
    if addresses.is_empty() {
        notes.left_out(
            *at,
            message!("proxy_pass {}", notes.quote(pass)),
            "not host:port, unix:/path or an upstream with servers",
        );
        return;
    }
    if addresses.len() > 1 {
        notes.remark(*at, "nginx spreads clients over these servers, the gate takes the first that answers");
    }
    let port = server.binds.iter().find_map(Bind::port);
    let name_of_listener = port.map_or_else(|| "local".to_owned(), |port| format!("public-{port}"));
    let lists = lists(&server, line, scope, notes);
    let upstream = (name, addresses);
    draft.add(
        Door { line, name: name_of_listener, binds: server.binds, upstream, lists, refusal: None },
        notes,
    );
}

/// A server without rules has those of the stream block (nginx merges all or nothing).
fn lists(server: &Server, line: usize, scope: &Stream, notes: &mut Notes) -> Lists {
    let what = message!("the clients of the server block of line {}", line);
    let inherited = server.rules.is_empty();
    if server.doubt || inherited && scope.included {
        let why = "who may connect may be said in a part that could not be read, so nobody may";
        notes.left_out(line, what, why);
        return Lists::default();
    }
    let rules = if inherited { &scope.rules } else { &server.rules };
    let reach = server.binds.iter().fold(Sources::default(), |reach, bind| reach.or(&bind.reach()));
    rules.lists(&reach, line, notes)
}

impl Server {
    fn directive(&mut self, directive: &Directive, notes: &mut Notes) {
        let line = directive.line;
        let on = directive.words.get(1).is_some_and(|word| word == "on");
        match directive.name() {
            "listen" => self.listen(directive, notes),
            "allow" | "deny" => self.rules.push(directive, notes),
            "proxy_pass" => match directive.words.as_slice() {
                [_, to] if to.contains('$') => self.bar = Some("its proxy_pass depends on variables"),
                [_, to] => self.pass = Some((line, to.clone())),
                _ => self.bar = Some("its proxy_pass is broken"),
            },
            "proxy_ssl" if on => self.bar = Some("TLS to Redis is not supported yet"),
            "proxy_protocol" if on => {
                self.bar = Some("Redis takes no PROXY protocol, so what it leads to is no Redis")
            }
            "include" => {
                self.doubt = true;
                notes.left_out(line, directive, "includes are not read");
            }
            name if HARMLESS.contains(&name) => notes.left_out(line, directive, "it has no counterpart"),
            _ => {
                self.doubt = true;
                notes.left_out(line, directive, "it has no counterpart, and may decide who gets in");
            }
        }
    }

    fn listen(&mut self, directive: &Directive, notes: &mut Notes) {
        match bind(&directive.words[1..]) {
            Ok((bind, ignored)) => {
                if !ignored.is_empty() {
                    let what = message!(
                        "'{}' of {}",
                        notes.quote(&ignored.join(" ")),
                        notes.quote(&directive.to_string())
                    );
                    notes.left_out(directive.line, what, "it has no counterpart");
                }
                self.binds.push(bind);
            }
            Err(why) => notes.left_out(directive.line, directive, why),
        }
    }
}

/// Directives that say how, never who.
const HARMLESS: [&str; 24] = [
    "access_log",
    "error_log",
    "limit_conn",
    "limit_conn_log_level",
    "preread_buffer_size",
    "preread_timeout",
    "proxy_bind",
    "proxy_buffer_size",
    "proxy_connect_timeout",
    "proxy_download_rate",
    "proxy_half_close",
    "proxy_next_upstream",
    "proxy_next_upstream_timeout",
    "proxy_next_upstream_tries",
    "proxy_protocol",
    "proxy_protocol_timeout",
    "proxy_requests",
    "proxy_socket_keepalive",
    "proxy_ssl",
    "proxy_timeout",
    "proxy_upload_rate",
    "resolver",
    "resolver_timeout",
    "tcp_nodelay",
];

/// The address of a `listen`, and the parameters that change nothing about who connects.
fn bind(words: &[String]) -> Result<(Bind, Vec<&str>), &'static str> {
    let [address, parameters @ ..] = words else { return Err("it has no address") };
    let mut dual = false;
    let mut ignored = Vec::new();
    for word in parameters {
        match word.as_str() {
            "ssl" => return Err("TLS is not supported yet"),
            "udp" | "quic" => return Err("Redis speaks TCP, the gate forwards no UDP"),
            "proxy_protocol" => return Err("the PROXY protocol is not supported yet"),
            "ipv6only=off" => dual = true,
            "ipv6only=on" => dual = false,
            word => ignored.push(word),
        }
    }
    if let Some(path) = address.strip_prefix("unix:") {
        let path = place::socket_path(path).ok_or("not the path of a socket")?;
        return Ok((Bind::Unix(path), ignored));
    }
    let (host, port) = address.rsplit_once(':').filter(|_| !address.ends_with(']')).unwrap_or(("*", address));
    if port.contains('-') {
        return Err("a range of ports: write one listener for each");
    }
    let port = place::port(port).ok_or("not an address and a port of this machine")?;
    let bind = match host {
        "*" => Bind::any_v4(port),
        "[::]" if dual => Bind::dual(port),
        host => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let ip = bare.parse::<std::net::IpAddr>().ok().filter(|ip| ip.to_canonical() == *ip);
            Bind::tcp(ip.ok_or("a listener needs an address of this machine, not a name")?, port)
        }
    };
    Ok((bind, ignored))
}

fn address(text: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return place::socket_path(path).map(|path| format!("unix:{path}"));
    }
    let (host, port) = text.rsplit_once(':')?;
    place::address(host, place::port(port)?)
}

#[cfg(test)]
mod tests;
