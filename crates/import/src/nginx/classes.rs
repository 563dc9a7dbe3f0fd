//! The directives of the stream module that do not affect which clients get in.

use crate::review::Class;

/// Directives that say how connections are served, not which clients get in.
const HARMLESS: [&str; 36] = [
    "access_log",
    "error_log",
    "limit_conn_log_level",
    "log_format",
    "open_log_file_cache",
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
    "proxy_protocol_timeout",
    "proxy_requests",
    "proxy_responses",
    "proxy_session_drop",
    "proxy_socket_keepalive",
    "proxy_ssl_ciphers",
    "proxy_ssl_protocols",
    "proxy_ssl_server_name",
    "proxy_ssl_session_reuse",
    "proxy_timeout",
    "proxy_upload_rate",
    "resolver",
    "resolver_timeout",
    "status_zone",
    "tcp_nodelay",
    "map_hash_bucket_size",
    "map_hash_max_size",
    "variables_hash_bucket_size",
    "variables_hash_max_size",
    "js_path",
    "js_import",
];

/// Directives that set variables. A directive that uses a variable is in doubt itself.
const VARIABLES: [&str; 4] = ["map", "geo", "split_clients", "js_set"];

/// Directives for the TLS of clients. They refuse no client that the gate would admit, except for old versions of TLS.
const TLS: [&str; 10] = [
    "ssl_ciphers",
    "ssl_dhparam",
    "ssl_ecdh_curve",
    "ssl_handshake_timeout",
    "ssl_prefer_server_ciphers",
    "ssl_protocols",
    "ssl_session_cache",
    "ssl_session_ticket_key",
    "ssl_session_tickets",
    "ssl_session_timeout",
];

/// Directives inside `upstream` that choose among its servers.
const BALANCING: [&str; 8] =
    ["hash", "least_conn", "least_time", "random", "resolver", "resolver_timeout", "zone", "status_zone"];

/// Returns the class of a directive that the module does not carry over.
pub(super) fn of(name: &str) -> Class {
    if HARMLESS.contains(&name) {
        Class::Harmless("it has no counterpart")
    } else if VARIABLES.contains(&name) {
        Class::Harmless("the gate has no variables")
    } else if TLS.contains(&name) {
        Class::Harmless("the gate speaks TLS 1.2 and 1.3 with the ciphers of rustls")
    } else {
        Class::unknown()
    }
}

/// Returns the class of a directive in an `upstream` block other than `server`.
pub(super) fn of_upstream(name: &str) -> Class {
    if BALANCING.contains(&name) {
        Class::Harmless("the gate tries the addresses of an upstream in their order")
    } else {
        Class::unknown()
    }
}
