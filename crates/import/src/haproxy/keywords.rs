//! The keywords of HAProxy that do not affect which clients get in, in mode tcp.

use std::net::IpAddr;

use super::bind::{STRICT_SNI, are_harmless_defaults};
use super::section::Line;
use crate::review::Class;

/// Harmless keywords of proxies. HAProxy ignores keywords of HTTP in mode tcp. Rules of HTTP are in doubt nevertheless,
/// so they are not listed.
const HARMLESS: [&str; 57] = [
    "backlog",
    "balance",
    "capture",
    "clitcpka-cnt",
    "clitcpka-idle",
    "clitcpka-intvl",
    "compression",
    "cookie",
    "description",
    "email-alert",
    "errorfile",
    "errorfiles",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "external-check",
    "force-persist",
    "fullconn",
    "guid",
    "hash-balance-factor",
    "hash-type",
    "http-check",
    "http-reuse",
    "id",
    "ignore-persist",
    "load-server-state-from-file",
    "log",
    "log-format",
    "log-format-sd",
    "log-steps",
    "log-tag",
    "max-keep-alive-queue",
    "max-session-srv-conns",
    "monitor-uri",
    "persist",
    "rate-limit",
    "retries",
    "retry-on",
    "server-state-file-name",
    "srvtcpka-cnt",
    "srvtcpka-idle",
    "srvtcpka-intvl",
    "stats",
    "stick",
    "stick-table",
    "tcp-check",
    "timeout",
    "unique-id-format",
    "unique-id-header",
    "bind-process",
    "clitimeout",
    "contimeout",
    "srvtimeout",
    "grace",
    "hash-preserve-affinity",
    "error-log-format",
    "acme",
];

/// Harmless options, written as `option NAME`. They say how connections are kept, checked and logged.
const OPTIONS: [&str; 46] = [
    "abortonclose",
    "accept-invalid-http-request",
    "accept-invalid-http-response",
    "allbackups",
    "assume-rfc6587-ntf",
    "checkcache",
    "clitcpka",
    "contstats",
    "disable-h2-upgrade",
    "dontlog-normal",
    "dontlognull",
    "external-check",
    "forceclose",
    "forwardfor",
    "h1-case-adjust-bogus-client",
    "h1-case-adjust-bogus-server",
    "http-buffer-request",
    "http-ignore-probes",
    "http-keep-alive",
    "http-no-delay",
    "http-pretend-keepalive",
    "http-restrict-req-hdr-names",
    "http-server-close",
    "http-tunnel",
    "http-use-htx",
    "http-use-proxy-header",
    "httpchk",
    "httpclose",
    "httplog",
    "httpslog",
    "idle-close-on-response",
    "independent-streams",
    "ldap-check",
    "log-health-checks",
    "log-separate-errors",
    "logasap",
    "mysql-check",
    "nolinger",
    "originalto",
    "persist",
    "pgsql-check",
    "prefer-last-server",
    "redis-check",
    "redispatch",
    "smtpchk",
    "socket-stats",
];
/// More harmless options.
const TCP_OPTIONS: [&str; 9] = [
    "splice-auto",
    "splice-request",
    "splice-response",
    "spop-check",
    "srvtcpka",
    "ssl-hello-chk",
    "tcp-check",
    "tcp-smart-accept",
    "tcp-smart-connect",
];
/// Harmless options about TCP connections as a whole.
const LOG_OPTIONS: [&str; 2] = ["tcpka", "tcplog"];

/// The keywords of the global section that do not affect which clients get in, one a line, sorted. They are those of
/// HAProxy's manual without keywords that run code, change rules, or set the access to sockets.
const GLOBAL: &str = include_str!("global.txt");

/// The reason why a source address that depends on the client is not carried over.
pub(super) const SOURCE: &str = "with it Redis and its firewall see the address of each client and can judge it, and the gate connects from \
    its own address";

/// Returns the class of a line of a proxy that no other module reads.
pub(super) fn of_proxy(line: &Line) -> Class {
    let (name, option) = match line.word(0) {
        "no" | "default" => (line.word(1), line.word(2)),
        name => (name, line.word(1)),
    };
    let known = match name {
        "option" => {
            let lists = OPTIONS.iter().chain(&TCP_OPTIONS).chain(&LOG_OPTIONS);
            lists.into_iter().any(|known| *known == option)
        }
        name => HARMLESS.contains(&name),
    };
    if known { Class::Harmless("it has no counterpart") } else { Class::unknown() }
}

/// Returns the class of the words after `source`. An address that depends on the client lets Redis, or the firewall of
/// its host, judge the client.
pub(super) fn of_source(words: &[String]) -> Class {
    let fixed = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        address.parse::<IpAddr>().is_ok() || host.parse::<IpAddr>().is_ok()
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_] | [_, "interface", _] => Class::Harmless("it has no counterpart"),
        [_, "usesrc", address] if fixed(address) => Class::Harmless("it has no counterpart"),
        _ => Class::doubtful(SOURCE),
    }
}

/// Returns the class of a line of the global section. A harmless line needs no note, because the note of the section
/// covers it.
pub(super) fn of_global(line: &Line) -> Class {
    let words = match line.word(0) {
        "no" => line.words.get(1..).unwrap_or_default(),
        _ => line.words.as_slice(),
    };
    let [name, values @ ..] = words else { return Class::unknown() };
    match name.as_str() {
        // Relative paths are read from the folder of the file.
        "default-path" if matches!(values, [place] if place == "config") => Class::Understood,
        "default-path" => Class::unknown(),
        "ssl-default-bind-options" if values.iter().any(|value| value == "strict-sni") => {
            Class::doubtful(STRICT_SNI)
        }
        "ssl-default-bind-options" if !are_harmless_defaults(values) => Class::unknown(),
        name if GLOBAL.lines().any(|known| known == name) => Class::Understood,
        _ => Class::unknown(),
    }
}
