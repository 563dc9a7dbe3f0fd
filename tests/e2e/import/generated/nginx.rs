//! Generates files of nginx with a stream block.

use std::path::Path;

use e2e::Random;

use super::{Case, Port, net};

/// Directives other than `allow` and `deny` that decide which clients get in, or may be taken for such, and harmless
/// ones.
const ASIDE: [&str; 12] = [
    "ssl_preread on;",
    "ssl_preread off;",
    "proxy_pass $to;",
    "proxy_pass $nowhere;",
    "proxy_timeout 1m;",
    "tcp_nodelay on;",
    "limit_conn addr 1000;",
    "limit_conn by_place 1000;",
    "proxy_protocol off;",
    "preread_timeout 5s;",
    "return $to;",
    "proxy_connect_timeout 5s;",
];

/// Generates a file with rules at both levels, in included files, and behind load balancers.
pub(super) fn generate(random: &mut Random) -> Case {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let mut text = format!(
        "{load}daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{ worker_connections 256; }}\nstream {{\n\
         \x20   map $remote_addr $to {{ default {{server}}; 10.1.2.3 127.0.0.1:1; }}\n    map $remote_addr $nowhere {{ default 127.0.0.1:1; }}\n\
         \x20   limit_conn_zone $binary_remote_addr zone=addr:1m;\n    limit_conn_zone $to zone=by_place:1m;\n    upstream redis {{ server {{server}}; }}\n"
    );
    if random.one_in(2) {
        rules(&mut text, random, "    ");
    }
    if random.one_in(6) {
        text += "    include access.conf;\n";
    }
    if random.one_in(3) {
        text += &format!("    set_real_ip_from {};\n", net(random, false));
    }
    if random.one_in(6) {
        text += &format!(
            "    {}\n",
            ["ssl_preread on;", "limit_conn by_place 1000;", "proxy_timeout 1m;"][random.below(3)]
        );
    }
    let mut ports = Vec::new();
    for at in 0..6 {
        let port = Port { v6: at > 0 && random.one_in(4), proxied: at > 0 && random.one_in(3) };
        server(&mut text, random, at, port);
        ports.push(port);
    }
    text += "}\n";
    let mut access = String::new();
    rules(&mut access, random, "");
    Case { files: vec![("old.conf", text), ("access.conf", access)], ports }
}

fn server(text: &mut String, random: &mut Random, at: usize, port: Port) {
    let ip = if port.v6 { "[{ip6}]" } else { "{ip}" };
    let proxy = if port.proxied { " proxy_protocol" } else { "" };
    *text += &format!("    server {{\n        listen {ip}:{{port{at}}}{proxy};\n");
    let aside = random.pick(&ASIDE);
    // The first server always listens, even if the others do not.
    if at > 0 && random.one_in(3) {
        *text += &format!("        {aside}\n");
    }
    if port.proxied && random.one_in(2) {
        *text += &format!("        set_real_ip_from {};\n", net(random, port.v6));
    }
    if random.one_in(5) {
        *text += "        include access.conf;\n";
    }
    if !random.one_in(4) {
        rules(text, random, "        ");
    }
    if !text
        .rsplit("server {")
        .next()
        .is_some_and(|block| block.contains("proxy_pass") || block.contains("return"))
    {
        let to = if random.one_in(2) { "redis" } else { "{server}" };
        *text += &format!("        proxy_pass {to};\n");
    }
    *text += "    }\n";
}

fn rules(text: &mut String, random: &mut Random, indent: &str) {
    for _ in 0..=random.below(5) {
        let word = if random.one_in(2) { "deny" } else { "allow" };
        let v6 = random.one_in(4);
        let net = if random.one_in(12) { "all" } else { net(random, v6) };
        *text += &format!("{indent}{word} {net};\n");
    }
    if random.one_in(2) {
        *text += &format!("{indent}deny all;\n");
    }
}
