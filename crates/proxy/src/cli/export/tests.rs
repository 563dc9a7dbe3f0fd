use portcullis_config::{LoadOptions, load};

use super::*;

/// 2027-01-15T08:00:00Z.
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

const GATE: &str = "\
listeners:
  - {name: public, bind: [0.0.0.0:6379, \"[::]:6379\", \"unix:/run/gate.sock\"], upstream: main, allow: [office],
     deny: [203.0.113.2], shadow: {allow: [office]}}
  - {name: inside, bind: \"[2001:db8::5]:6380\", upstream: main, allow: [10.0.0.0/8], auth: users, users: [one, two],
     proxy_protocol: {from: [192.0.2.7], only: true}}
  - {name: dual, bind: \"[::]:6381\", upstream: main, allow: []}
upstreams: {main: {address: 127.0.0.1:6390}}
users:
  one: {password: {env: PATH}, from: [10.1.0.0/16]}
  two: {password: {env: PATH}}
groups:
  office: [203.0.113.0/30, \"2001:db8:1::/48\", {cidr: 198.51.100.7, until: 2027-01-15T09:00:00Z}]
";

fn config() -> (tempfile::TempDir, Config) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gate.yaml");
    std::fs::write(&path, GATE).unwrap();
    let config = load(&path, &LoadOptions::new().without_secrets()).unwrap().config;
    (directory, config)
}

fn exported(format: Format, named: Option<&str>) -> (String, Vec<String>) {
    let (directory, config) = config();
    let Rules { text, notes } = rules(format, &config, &listeners(&config, named).unwrap(), NOW);
    (text.replace(&format!("{}/", directory.path().display()), ""), notes)
}

#[test]
fn nftables_has_a_set_for_each_family() {
    let (text, _) = exported(Format::Nftables, None);
    assert_eq!(
        text,
        "\
# Made by 'portcullis export nftables' at 2027-01-15T08:00:00Z from gate.yaml.
# Load it with 'nft -f FILE'. Make it again when the configuration changes, or an entry is extended.
table inet portcullis
delete table inet portcullis
table inet portcullis {
\tset public_v4 {
\t\ttype ipv4_addr
\t\tflags interval, timeout
\t\telements = {
\t\t\t198.51.100.7 timeout 3600s,
\t\t\t203.0.113.0/31,
\t\t\t203.0.113.3
\t\t}
\t}
\tset public_v6 {
\t\ttype ipv6_addr
\t\tflags interval, timeout
\t\telements = {
\t\t\t2001:db8:1::/48
\t\t}
\t}
\tset inside_v4 {
\t\ttype ipv4_addr
\t\tflags interval, timeout
\t\telements = {
\t\t\t192.0.2.7
\t\t}
\t}
\tset inside_v6 {
\t\ttype ipv6_addr
\t\tflags interval, timeout
\t}
\tset dual_v4 {
\t\ttype ipv4_addr
\t\tflags interval, timeout
\t}
\tset dual_v6 {
\t\ttype ipv6_addr
\t\tflags interval, timeout
\t}
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\ttcp dport 6379 ip saddr != @public_v4 drop
\t\ttcp dport 6379 ip6 saddr != @public_v6 drop
\t\tip6 daddr 2001:db8::5 tcp dport 6380 ip6 saddr != @inside_v6 drop
\t\ttcp dport 6381 ip6 saddr != @dual_v6 drop
\t\ttcp dport 6381 ip saddr != @dual_v4 drop
\t}
}
"
    );
}

#[test]
fn the_time_that_is_left_has_days() {
    let left = |seconds| nftables::left(UnixSeconds(NOW.0 + seconds), NOW);
    assert_eq!([3600, 86_400, 86_461].map(left), ["3600s", "1d", "1d61s"]);
    assert_eq!(left(20_000 * 86_400), "20000d");
}

#[test]
fn a_security_group_has_one_permission_for_each_port() {
    let (text, notes) = exported(Format::SecurityGroup, Some("public"));
    let permissions: serde_json::Value = serde_json::from_str(&text).unwrap();
    let made = "public, made 2027-01-15T08:00:00Z from gate.yaml";
    let until = "public, until 2027-01-15T09:00:00Z, made 2027-01-15T08:00:00Z from gate.yaml";
    assert_eq!(
        permissions,
        serde_json::json!([{
            "IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379,
            "IpRanges": [
                {"CidrIp": "198.51.100.7/32", "Description": until},
                {"CidrIp": "203.0.113.0/31", "Description": made},
                {"CidrIp": "203.0.113.3/32", "Description": made},
            ],
            "Ipv6Ranges": [{"CidrIpv6": "2001:db8:1::/48", "Description": made}],
        }])
    );
    let end =
        "listener public: 198.51.100.7/32 ends at 2027-01-15T09:00:00Z, but the security group keeps it";
    assert_eq!(notes.last().map(String::as_str), Some(end));
}

#[test]
fn a_drop_in_of_systemd_has_one_list() {
    let (text, notes) = exported(Format::Systemd, Some("public"));
    assert_eq!(
        text,
        "\
# Made by 'portcullis export systemd' at 2027-01-15T08:00:00Z from gate.yaml.
# Install it as /etc/systemd/system/portcullis.socket.d/allow.conf, then run
# 'systemctl daemon-reload'. Make it again when the configuration changes.
[Socket]
IPAddressAllow=
IPAddressDeny=any
# listener public
IPAddressAllow=198.51.100.7/32
IPAddressAllow=203.0.113.0/31
IPAddressAllow=203.0.113.3/32
IPAddressAllow=2001:db8:1::/48
"
    );
    let end = "listener public: 198.51.100.7/32 ends at 2027-01-15T09:00:00Z, but the socket unit keeps it";
    assert_eq!(notes.last().map(String::as_str), Some(end));
    let (text, notes) = exported(Format::Systemd, None);
    assert!(text.contains("# listener inside\nIPAddressAllow=192.0.2.7/32\n# listener dual\n"), "{text}");
    assert!(notes.iter().any(|note| note.starts_with("all sockets of a unit have one list")), "{notes:#?}");
}

#[test]
fn what_rules_cannot_say_is_said() {
    let (_, notes) = exported(Format::Nftables, None);
    let beginnings = [
        "listener public: unix:/run/gate.sock is left out",
        "listener public: its shadow lists are left out",
        "listener inside: the addresses of proxy_protocol.from are in the rules",
        "listener inside: the lists of users are left out, because the kernel does not know the user: one",
    ];
    assert_eq!(notes.len(), beginnings.len(), "{notes:#?}");
    for (note, beginning) in notes.iter().zip(beginnings) {
        assert!(note.starts_with(beginning), "{note}");
    }
}

#[test]
fn the_name_of_the_file_cannot_add_a_rule() {
    let (directory, config) = config();
    let path = directory.path().join("gate\nadd rule inet portcullis input accept.yaml");
    std::fs::rename(config.path(), &path).unwrap();
    let config = load(&path, &LoadOptions::new().without_secrets()).unwrap().config;
    let Rules { text, .. } =
        rules(Format::Nftables, &config, &listeners(&config, Some("dual")).unwrap(), NOW);
    assert!(!text.lines().any(|line| line.starts_with("add rule")), "{text}");
}

#[test]
fn descriptions_have_only_the_characters_that_the_cloud_takes() {
    let (directory, config) = config();
    let path = directory.path().join("caf\u{e9} \"gate\".yaml");
    std::fs::rename(config.path(), &path).unwrap();
    let config = load(&path, &LoadOptions::new().without_secrets()).unwrap().config;
    let Rules { text, .. } =
        rules(Format::SecurityGroup, &config, &listeners(&config, Some("dual")).unwrap(), NOW);
    assert!(text.is_ascii(), "{text}");
}
