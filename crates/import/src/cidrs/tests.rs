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
        "old.conf:10: note: 10.0.0.1 is in deny: its line or key refuses",
        "old.conf:11: note: 192.0.2.1 is in deny: its line or key refuses",
        "old.conf:12: note: 192.0.2.1 is in deny: its line or key refuses",
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

/// Only 203.0.113.9 is admitted of each text, and the notes name the others.
#[test]
fn doubt_never_admits() {
    let rules = [
        // JSON keys.
        r#"{"deny":["10.0.0.1"],"allow":["203.0.113.9"],"blocklist":["192.0.2.1"],"blocked_ips":["198.51.100.7"],"except":["8.8.8.8"]}"#,
        r#"{"allow":["203.0.113.9"],"exclude":["192.0.2.1"],"banned":["10.0.0.1"],"whitelist_exceptions":["8.8.8.8"],"blacklist":["198.51.100.7"]}"#,
        r#"{"allow":["203.0.113.9"],"drop":["192.0.2.1"],"reject":["10.0.0.1"],"denied":["8.8.8.8"],"private_ip":"198.51.100.7"}"#,
        r#"{"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"203.0.113.0/24","except":["203.0.113.66/32"]}}],"ports":[{"port":6379,"protocol":"TCP"}]},{"from":[{"ipBlock":{"cidr":"192.0.2.0/24"}}],"ports":[{"port":22}]}]}}"#,
        r#"{"SecurityGroupRules":[{"IsEgress":true,"IpProtocol":"tcp","FromPort":6379,"ToPort":6379,"CidrIpv4":"10.0.0.1/32"},{"IsEgress":false,"IpProtocol":"tcp","FromPort":6379,"ToPort":6379,"CidrIpv4":"203.0.113.9/32"}]}"#,
        r#"{"NetworkAcls":[{"Entries":[{"CidrBlock":"10.0.0.1/32","Egress":true,"Protocol":"-1","RuleAction":"allow","RuleNumber":100},{"CidrBlock":"192.0.2.1/32","Egress":false,"Protocol":"-1","RuleAction":"deny","RuleNumber":101},{"CidrBlock":"8.8.8.8/32","Egress":false,"Protocol":"6","PortRange":{"From":22,"To":22},"RuleAction":"allow","RuleNumber":102},{"CidrBlock":"203.0.113.9/32","Egress":false,"Protocol":"6","PortRange":{"From":6379,"To":6379},"RuleAction":"allow","RuleNumber":103}]}]}"#,
        r#"[{"name":"r1","direction":"INGRESS","sourceRanges":["10.0.0.1/32"],"denied":[{"IPProtocol":"tcp","ports":["6379"]}]},{"name":"r2","direction":"INGRESS","disabled":true,"sourceRanges":["192.0.2.1"],"allowed":[{"IPProtocol":"tcp","ports":["6379"]}]},{"name":"r3","direction":"INGRESS","sourceRanges":["8.8.8.8/32"],"allowed":[{"IPProtocol":"tcp","ports":["22"]}]},{"direction":"EGRESS","sourceRanges":["198.51.100.7"]},{"direction":"INGRESS","disabled":false,"sourceRanges":["203.0.113.9/32"],"allowed":[{"IPProtocol":"tcp","ports":["6379"]}]}]"#,
        r#"[{"access":"Deny","direction":"Inbound","protocol":"Tcp","destinationPortRange":"6379","sourceAddressPrefix":"10.0.0.1"},{"access":"Allow","direction":"Inbound","protocol":"Tcp","destinationPortRange":"","destinationPortRanges":["22"],"sourceAddressPrefix":"192.0.2.1"},{"access":"Allow","direction":"Inbound","protocol":"Udp","destinationPortRange":"6379","sourceAddressPrefix":"8.8.8.8"},{"access":"Allow","direction":"Outbound","protocol":"*","sourceAddressPrefix":"198.51.100.7"},{"access":"Allow","direction":"Inbound","protocol":"Tcp","destinationPortRange":"6379","sourceAddressPrefix":"203.0.113.9"}]"#,
        r#"[{"ip":"10.0.0.1","list":"blacklist"},{"ip":"192.0.2.1","kind":"blocked"},{"ip":"8.8.8.8","active":false},{"ip":"203.0.113.9","kind":"office"}]"#,
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 203.0.113.9 -j ACCEPT\nCOMMIT\n",
        // YAML.
        "spec:\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 203.0.113.0/24\n        except:\n        - 203.0.113.66/32\ndeny:\n  - 10.0.0.1\n",
        "blocked:\n  ips:\n    - 10.0.0.1\n  office:\n    - cidr: 192.0.2.1\nallow:\n  - 203.0.113.9\n",
        // Terraform.
        "resource \"aws_security_group_rule\" \"o\" {\n  type = \"egress\"\n  cidr_blocks = [\"10.0.0.1/32\"]\n}\nresource \"aws_security_group_rule\" \"i\" {\n  cidr_blocks = [\"203.0.113.9/32\"]\n  type = \"ingress\"\n}\n",
        "resource \"aws_network_acl_rule\" \"b\" {\n  rule_action = \"deny\"\n  cidr_block = \"10.0.0.1/32\"\n}\nresource \"azurerm_network_security_rule\" \"x\" {\n  access = \"Deny\"\n  source_address_prefix = \"192.0.2.1\"\n}\nresource \"alicloud_security_group_rule\" \"s\" {\n  policy = \"accept\"\n  port_range = \"22/22\"\n  cidr_ip = \"8.8.8.8/32\"\n}\nresource \"alicloud_security_group_rule\" \"t\" {\n  policy = \"accept\"\n  ip_protocol = \"tcp\"\n  port_range = \"6379/6379\"\n  cidr_ip = \"203.0.113.9/32\"\n}\n",
        "resource \"aws_security_group_rule\" \"u\" {\n  protocol = \"udp\"\n  cidr_blocks = [\"10.0.0.1/32\"]\n}\nresource \"aws_security_group\" \"v\" {\n  ingress {\n    protocol = \"icmp\"\n    from_port = -1\n    cidr_blocks = [\"192.0.2.0/24\"]\n  }\n}\nlocals { allowed_ips = [\"203.0.113.9\"] }\n",
        "/*\nsecurity_ips = [\"10.0.0.1\"]\n*/\nresource \"alicloud_kvstore_instance\" \"new\" {\n  security_ips = [ /* \"192.0.2.1\", */ \"203.0.113.9\"] // 10.0.0.1\n  private_ip = \"198.51.100.7\"\n}\nresource \"aws_vpc\" \"v\" {\n  cidr_block = \"10.0.0.0/16\"\n}\n",
        "variable \"blocked_ips\" {\n  default = [\"10.0.0.1\", \"192.0.2.1\"]\n}\nvariable \"denylist\" {\n  default = [\n    \"8.8.8.8\",\n  ]\n}\nvariable \"allowed_ips\" {\n  default = [\n    \"203.0.113.9\",\n  ]\n}\n",
        "resource \"google_compute_firewall\" \"a\" {\n  deny {\n    protocol = \"tcp\"\n  }\n  source_ranges = [\"10.0.0.1\"]\n}\nresource \"google_compute_firewall\" \"b\" {\n  allow {\n    ports = [\"6379\"]\n  }\n  source_ranges = [\"203.0.113.9\"]\n}\n",
        // Text.
        "203.0.113.9\ndeny from\n10.0.0.1\n192.0.2.1\n",
        "[blocked]\n10.0.0.1\nip = 8.8.8.8\n[allowed]\n203.0.113.9\n",
        "203.0.113.9\nbanned:\n192.0.2.1\n",
        "203.0.113.9\nblacklist\n192.0.2.1\n",
        "203.0.113.9\nno 10.0.0.1\nbanned: 192.0.2.1\nblacklist 8.8.8.8\nserver 198.51.100.7\n",
        "allow from 203.0.113.9\nallow:10.0.0.1\n<!-- 8.8.8.8 -->\n-- 192.0.2.1\nhost all all 198.51.100.7/32 md5\n",
        "-A INPUT -s 10.0.0.1 -p tcp --dport 22 -j ACCEPT\n-A OUTPUT -s 192.0.2.1 -j ACCEPT\n-A INPUT -s 8.8.8.8 -j BLACKLIST\n-A INPUT -s 203.0.113.9/32 -p tcp -m tcp --dport 6379 -j ACCEPT\n-A INPUT -s 198.51.100.7 -j RETURN\n",
        "-A INPUT -s 10.0.0.1 -j DROP\n-A INPUT ! -s 192.0.2.1 -j ACCEPT\n-A INPUT -d 8.8.8.8 -j ACCEPT\n-A INPUT -s 203.0.113.9 -j ACCEPT\n-A INPUT -s 198.51.100.7 -p udp -j ACCEPT\n",
        "Status: active\nTo    Action   From\n--    ------   ----\n6379  DENY IN  10.0.0.1\n6379/tcp  ALLOW IN  203.0.113.9\n22/tcp  ALLOW IN  192.0.2.1\n6379  ALLOW OUT  8.8.8.8\n6379  LIMIT IN  198.51.100.7\n",
        "203.0.113.9\n192.0.2.1 255.255.255.255\n10.0.0.1 0.0.0.0\n",
    ];
    for text in rules {
        let imported = imported(Format::Cidrs, text);
        let admitted = imported.admitted("public", &[PROBES.as_slice(), &["203.0.113.66"]].concat());
        assert_eq!(admitted, ["203.0.113.9"], "{text}\n{}\n{}", imported.yaml, imported.notes);
    }
}

/// Addresses that a line refuses are in `deny`. If they cannot be read, no address is allowed.
#[test]
fn a_refusal_counts() {
    let notes = admits("203.0.113.0/24\nexcept: 203.0.113.9\n", &[]);
    assert!(notes.contains("old.conf:2: note: 203.0.113.9 is in deny"), "{notes}");
    admits("203.0.113.0/24\ndeny 203.0.113.0 255.255.255.128\n", &[]);
    admits("203.0.113.0/24\ndeny 203.0.113.9/24\n", &[]);
}

#[test]
fn plain_lists_have_no_notes() {
    for text in [
        "# office\n203.0.113.9\n\n  203.0.113.8 # home\n; old\n203.0.113.7/32 ; x\n",
        "203.0.113.9,203.0.113.8\n",
        "- 203.0.113.9\n- \"203.0.113.8\"\n",
        "[\"203.0.113.9\"]",
        r#"{"prefixes":[{"ip_prefix":"203.0.113.0/24","region":"eu-1","service":"EC2","network_border_group":"eu-1"}]}"#,
        r#"{"verifiable_password_authentication":false,"domains":{"website":["*.github.com"]},"hooks":["203.0.113.0/24"],"github_enterprise_importer":["203.0.113.0/24"],"actions_macos":["203.0.113.9"]}"#,
    ] {
        let notes = admits(text, &["203.0.113.9"]);
        assert_eq!(notes.lines().count(), 1, "{text}\n{notes}");
    }
}
