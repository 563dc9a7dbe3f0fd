//! `listen`: an address, and the form of the connections to it.

use portcullis_config::message::message;

use super::directive::Directive;
use crate::notes::Notes;
use crate::place::{self, Bind, NO_UDP};

/// One `listen` directive.
#[derive(Clone, Debug)]
pub(super) struct Listen {
    pub(super) bind: Bind,
    pub(super) form: Form,
}

/// The form of the connections to an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) tls: bool,
    /// Whether each connection begins with a PROXY header.
    pub(super) proxy: bool,
}

/// Parameters with a value that say how nginx listens. They do not affect which clients get in.
const HARMLESS_WITH_VALUE: [&str; 7] =
    ["backlog", "rcvbuf", "sndbuf", "so_keepalive", "fastopen", "accept_filter", "setfib"];
/// Such parameters without a value.
const HARMLESS: [&str; 4] = ["deferred", "bind", "reuseport", "default_server"];

impl Listen {
    /// Reads a `listen` directive.
    ///
    /// # Errors
    /// The reason why the directive cannot be carried over.
    pub(super) fn read(directive: &Directive, notes: &mut Notes) -> Result<Self, &'static str> {
        let [_, address, parameters @ ..] = directive.words.as_slice() else {
            return Err("it has no address");
        };
        let (mut dual, mut form) = (false, Form::default());
        let mut ignored: Vec<&str> = Vec::new();
        for word in parameters {
            match word.as_str() {
                "ssl" => form.tls = true,
                "proxy_protocol" => form.proxy = true,
                "udp" | "quic" => return Err(NO_UDP),
                "ipv6only=off" => dual = true,
                "ipv6only=on" => dual = false,
                word if is_harmless(word) => ignored.push(word),
                _ => return Err("it has a parameter that is not known here"),
            }
        }
        let bind = bind(address, dual)?;
        if !ignored.is_empty() {
            let quoted = notes.quote(&directive.to_string());
            let what = message!("'{}' of {}", notes.quote(&ignored.join(" ")), quoted);
            notes.left_out(&directive.at, what, "it has no counterpart");
        }
        Ok(Self { bind, form })
    }
}

fn is_harmless(word: &str) -> bool {
    match word.split_once('=') {
        Some((name, _)) => HARMLESS_WITH_VALUE.contains(&name),
        None => HARMLESS.contains(&word),
    }
}

fn bind(address: &str, dual: bool) -> Result<Bind, &'static str> {
    if let Some(path) = address.strip_prefix("unix:") {
        return place::socket_path(path).map(Bind::unix).ok_or("not the path of a socket");
    }
    let (host, port) = address.rsplit_once(':').filter(|_| !address.ends_with(']')).unwrap_or(("*", address));
    if port.contains('-') {
        return Err("a range of ports: write one listener for each");
    }
    let port = place::port(port).ok_or("not an address and a port of this machine")?;
    match host {
        "*" => Ok(Bind::any_v4(port)),
        "[::]" if dual => Ok(Bind::dual(port)),
        host => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let ip = bare.parse::<std::net::IpAddr>().ok().filter(|ip| ip.to_canonical() == *ip);
            Ok(Bind::tcp(ip.ok_or("a listener needs an address of this machine, not a name")?, port))
        }
    }
}
