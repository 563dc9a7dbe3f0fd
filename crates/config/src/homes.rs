//! The mappings that keys belong to, for a key in another mapping: mostly one with the wrong indentation.

/// Mappings by their names in messages, each with its name in a hint and the keys that tell it from others.
pub(crate) const HOMES: [(&str, &str, &[&str]); 14] = [
    (
        "the configuration",
        "the top of the file",
        &[
            "listeners",
            "listener_defaults",
            "upstreams",
            "groups",
            "limits",
            "admin",
            "audit",
            "observe",
            "log",
            "reload",
            "takeover",
            "workers",
        ],
    ),
    (
        "listener",
        "a listener",
        &[
            "bind",
            "upstream",
            "allow",
            "deny",
            "shadow",
            "refusal",
            "auth",
            "inline_commands",
            "allow_anonymous_internet",
            "present_as",
            "announce",
            "announce_master",
            "proxy_protocol",
        ],
    ),
    (
        "upstream",
        "an upstream",
        &[
            "address",
            "sentinel",
            "cluster",
            "translate",
            "resolve_every",
            "credentials",
            "connections",
            "connect_timeout",
            "response_timeout",
            "failover_wait",
        ],
    ),
    ("sentinel", "sentinel", &["master", "nodes", "pause"]),
    ("cluster", "cluster", &["nodes", "read_from"]),
    ("credentials", "credentials", &["username", "password"]),
    ("user", "a user", &["password", "upstream_credentials"]),
    ("group", "a group", &["entries", "allow_empty", "select"]),
    ("entry", "an entry", &["cidr", "host", "group", "refresh", "keep", "private"]),
    (
        "limits",
        "limits",
        &[
            "clients",
            "bulk",
            "arguments",
            "inline",
            "held_command",
            "client_output_buffer",
            "pattern",
            "count",
            "subscriptions",
            "buffers",
            "per_source",
            "timeouts",
            "tcp",
        ],
    ),
    ("timeouts", "limits.timeouts", &["proxy_header", "login", "idle", "frame", "write", "drain"]),
    ("per_source", "limits.per_source", &["connects", "auth_failures", "block_for"]),
    ("tcp", "limits.tcp", &["keepalive", "user_timeout"]),
    (
        "tls",
        "tls",
        &["cert", "key", "pin", "client_ca", "client_auth", "client_crl", "user_from", "ca", "server_name"],
    ),
];

/// Returns the names in hints of the mappings other than `here` that have this key.
pub(crate) fn homes(key: &str, here: &str) -> Vec<&'static str> {
    let others = HOMES.iter().filter(|(what, _, keys)| *what != here && keys.contains(&key));
    others.map(|(_, shown, _)| *shown).collect()
}
