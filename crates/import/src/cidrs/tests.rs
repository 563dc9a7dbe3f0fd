use crate::tests::imported;
use crate::{Format, Imported, import_text};

const PROBES: [&str; 6] = ["203.0.113.9", "198.51.100.7", "192.0.2.1", "10.0.0.1", "2001:db8::1", "8.8.8.8"];

#[track_caller]
fn admits(text: &str, admitted: &[&str]) -> String {
    let imported = imported(Format::Cidrs, text);
    assert_eq!(
        imported.admitted("public", &PROBES),
        admitted,
        "{text}\n{}\n{}",
        imported.yaml,
        imported.notes
    );
    imported.notes
}

#[test]
fn plain_text() {
    let notes = admits(
        "# office\n203.0.113.0/24 ; since 2020\n- 198.51.100.7,\n\"2001:db8::/32\" // home\n10.0.0.1/8\n10.0.0.1-10.0.0.9\n10.0.0.*\n0.0.0.0\n10.0.0.1:6379\ndeny 10.0.0.1\nnot 192.0.2.1\n!192.0.2.1\ndescription = was 192.0.2.1\n# 192.0.2.1\n",
        &["203.0.113.9", "198.51.100.7", "2001:db8::1"],
    );
    for note in [
        "old.conf:5: not carried over: 10.0.0.1/8: it has bits behind the prefix",
        "old.conf:6: not carried over: ***: not an address",
        "old.conf:7: not carried over: ***: not an address",
        "old.conf:8: not carried over: 0.0.0.0: it is no client's address",
        "old.conf:9: not carried over: 10.0.0.1:6379: not an address",
        "old.conf:10: not carried over: an address: its line refuses",
        "old.conf:11: not carried over: an address: its line refuses",
        "old.conf:12: not carried over: an address: its line refuses",
        "old.conf:13: not carried over: an address: it stands in a text that describes",
    ] {
        assert!(notes.contains(note), "{note}\n{notes}");
    }
    assert_eq!(notes.matches("old.conf:14").count(), 0, "a comment is no address: {notes}");
}

#[test]
fn terraform() {
    admits(
        r#"
resource "alicloud_kvstore_instance" "redis" {
  security_ips = ["203.0.113.0/24", "198.51.100.7"]
  tags = { note = "10.0.0.1" }
}
resource "aws_security_group" "redis" {
  ingress {
    from_port   = 6379
    to_port     = 6379
    cidr_blocks = ["192.0.2.1/32"]
  }
  ingress {
    from_port   = 22
    to_port     = 22
    cidr_blocks = ["10.0.0.0/8"]
  }
  egress {
    from_port = 0
    to_port = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}
"#,
        &["203.0.113.9", "198.51.100.7", "192.0.2.1"],
    );
}

/// Only the rules of a security group that concern clients of Redis are imported.
#[test]
fn security_groups() {
    let notes = admits(
        r#"{"SecurityGroups": [{"IpPermissions": [
{"IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379, "IpRanges": [{"CidrIp": "203.0.113.0/24", "Description": "office, not 8.8.8.8/32"}], "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]},
{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
{"IpProtocol": "udp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "198.51.100.7/32"}]}],
"IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}], "OwnerId": "123456789012"}]}"#,
        &["203.0.113.9", "198.51.100.7", "2001:db8::1"],
    );
    assert!(notes.contains("a rule: its ports do not include 6379"), "{notes}");
    assert!(notes.contains("a rule: its protocol is not TCP"), "{notes}");
    assert!(notes.contains("addresses: they are about connections to elsewhere"), "{notes}");
    // Then the forms of Tencent Cloud and Alibaba Cloud.
    admits(
        r#"{"SecurityGroupPolicySet": {"Ingress": [
{"Protocol": "TCP", "Port": "6379", "CidrBlock": "203.0.113.0/24", "Action": "ACCEPT", "PolicyDescription": "10.0.0.1"},
{"Protocol": "ALL", "Port": "ALL", "CidrBlock": "10.0.0.0/8", "Action": "ACCEPT"},
{"Protocol": "TCP", "Port": "6000-7000", "CidrBlock": "10.0.0.1", "Action": "DROP"},
{"Protocol": "TCP", "Port": "22,3389", "CidrBlock": "192.0.2.0/24", "Action": "ACCEPT"}],
"Egress": [{"Protocol": "ALL", "Port": "ALL", "CidrBlock": "0.0.0.0/0", "Action": "ACCEPT"}]}}"#,
        &["203.0.113.9"],
    );
    admits(
        r#"{"Permissions": {"Permission": [
{"Direction": "ingress", "Policy": "Accept", "IpProtocol": "TCP", "PortRange": "6379/6379", "SourceCidrIp": "203.0.113.0/24", "DestCidrIp": "10.0.0.1"},
{"Direction": "ingress", "Policy": "Accept", "IpProtocol": "ALL", "PortRange": "-1/-1", "SourceCidrIp": "198.51.100.0/24"},
{"Direction": "ingress", "Policy": "Drop", "IpProtocol": "TCP", "PortRange": "1/65535", "SourceCidrIp": "198.51.100.7"},
{"Direction": "egress", "Policy": "Accept", "IpProtocol": "ALL", "PortRange": "-1/-1", "SourceCidrIp": "0.0.0.0/0"}]}}"#,
        &["203.0.113.9"],
    );
}

#[test]
fn ranges_of_clouds() {
    admits(
        r#"{"syncToken": "1700000000", "createDate": "2026-01-01-00-00-00", "prefixes": [{"ip_prefix": "203.0.113.0/24", "region": "eu-1"}], "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32"}]}"#,
        &["203.0.113.9", "2001:db8::1"],
    );
    admits(r#"["203.0.113.0/24", "198.51.100.7;192.0.2.1", 5, null]"#, &PROBES[..3]);
    let notes =
        admits(r#"["0.0.0.0/0"]"#, &["203.0.113.9", "198.51.100.7", "192.0.2.1", "10.0.0.1", "8.8.8.8"]);
    assert!(notes.contains("0.0.0.0/0 admits every client of its family"), "{notes}");
}

#[test]
fn the_group_has_the_name_of_the_file() {
    let path = std::path::Path::new("/etc/Office-List.txt");
    let Imported { yaml, notes } = import_text(Format::Cidrs, "10.0.0.0/8", path);
    assert!(yaml.unwrap().contains("allow: [office-list]"), "{notes}");
    let Imported { yaml, notes } = import_text(Format::Cidrs, "nothing: 1.2.3 and 12:30:00", path);
    assert_eq!(yaml, None);
    assert!(notes.contains("there is no address in it"), "{notes}");
}

/// A reader sees the second address on a line of its own.
#[test]
fn an_address_that_an_odd_line_end_hides_is_noted() {
    for (odd, name) in
        [("\r", "a carriage return (CR)"), ("\u{2028}", "a line separator"), ("\u{b}", "a vertical")]
    {
        let notes =
            admits(&format!("203.0.113.9\r\n192.0.2.1 # {odd}10.0.0.1\r\n"), &["203.0.113.9", "192.0.2.1"]);
        assert!(notes.contains(&format!("old.conf:2: note: column 13 has {name}")), "{notes}");
        assert_eq!(notes.matches("which does not end the line").count(), 1, "{notes}");
    }
    let json = "{\"cidr\":\r\"203.0.113.9\", \"note\": \"\u{2028}\"}";
    assert!(!admits(json, &["203.0.113.9"]).contains("which does not end the line"));
}
