use std::net::SocketAddr;

use portcullis_acl::{ClientAddr, Decision, UnixSeconds};
use portcullis_config::{Config, LoadOptions, Loaded, load};

use super::*;

/// The result of an import: the configuration, read by the loader, and the notes.
pub(super) struct Outcome {
    pub(super) config: Config,
    pub(super) yaml: String,
    pub(super) notes: String,
}

/// Imports a text and loads the result. Panics if nothing was imported or the loader refuses the YAML.
#[track_caller]
pub(super) fn imported(format: Format, text: &str) -> Outcome {
    let Imported { yaml, notes } = import_text(format, text, Path::new("old.conf"));
    loaded(yaml.unwrap_or_else(|| panic!("nothing was imported: {notes}")), notes)
}

#[track_caller]
pub(super) fn loaded(yaml: String, notes: String) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, &yaml).unwrap();
    match load(&path, &LoadOptions::new()) {
        Ok(Loaded { config, .. }) => Outcome { config, yaml, notes },
        Err(problems) => {
            panic!("{yaml}\n{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

impl Outcome {
    /// Returns whether the listener admits the source, which is an address or `unix`.
    #[track_caller]
    pub(super) fn admits(&self, listener: &str, source: &str) -> bool {
        let at = self.config.listeners().iter().position(|known| known.name() == listener);
        let at = at.unwrap_or_else(|| panic!("no listener {listener} in\n{}", self.yaml));
        let from = match source {
            "unix" => ClientAddr::unix(),
            ip => ClientAddr::from_socket(SocketAddr::new(ip.parse().unwrap(), 0)),
        };
        matches!(self.config.policy().judge(at, &from, UnixSeconds(0)), Decision::Allow(_))
    }

    /// Returns the sources whose PROXY headers the listener trusts.
    #[track_caller]
    pub(super) fn trusted<'s>(&self, listener: &str, sources: &[&'s str]) -> Vec<&'s str> {
        let at = self.config.listeners().iter().position(|known| known.name() == listener);
        let at = at.unwrap_or_else(|| panic!("no listener {listener} in\n{}", self.yaml));
        let is_trusted = |source: &&&str| {
            let from = ClientAddr::from_socket(SocketAddr::new(source.parse().unwrap(), 0));
            self.config.policy().speaks_for_others(at, &from, UnixSeconds(0))
        };
        sources.iter().filter(is_trusted).copied().collect()
    }

    /// Returns the sources that the listener admits.
    #[track_caller]
    pub(super) fn admitted<'s>(&self, listener: &str, sources: &[&'s str]) -> Vec<&'s str> {
        sources.iter().copied().filter(|source| self.admits(listener, source)).collect()
    }

    #[track_caller]
    pub(super) fn says(&self, note: &str) {
        assert!(self.notes.contains(note), "{note:?} is not in\n{}", self.notes);
    }
}

#[test]
fn nothing_comes_of_nothing() {
    for format in Format::ALL {
        for text in ["", "\n\n", "\u{0}\u{1}", "what is this", "{}", "}{;"] {
            let Imported { yaml, .. } = import_text(format, text, Path::new("-"));
            assert_eq!(yaml, None, "{format:?} of {text:?}");
        }
    }
}

/// Control characters in the file do not reach the terminal or the YAML.
#[test]
fn foreign_text_stays_on_its_line() {
    let text = "allow 10.0.0.1\u{1b}[31m\n0.0.0.0 6379 10.0.0.5 6379\nde\u{7}ny x\n";
    let Imported { yaml, notes } = import_text(Format::Rinetd, text, Path::new("a\nb: c\u{1b}"));
    let printed = yaml.unwrap() + &notes;
    assert!(!printed.contains(['\u{1b}', '\u{7}']), "{printed:?}");
    assert!(notes.lines().all(|line| line.starts_with("a b: c ")), "{notes}");
}

#[test]
fn the_admin_endpoint_gives_way() {
    let imported = imported(Format::Rinetd, "allow 10.*\n0.0.0.0 9377 10.0.0.5 6379\n");
    assert!(imported.config.admin().is_none());
}

#[test]
fn listeners_that_exclude_each_other_are_not_both_carried_over() {
    let imported = imported(
        Format::Rinetd,
        "0.0.0.0 6379 10.0.0.5 6379\nallow 10.*\n127.0.0.1 6379 10.0.0.6 6379\nallow *\n:: 6379 10.0.0.5 6379\nallow fd00:*\n",
    );
    assert_eq!(imported.config.listeners().len(), 2);
    imported.says("old.conf:3: not carried over: listening on 127.0.0.1:6379: 0.0.0.0:6379 is taken");
    assert!(!imported.admits("public-6379", "192.0.2.1"));
}

/// One file of each program, with everything that people usually write in it.
const FILES: [(Format, &str); 6] = [
    (
        Format::Rinetd,
        "logfile /var/log/rinetd.log
allow 10.*
deny 10.0.0.66
0.0.0.0 6379 10.0.0.5 6379 [timeout=1200,src=10.0.0.1]
allow 192.168.?.*
0.0.0.0 5353/udp 10.0.0.5 53/udp
deny nonsense
",
    ),
    (
        Format::Netsh,
        "Listen on ipv4:             Connect to ipv4:
Address         Port        Address         Port
0.0.0.0         6379        10.0.0.5        6379
add v4tov4 listenport=6380 listenaddress=127.0.0.1 connectaddress=10.0.0.5 connectport=6379 protocol=tcp
nonsense here
",
    ),
    (
        Format::Nginx,
        "user www-data;
stream {
    upstream redis { server 10.0.0.5:6379 weight=5; server 10.0.0.6:6379 backup; server 10.0.0.7:6379 down; least_conn; }
    allow 10.0.0.0/8;
    proxy_ssl_password_file /etc/pw;
    server {
        listen 6379 so_keepalive=on;
        deny 10.0.0.66;
        allow 10.0.0.0/8;
        deny all;
        set $password secret;
        proxy_timeout 10m;
        proxy_pass redis;
    }
    server { listen 6380; allow all; proxy_pass 10.0.0.9:6379; }
}
",
    ),
    (
        Format::Haproxy,
        "global
    stats socket /run/haproxy.sock mode 600
    setenv PASSWORD secret
userlist people
    user app insecure-password secret
defaults
    mode tcp
    timeout client 1h
listen redis
    bind :6379 name front
    acl office src 10.0.0.0/8 nonsense
    acl late src_conn_rate gt 9
    option tcp-check
    tcp-check connect
    tcp-check send AUTH\\ secret\\r\\n
    tcp-check send \"AUTH secret\\r\\n\"
    tcp-check expect string +OK
    http-request set-header Authorization secret
    tcp-request connection reject if late
    tcp-request connection reject unless office
    tcp-request content set-var(txn.pw) str(secret)
    server a 10.0.0.5:6379 check inter 2s
    server b 10.0.0.6:6379 ssl verify none
    use_backend other if late
    default_backend redis
",
    ),
    (
        Format::Apsaradb,
        "{\"RequestId\": \"1\", \"SecurityIpGroups\": {\"SecurityIpGroup\": [
{\"SecurityIpGroupName\": \"office\", \"SecurityIpGroupAttribute\": \"hidden\",
\"SecurityIpList\": \"198.51.100.7,10.0.0.0/33,127.0.0.1\"}]}}
",
    ),
    (
        Format::Cidrs,
        "security_ips = [ 198.51.100.7 10.1.2.3/8 ]
description = secret 10.0.0.1
password = secret
deny 10.0.0.1 secret
203.0.113.0/24 secret 10.0.0.1:secret
",
    ),
];

/// The words before a name in the file. The result repeats such names, and hosts that the gate connects to.
const BEFORE_NAMES: [&str; 9] = [
    "listen",
    "frontend",
    "backend",
    "userlist",
    "acl",
    "server",
    "upstream",
    "\"SecurityIpGroupName\":",
    "stats",
];

/// Replaces each word in turn by a password. Neither a note nor a comment of the YAML may repeat the password.
#[test]
fn no_note_repeats_a_secret() {
    for (format, text) in FILES {
        let Imported { yaml, notes } = import_text(format, text, Path::new("old.conf"));
        assert!(yaml.is_some() && notes.contains("not carried over"), "{format:?}: {notes}");
        let said = yaml.unwrap_or_default() + &notes;
        assert!(!said.contains("secret"), "{format:?}: {said}");
        let mut before = "";
        for word in text.split_whitespace() {
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            let name = BEFORE_NAMES.contains(&before.trim_start_matches('{'));
            before = word;
            for canary in ["canary-7f41", "redis://:canary-7f41@host:6379", "AUTH\\ canary-7f41"] {
                let word = word.trim_end_matches([';', ',']);
                let canary = if word.starts_with('"') { format!("\"{canary}\"") } else { canary.to_owned() };
                let changed = format!("{}{canary}{}", &text[..at], &text[at + word.len()..]);
                let Imported { yaml, notes } = import_text(format, &changed, Path::new("old.conf"));
                let said = yaml.unwrap_or_default() + &notes;
                // A password in the place of a host becomes the address that the gate connects to, which the result
                // must show.
                let mut said = said.lines().filter(|line| !line.starts_with("    address: \"canary-7f41:"));
                let line = said.find(|line| line.contains("7f41"));
                assert!(name || line.is_none(), "{format:?}: {word} became {canary}: {line:?}");
            }
        }
    }
}

/// No client has the address `0.0.0.0`, and the loader refuses it.
#[test]
fn no_importer_writes_a_single_unspecified_address() {
    for (format, text, notes) in [
        (
            Format::Rinetd,
            "0.0.0.0 6379 10.0.0.5 6379\nallow 0.0.0.0\nallow 0.0.0.?\nallow 203.0.113.9\ndeny 0.0.0.0\n",
            1,
        ),
        (
            Format::Nginx,
            "stream { server { listen 6379; listen [::]:6379; proxy_pass 10.0.0.5:6379; deny ::; allow 0.0.0.0; allow 203.0.113.9; deny all; } }",
            1,
        ),
        (
            Format::Nginx,
            "stream { server { listen 6379 proxy_protocol; set_real_ip_from 0.0.0.0; set_real_ip_from 10.0.0.9; proxy_pass 10.0.0.5:6379; allow 203.0.113.9; deny all; } }",
            1,
        ),
        (
            Format::Haproxy,
            "listen a\n bind :6379\n acl own src 0.0.0.0 203.0.113.9\n tcp-request connection reject if !own\n server a 10.0.0.5:6379\n",
            1,
        ),
        (
            Format::Haproxy,
            "listen a\n bind :6379\n acl own src 0.0.0.0/31\n acl not src 0.0.0.1\n tcp-request connection reject if !own or not\n server a 10.0.0.5:6379\n",
            0,
        ),
        (Format::Apsaradb, "default: 0.0.0.0,203.0.113.9\n", 1),
        (Format::Apsaradb, r#"[{"SecurityIpGroupName": "a", "SecurityIpList": "0.0.0.0"}]"#, 1),
        (Format::Cidrs, "0.0.0.0\n203.0.113.9\n::/128\n", 2),
    ] {
        let imported = imported(format, text);
        let found = imported.notes.matches("it is no client's address").count();
        assert!(found >= notes, "{text}: {}", imported.notes);
        let lists = imported.yaml.split("groups:").nth(1).unwrap_or_default();
        assert!(!lists.lines().any(|line| line.trim_start().starts_with("- 0.0.0.0 ")), "{}", imported.yaml);
    }
}
