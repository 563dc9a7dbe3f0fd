//! The keywords of HAProxy that do not affect which clients get in, in mode tcp.

use super::section::Line;
use crate::review::Class;

/// Harmless keywords of proxies. HAProxy ignores keywords of HTTP in mode tcp. Rules of HTTP are in doubt nevertheless,
/// so they are not listed.
const HARMLESS: [&str; 58] = [
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
    "source",
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

/// Beginnings of harmless lines of the global section.
const GLOBAL: [&str; 44] = [
    "51degrees",
    "anonkey",
    "busy-polling",
    "ca-base",
    "chroot",
    "close-spread-time",
    "cluster-secret",
    "cpu-map",
    "cpu-policy",
    "crt-base",
    "daemon",
    "description",
    "dns-accept-family",
    "expose-",
    "external-check",
    "fd-hard-limit",
    "gid",
    "group",
    "h1-case-adjust",
    "h2-workaround",
    "hard-stop-after",
    "insecure-",
    "issuers-chain-path",
    "key-base",
    "localpeer",
    "log",
    "master-worker",
    "max",
    "mworker-max-reloads",
    "nb",
    "no ",
    "node",
    "nosplice",
    "numa-cpu-mapping",
    "pidfile",
    "pp2-never-send-local",
    "profiling",
    "quiet",
    "server-state",
    "spread-checks",
    "ssl-",
    "stats",
    "strict-limits",
    "tune.",
];
/// The rest of `GLOBAL`.
const GLOBAL_REST: [&str; 19] = [
    "noepoll",
    "noevports",
    "nogetaddrinfo",
    "nokqueue",
    "nopoll",
    "noreuseport",
    "ulimit-n",
    "uid",
    "user",
    "zero-warning",
    "thread-group",
    "set-dumpable",
    "setcap",
    "setenv",
    "presetenv",
    "unsetenv",
    "resetenv",
    "stress-level",
    "default-path config",
];

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

/// Returns the class of a line of the global section.
pub(super) fn of_global(line: &Line) -> Class {
    let written = line.words.join(" ");
    let mut known = GLOBAL.iter().chain(&GLOBAL_REST);
    // A harmless line needs no note, because the note of the section covers it.
    if known.any(|known| written.starts_with(known)) { Class::Understood } else { Class::unknown() }
}
