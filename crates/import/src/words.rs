//! Words of the programs that are imported from. A note repeats these; any other word of a file may be a secret.

use portcullis_config::message::is_harmless;

/// Directives and parameters of HAProxy, nginx, rinetd and netsh that stand in files about TCP.
const WORDS: &str = "
    access_log acl add agent-check allow allow-0rtt backend backlog balance bind by cache capture check check-send-proxy
    client client-fin connect connectaddress connection connectport conf content counters cpu-map crt-list crt-store
    daemon default_backend default_server default-server defaults deny description dev disabled down email-alert enabled
    error error_log errorfile events example except expect expect-proxy fail_timeout fall fcgi-app first force-tlsv12
    frontend from fullconn global group grace h2 hard-stop-after hash hash-type hdr http http-check http-errors
    http-keep-alive http-request http-response https if include info inspect-delay inter interface ip_hash ipv4 ipv6
    ipv6only ipv6only=on least_conn leastconn limit_conn listen listenaddress listenport load_module local0 local1 log
    log-format log-forward log-profile log-tag logcommon logfile mailers mark master-worker max_conns max_fails
    max-keep-alive-queue maxconn maxqueue mode monitor-uri name namespace nameserver nbproc nbthread netsh no none
    notice npn observe off on option optional or order path_beg peers pidfile pidlogfile ping portproxy
    preread_buffer_size preread_timeout program protocol proxy_bind proxy_buffer_size proxy_connect_timeout
    proxy_download_rate proxy_half_close proxy_next_upstream proxy_next_upstream_timeout proxy_next_upstream_tries
    proxy_pass proxy_protocol proxy_protocol_timeout proxy_requests proxy_socket_keepalive proxy_ssl proxy_timeout
    proxy_upload_rate queue random redirect redis redis-check reject resolve-prefer resolver resolver_timeout resolvers
    retries reuseport ring rise rotate roundrobin sc0_conn_rate send send-proxy send-proxy-v2 server server-fin
    server-template session set set-src silent-drop slow_start slowstart so_keepalive source spread-checks src
    src_conn_rate ssl ssl_preread static-rr stats stick stick-table store stream string tcp tcp-check tcp-request
    tcp-response tcp_nodelay tcp-smart-accept tcp-smart-connect tcpka tcplog timeout track-sc0 traces tune.bufsize
    tune.ssl.default-dh-param tunnel type udp ulimit-n unix unless up upstream use use-server use_backend user userlist
    v4tov4 v4tov6 v4v6 v6only v6tov4 v6tov6 verify warn weight worker_connections worker_processes zone all always_true
    always_false backup accept accept-proxy accept-netscaler-cip found gt lt ge le eq ip -i -n -m -f -- || listener
    TRUE FALSE LOCALHOST
";

/// Words behind which anything may be a password: what is sent, set or logged in with.
const SECRET_AFTER: [&str; 14] = [
    "send",
    "send-binary",
    "send-lf",
    "auth",
    "password",
    "insecure-password",
    "requirepass",
    "masterauth",
    "user",
    "set",
    "set-header",
    "add-header",
    "proxy_set_header",
    "comment",
];

/// Whether a secret may follow the word.
pub(super) fn hides_the_rest(word: &str) -> bool {
    SECRET_AFTER.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Whether a word, taken apart at its signs, is made of known words, names, addresses and quantities only.
pub(super) fn is_known(word: &str, is_name: impl Fn(&str) -> bool) -> bool {
    let of_program = |part: &str| WORDS.split_whitespace().any(|known| known == part);
    let fine = |part: &str| is_name(part) || of_program(part) || is_pattern(part) || is_harmless(part);
    if fine(word) || is_path(word) {
        return true;
    }
    let mut parts = word.split(['=', ',', '[', ']', '{', '}', '(', ')', '!', ';', '\'', '/', '@']);
    parts.all(|part| part.is_empty() || part == "..." || fine(part))
}

/// `192.168.?.*`, as rinetd writes the sources that it matches.
fn is_pattern(word: &str) -> bool {
    let short = word.split(['.', ':', '?', '*']).all(|run| run.len() <= 4);
    let fits = |c: char| c.is_ascii_hexdigit() || ".:?*".contains(c);
    short && word.contains(['.', ':', '*', '?']) && word.chars().all(fits)
}

fn is_path(word: &str) -> bool {
    word.starts_with('/')
        && portcullis_config::message::Masked::path(std::path::Path::new(word)).to_string() == word
}
