//! Generates files of nginx with a stream block.

use std::path::Path;

use e2e::Random;

use super::{Case, Port, net};

/// Directives other than `allow` and `deny` that decide which clients get in, or may be taken for such, and harmless
/// ones.
const ASIDE: [&str; 19] = [
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
    "proxy_pass $via;",
    "include *.acl;",
    "include [a-b]1.acl;",
    "include ?2.acl;",
    "include none*.acl;",
    "ssl_verify_depth 1;",
    "proxy_connect_timeout 1s; proxy_bind $remote_addr transparent;",
];

/// Generates a file with rules at both levels, in included files, and behind load balancers.
pub(super) fn generate(random: &mut Random) -> Case {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let mut text = format!(
        "{load}daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {{ worker_connections 256; }}\nstream {{\n\
         \x20   map $remote_addr $to {{ default {{server}}; 10.1.2.3 127.0.0.1:1; }}\n    map $remote_addr $nowhere {{ default 127.0.0.1:1; }}\n\
         \x20   geo $near {{ default 0; include near.geo; 10.1.2.0/24 1; 10.1.2.3 0; }}\n    map $near $via {{ default 127.0.0.1:1; 1 {{server}}; }}\n\
         \x20   limit_conn_zone $binary_remote_addr zone=addr:1m;\n    limit_conn_zone $to zone=by_place:1m;\n    upstream redis {{ server {{server}}; }}\n"
    );
    if random.one_in(2) {
        rules(&mut text, random, "    ");
    }
    if random.one_in(6) {
        text += "    include access.conf;\n";
    }
    if random.one_in(6) {
        text += &format!("    include {};\n", random.pick(&["a*.acl", "*1.acl", "none*.acl"]));
    }
    if random.one_in(3) {
        for _ in 0..=random.below(2) {
            let v6 = random.one_in(4);
            text += &format!("    set_real_ip_from {};\n", net(random, v6));
        }
    }
    if random.one_in(6) {
        text += &format!(
            "    {}\n",
            ["ssl_preread on;", "limit_conn by_place 1000;", "proxy_timeout 1m;"][random.below(3)]
        );
    }
    let mut ports = Vec::new();
    while ports.len() < 6 {
        let first = ports.len();
        for _ in 0..=random.below(2).min(first) {
            ports.push(Port { v6: first > 0 && random.one_in(4), proxied: first > 0 && random.one_in(3) });
        }
        server(&mut text, random, first, &ports[first..]);
    }
    text += "}\n";
    let mut access = String::new();
    rules(&mut access, random, "");
    let mut files = vec![("old.conf", text), ("access.conf", access)];
    for name in ["a1.acl", "a2.acl", "b1.acl"] {
        let mut access = String::new();
        rules(&mut access, random, "");
        files.push((name, access));
    }
    files.push(("near.geo", format!("{} 1;\n", net(random, false))));
    Case { files, ports }
}

/// Adds a server that listens on these ports, of which `at` is the number of the first.
fn server(text: &mut String, random: &mut Random, at: usize, ports: &[Port]) {
    *text += "    server {\n";
    for (number, port) in (at..).zip(ports) {
        let ip = if port.v6 { "[{ip6}]" } else { "{ip}" };
        let proxy = if port.proxied { " proxy_protocol" } else { "" };
        *text += &format!("        listen {ip}:{{port{number}}}{proxy};\n");
    }
    let aside = random.pick(&ASIDE);
    // The first server always listens, even if the others do not.
    if at > 0 && random.one_in(3) {
        *text += &format!("        {aside}\n");
    }
    if let Some(port) = ports.iter().find(|port| port.proxied)
        && random.one_in(2)
    {
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
