//! Generates files of rinetd.

use e2e::Random;

use super::{Case, Port};

const PATTERNS: [&str; 30] = [
    "10.*",
    "*",
    "10.1.*",
    "10.1.2.*",
    "10.1.2.?",
    "10.1.2.1??",
    "10.1.*.3",
    "10.1.2.3",
    "10.1.2.4",
    "10.?.*",
    "10.2*",
    "*.3",
    "10.9.9.9",
    "10.128.0.0",
    "10.20.?.*",
    "10.1*.2*.*",
    "2001:db8:1:*",
    "2001:db8:*",
    "2001:db8:1::7",
    "2001:*",
    "fd00:*",
    "10.1.2.255",
    "??.1.2.3",
    "1?.1.2.?",
    "10.1.2.?*",
    "*.*.*.*",
    "*1.2.3",
    "10.1.2.3*",
    "2001:db8:1::?",
    "*:*",
];

/// Generates a file with few global rules, so that the first rule of the file often belongs to a forward.
pub(super) fn generate(random: &mut Random) -> Case {
    let mut text = String::from("# generated\n");
    if random.one_in(2) {
        rules(&mut text, random);
    }
    let mut ports = Vec::new();
    for at in 0..5 {
        let v6 = at > 0 && random.one_in(4);
        ports.push(Port { v6, proxied: false });
        let ip = if v6 { "{ip6}" } else { "{ip}" };
        let options = ["", " [timeout=60]", " [src=127.0.0.1]", " # a comment"][random.below(4)];
        text += &format!("{ip} {{port{at}}} 127.0.0.1 {{server_port}}{options}\n");
        if !random.one_in(4) {
            rules(&mut text, random);
        }
        if random.one_in(5) {
            // The import leaves out this forward and its rules.
            text += &format!("127.0.0.1 {}/udp 127.0.0.1 9/udp\n", 40_000 + at);
            rules(&mut text, random);
        }
    }
    Case { files: vec![("old.conf", text)], ports }
}

fn rules(text: &mut String, random: &mut Random) {
    for _ in 0..random.below(4) {
        let word = if random.one_in(3) { "deny" } else { "allow" };
        *text += &format!("{word} {}\n", random.pick(&PATTERNS));
    }
}
