//! The servers of a backend.

use std::net::IpAddr;

use portcullis_config::message::message;

use super::global::Global;
use super::keywords::of_source;
use super::section::Line;
use crate::draft::{ClientTls, ServerTrust};
use crate::notes::Notes;
use crate::place::{self, NO_SERVER_CRL};
use crate::review::Class;

/// The servers of a proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers {
    first: Vec<Server>,
    /// The servers that are marked `backup`.
    last: Vec<Server>,
    /// The parameters of `default-server`.
    defaults: Vec<String>,
}

#[derive(Clone, Debug)]
struct Server {
    line: usize,
    address: String,
    tls: Option<ClientTls>,
}

/// Parameters without a value that say how HAProxy connects, checks and balances. They do not affect which clients get
/// in.
const HARMLESS: [&str; 26] = [
    "agent-check",
    "allow-0rtt",
    "check",
    "check-pool-conn-name",
    "check-send-proxy",
    "check-ssl",
    "check-via-socks4",
    "force-tlsv10",
    "force-tlsv11",
    "force-tlsv12",
    "force-tlsv13",
    "no-agent-check",
    "no-check",
    "no-check-ssl",
    "no-sslv3",
    "no-ssl-reuse",
    "no-tls-tickets",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "no-tfo",
    "no-verifyhost",
    "non-stick",
    "stick",
    "tfo",
    "strict-maxconn",
];
/// Parameters with a value that do not affect which clients get in.
const HARMLESS_WITH_VALUE: [&str; 48] = [
    "addr",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "alpn",
    "cc",
    "check-alpn",
    "check-proto",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "cookie",
    "curves",
    "downinter",
    "error-limit",
    "fall",
    "fastinter",
    "guid",
    "hash-key",
    "id",
    "init-addr",
    "init-state",
    "inter",
    "log-proto",
    "max-reuse",
    "maxconn",
    "maxqueue",
    "minconn",
    "observe",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "port",
    "proto",
    "resolve-net",
    "resolve-opts",
    "resolve-prefer",
    "resolvers",
    "rise",
    "shard",
    "sigalgs",
    "slowstart",
    "ssl-max-ver",
    "ssl-min-ver",
];
/// The rest of `HARMLESS_WITH_VALUE`.
const MORE_WITH_VALUE: [&str; 4] = ["tcp-ut", "track", "weight", "ws"];

/// The parameters of a server.
#[derive(Default)]
struct Parameters<'l> {
    backup: bool,
    disabled: bool,
    ssl: bool,
    sends_header: bool,
    verify: Option<&'l str>,
    ca: Option<&'l str>,
    verify_host: Option<&'l str>,
    sni: Option<&'l str>,
    certificate: Option<&'l str>,
    crl: Option<&'l str>,
    /// Whether the server has `weight 0`, so it gets no clients.
    is_idle: bool,
    ignored: Vec<&'l str>,
}

impl Servers {
    /// Reads a `server` or a `default-server` line.
    pub(super) fn line(&mut self, line: &Line, global: &Global, notes: &mut Notes) -> Class {
        if line.uncertain {
            return Class::doubtful("it depends on a condition or a variable");
        }
        if line.word(0) == "default-server" {
            self.defaults.extend_from_slice(&line.words[1..]);
            return Parameters::read(&self.defaults).map_or_else(|doubt| doubt, |_| Class::Understood);
        }
        let own = line.words.get(3..).unwrap_or_default();
        let words = [self.defaults.as_slice(), own].concat();
        let parameters = match Parameters::read(&words) {
            Ok(parameters) => parameters,
            Err(doubt) => {
                // The doubt about this line empties `allow`, so no client reaches the address. It stays in the result
                // to help the operator.
                let address = address(line.word(2)).ok();
                self.first.extend(address.map(|address| Server { line: line.number, address, tls: None }));
                return doubt;
            }
        };
        match parameters.server(line, global, notes) {
            Ok(server) if parameters.backup => self.last.push(server),
            Ok(server) => self.first.push(server),
            Err(why) => notes.left_out(line.number, line, why),
        }
        Class::Understood
    }

    /// Returns the addresses of the servers, with those marked `backup` last, and the TLS settings that apply to all of
    /// them. A server with other TLS settings than the first is left out.
    pub(super) fn target(&self, notes: &mut Notes) -> (Vec<String>, Option<ClientTls>) {
        let mut all = self.first.iter().chain(&self.last);
        let Some(first) = all.next() else { return (Vec::new(), None) };
        let mut addresses = vec![first.address.clone()];
        for server in all {
            if server.tls == first.tls {
                addresses.push(server.address.clone());
            } else {
                let what = message!("the server in line {}", server.line);
                notes.left_out(server.line, what, "its TLS differs from that of the server before it");
            }
        }
        (addresses, first.tls.clone())
    }
}

impl<'l> Parameters<'l> {
    /// Reads the parameters.
    ///
    /// # Errors
    /// The class of the line, if a parameter is in doubt.
    fn read(words: &'l [String]) -> Result<Self, Class> {
        let mut read = Self::default();
        let mut rest = words;
        while let [word, after @ ..] = rest {
            rest = after;
            let mut value = || {
                let (value, after) = rest.split_first().ok_or_else(Class::unknown)?;
                rest = after;
                Ok(value.as_str())
            };
            match word.as_str() {
                "backup" => read.backup = true,
                "no-backup" => read.backup = false,
                "disabled" => read.disabled = true,
                "enabled" => read.disabled = false,
                "ssl" => read.ssl = true,
                "no-ssl" => read.ssl = false,
                "send-proxy" | "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                    read.sends_header = true;
                }
                "no-send-proxy" | "no-send-proxy-v2" => read.sends_header = false,
                "verify" => read.verify = Some(value()?),
                "ca-file" => read.ca = Some(value()?),
                "verifyhost" => read.verify_host = Some(value()?),
                "sni" => read.sni = Some(value()?),
                "crt" => read.certificate = Some(value()?),
                "crl-file" => read.crl = Some(value()?),
                word if HARMLESS.contains(&word) => read.ignored.push(word),
                word if HARMLESS_WITH_VALUE.contains(&word) || MORE_WITH_VALUE.contains(&word) => {
                    let value = value()?;
                    if word == "weight" {
                        read.is_idle = value.parse() == Ok(0_u32);
                    }
                    read.ignored.extend([word, value]);
                }
                "source" => {
                    let (source, after) = rest.split_at(source_words(rest));
                    rest = after;
                    if let doubt @ Class::Doubtful(_) = of_source(source) {
                        return Err(doubt);
                    }
                    read.ignored.push("source");
                    read.ignored.extend(source.iter().map(String::as_str));
                }
                _ => return Err(Class::unknown()),
            }
        }
        Ok(read)
    }

    fn server(&self, line: &Line, global: &Global, notes: &mut Notes) -> Result<Server, &'static str> {
        if self.sends_header {
            return Err("Redis takes no PROXY protocol, so what it leads to is no Redis");
        }
        if self.disabled {
            return Err("it is marked as disabled");
        }
        if self.is_idle {
            return Err("with weight 0 it gets no clients");
        }
        let address = address(line.word(2))?;
        let tls = if self.ssl { Some(self.tls(line, global, notes)?) } else { None };
        if !self.ignored.is_empty() {
            let why = "the gate probes its upstreams itself and tries their addresses in order";
            let ignored = notes.quote(&self.ignored.join(" "));
            let what = message!("'{}' of server {}", ignored, notes.quote(line.word(1)));
            notes.left_out(line.number, what, why);
        }
        Ok(Server { line: line.number, address, tls })
    }

    fn tls(&self, line: &Line, global: &Global, notes: &mut Notes) -> Result<ClientTls, &'static str> {
        let verified = match self.verify {
            Some(verify) => verify == "required",
            None => global.verifies,
        };
        let trust = match self.ca {
            Some("@system-ca") if verified => ServerTrust::System,
            Some(ca) if verified => ServerTrust::Ca(global.ca(ca)?),
            _ => {
                let text = "HAProxy does not verify the server's certificate; the gate always does, so tls of the \
                            upstream needs ca or pin, and check refuses the configuration until it has one";
                notes.remark(line.number, text);
                ServerTrust::Missing
            }
        };
        if self.crl.is_some() {
            let what = message!("'crl-file' of server {}", notes.quote(line.word(1)));
            notes.left_out(line.number, what, NO_SERVER_CRL);
        }
        let constant = |expression: &str| {
            Some(expression.strip_prefix("str(")?.strip_suffix(')')?.trim_matches('"').to_owned())
        };
        let server_name = self.verify_host.map(str::to_owned).or_else(|| constant(self.sni?));
        if server_name.is_none() && trust != ServerTrust::Missing {
            let text = "the gate verifies that the server's certificate names the host in its address; write \
                        tls.server_name where it names another one";
            notes.remark(line.number, text);
        }
        let pair = self.certificate.map(|name| global.pair(name)).transpose()?;
        Ok(ClientTls { trust, server_name, pair })
    }
}

/// Returns the number of words after `source` that belong to it: an address, and an option with its value.
fn source_words(words: &[String]) -> usize {
    match words {
        [_, option, _, ..] if option == "usesrc" || option == "interface" => 3,
        words => words.len().min(1),
    }
}

/// Reads the address of a server.
///
/// # Errors
/// The reason why the address has no counterpart.
fn address(text: &str) -> Result<String, &'static str> {
    const BAD: &str = "not host:port or the path of a socket";
    if let Some(path) = text.strip_prefix("unix@").or_else(|| text.starts_with('/').then_some(text)) {
        return place::socket_path(path).map(|path| format!("unix:{path}")).ok_or(BAD);
    }
    let text = text.strip_prefix("ipv4@").or_else(|| text.strip_prefix("ipv6@")).unwrap_or(text);
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_wildcard = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_unspecified());
    if matches!(bare, "" | "*") || is_wildcard(bare) || is_wildcard(text) {
        return Err(
            "HAProxy connects to the address that the client connected to: write the address of the server",
        );
    }
    place::port(port).and_then(|port| place::address(host, port)).ok_or(BAD)
}
