//! `bind`: addresses to listen on, and the form of the connections to them.

use portcullis_config::message::message;

use super::global::Global;
use super::section::Line;
use super::socket_file::Access;
use crate::draft::{ClientCertificates, ServerTls};
use crate::notes::Notes;
use crate::place::{self, Bind};

/// An address to listen on.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) bind: Bind,
    pub(super) form: Form,
}

/// The form of the connections to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Whether each connection begins with a PROXY header.
    pub(super) proxy: bool,
    pub(super) tls: Option<ServerTls>,
    /// The limit `maxconn`. `None` if the line sets none.
    pub(super) clients: Option<u64>,
}

/// Parameters without a value that do not affect which clients get in.
const HARMLESS: [&str; 16] = [
    "allow-0rtt",
    "defer-accept",
    "force-sslv3",
    "force-tlsv10",
    "force-tlsv11",
    "force-tlsv12",
    "force-tlsv13",
    "no-alpn",
    "no-ca-names",
    "no-sslv3",
    "no-tls-tickets",
    "no-tlsv10",
    "no-tlsv11",
    "no-tlsv12",
    "prefer-client-ciphers",
    "tfo",
];
/// Parameters with a value that do not affect which clients get in.
const HARMLESS_WITH_VALUE: [&str; 30] = [
    "alpn",
    "backlog",
    "ca-ignore-err",
    "ca-verify-file",
    "cc",
    "ciphers",
    "ciphersuites",
    "client-sigalgs",
    "crt-ignore-err",
    "curves",
    "ecdhe",
    "expose-fd",
    "guid-prefix",
    "id",
    "idle-ping",
    "label",
    "level",
    "mss",
    "name",
    "nice",
    "npn",
    "ocsp-update",
    "process",
    "proto",
    "severity-output",
    "shards",
    "sigalgs",
    "ssl-max-ver",
    "ssl-min-ver",
    "tcp-ut",
];
/// The rest of `HARMLESS_WITH_VALUE`.
const MORE_WITH_VALUE: [&str; 2] = ["thread", "tls-ticket-keys"];
/// The reason why `strict-sni` is not carried over.
pub(super) const STRICT_SNI: &str =
    "it refuses clients that ask for another name (strict-sni), and the gate serves them";

/// The parameters of a `bind` line.
#[derive(Default)]
struct Parameters<'l> {
    v6only: bool,
    access: Access,
    proxy: bool,
    clients: Option<u64>,
    ssl: bool,
    certificates: Vec<&'l str>,
    ca: Option<&'l str>,
    crl: Option<&'l str>,
    verify: Option<&'l str>,
    ignored: Vec<&'l str>,
}

/// Reads the addresses of a `bind` line.
///
/// # Errors
/// The reason why the line cannot be carried over.
pub(super) fn read(line: &Line, global: &Global, notes: &mut Notes) -> Result<Vec<Bound>, &'static str> {
    if line.uncertain {
        return Err("it depends on a condition or a variable");
    }
    let [_, addresses, words @ ..] = line.words.as_slice() else { return Err("it has no address") };
    let parameters = Parameters::read(words)?;
    let form = Form { proxy: parameters.proxy, tls: parameters.tls(global)?, clients: parameters.clients };
    let binds = addresses.split(',').map(|address| bind(address, parameters.v6only));
    let mut binds = binds.collect::<Result<Vec<Bind>, _>>()?;
    for bind in &mut binds {
        if let Bind::Unix { mode, group, .. } = bind {
            let (safe, remark) = parameters.access.in_gate();
            if let Some(remark) = remark {
                notes.remark(line.number, remark);
            }
            *mode = Some(safe);
            group.clone_from(&parameters.access.group);
        }
    }
    if !parameters.ignored.is_empty() {
        let ignored = notes.quote(&parameters.ignored.join(" "));
        let what = message!("'{}' of {}", ignored, notes.quote(&line.to_string()));
        notes.left_out(line.number, what, "it has no counterpart");
    }
    Ok(binds.into_iter().map(|bind| Bound { bind, form: form.clone() }).collect())
}

impl<'l> Parameters<'l> {
    fn read(words: &'l [String]) -> Result<Self, &'static str> {
        let mut read = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or("a parameter has no value");
            match word {
                "ssl" => read.ssl = true,
                "crt" => read.certificates.push(value()?),
                "ca-file" => read.ca = Some(value()?),
                "crl-file" => read.crl = Some(value()?),
                "verify" => read.verify = Some(value()?),
                "accept-proxy" => read.proxy = true,
                "v6only" => read.v6only = true,
                "v4v6" => read.v6only = false,
                "mode" | "group" | "gid" | "user" | "uid" => read.access.parameter(word, value()?)?,
                "maxconn" => read.clients = value()?.parse().ok().filter(|clients| *clients > 0),
                "interface" | "namespace" => {
                    return Err("a listener cannot be bound to an interface or a namespace");
                }
                "strict-sni" => {
                    return Err(STRICT_SNI);
                }
                "crt-list" => {
                    return Err(
                        "a list of certificates (crt-list) is not read: write crt with each of its files",
                    );
                }
                word if HARMLESS.contains(&word) => read.ignored.push(word),
                word if HARMLESS_WITH_VALUE.contains(&word) || MORE_WITH_VALUE.contains(&word) => {
                    read.ignored.extend([word, value()?]);
                }
                _ => return Err("it has a parameter that is not known here"),
            }
        }
        Ok(read)
    }

    fn tls(&self, global: &Global) -> Result<Option<ServerTls>, &'static str> {
        if !self.ssl {
            return Ok(None);
        }
        if self.certificates.is_empty() {
            return Err("it has no certificate");
        }
        let pairs = self.certificates.iter().map(|name| global.pair(name)).collect::<Result<_, _>>()?;
        let clients = match (self.verify.unwrap_or("none"), self.ca) {
            ("none", _) => None,
            (verify @ ("required" | "optional"), Some(ca)) => Some(ClientCertificates {
                ca: global.ca(ca)?,
                crl: self.crl.map(|crl| global.ca(crl)).transpose()?,
                required: verify == "required",
            }),
            _ => return Err("which clients' certificates it takes is not known here"),
        };
        Ok(Some(ServerTls { pairs, clients }))
    }
}

/// Returns whether `ssl-default-bind-options` has only options that do not affect which clients get in.
pub(super) fn are_harmless_defaults(options: &[String]) -> bool {
    let mut options = options.iter().map(String::as_str);
    while let Some(option) = options.next() {
        let known = match option {
            "ssl-min-ver" | "ssl-max-ver" => options.next().is_some(),
            "defer-accept" | "tfo" => false,
            option => HARMLESS.contains(&option),
        };
        if !known {
            return false;
        }
    }
    true
}

fn bind(address: &str, v6only: bool) -> Result<Bind, &'static str> {
    const BAD: &str = "not an address and a port of this machine";
    if let Some(path) = address.strip_prefix("unix@").or_else(|| address.starts_with('/').then_some(address))
    {
        return place::socket_path(path).map(Bind::unix).ok_or("not the path of a socket");
    }
    let (v6, address) = match address.split_once('@') {
        Some(("ipv4", address)) => (false, address),
        Some(("ipv6", address)) => (true, address),
        Some(_) => return Err("only ipv4@, ipv6@ and unix@ have a counterpart"),
        None => (false, address),
    };
    let (host, port) = address.rsplit_once(':').ok_or(BAD)?;
    if port.contains('-') {
        return Err("a range of ports: write one listener for each");
    }
    let port = place::port(port).ok_or(BAD)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare {
        "" | "*" if !v6 => Ok(Bind::any_v4(port)),
        "" | "*" | "::" if v6only => Ok(Bind::any_v6(port)),
        "" | "*" | "::" => Ok(Bind::dual(port)),
        bare => {
            let ip = bare.parse::<std::net::IpAddr>().ok().filter(|ip| ip.to_canonical() == *ip);
            Ok(Bind::tcp(ip.ok_or("a listener needs an address of this machine, not a name")?, port))
        }
    }
}
