use crate::Format;
use crate::tests::imported;

const ANSWER: &str = r#"{
  "RequestId": "38FD0C0D-4F8E-4C2C-9A7F-0F8C2A6E2A0B",
  "SecurityIpGroups": {
    "SecurityIpGroup": [
      {"SecurityIpGroupName": "default", "SecurityIpGroupAttribute": "", "SecurityIpList": "127.0.0.1"},
      {"SecurityIpGroupName": "office", "SecurityIpGroupAttribute": "", "SecurityIpList": "127.0.0.1,203.0.113.0/24, 198.51.100.7,198.51.100.7"},
      {"SecurityIpGroupName": "hdm_security_ips", "SecurityIpGroupAttribute": "hidden", "SecurityIpList": "100.104.0.0/16"},
      {"SecurityIpGroupName": "unix", "SecurityIpGroupAttribute": "", "SecurityIpList": "10.1.2.3/8,10.0.0.0/33,::ffff:10.0.0.1,10.0.0.01,host"}
    ]
  }
}"#;

#[test]
fn the_union_of_the_groups_is_let_in() {
    let imported = imported(Format::Apsaradb, ANSWER);
    let probes = [
        "127.0.0.1",
        "203.0.113.9",
        "198.51.100.7",
        "198.51.100.8",
        "100.104.1.1",
        "10.1.2.3",
        "10.0.0.1",
        "unix",
    ];
    assert_eq!(imported.admitted("public", &probes), ["203.0.113.9", "198.51.100.7", "100.104.1.1"]);
    for note in [
        "old.conf:5: not carried over: 127.0.0.1 of group 'default': alone in its group it means that no client gets in there",
        "old.conf:6: not carried over: 127.0.0.1 of group 'office': beside other entries it is ignored there",
        "old.conf:6: not carried over: 198.51.100.7 of group 'office': it stands there twice",
        "old.conf:7: note: group 'hdm_security_ips' has the attribute 'hidden'",
        "old.conf:8: not carried over: 10.1.2.3/8 of group 'unix'",
        "old.conf:8: not carried over: 10.0.0.0/33 of group 'unix'",
        "old.conf:8: not carried over: ::ffff:10.0.0.1 of group 'unix'",
        "old.conf:8: not carried over: 10.0.0.01 of group 'unix'",
        "old.conf:8: not carried over: *** of group 'unix'",
        "not carried over: where Redis is",
    ] {
        imported.says(note);
    }
    let groups: Vec<&str> = imported.config.policy().groups().map(|group| group.name()).collect();
    assert_eq!(groups, ["unix", "office", "hdm_security_ips", "default", "unix-2"]);
}

#[test]
fn default_with_127_0_0_1_alone_means_nobody() {
    let one = r#"{"SecurityIpGroups": {"SecurityIpGroup": [{"SecurityIpGroupName": "default", "SecurityIpGroupAttribute": "", "SecurityIpList": "127.0.0.1"}]}}"#;
    let imported = imported(Format::Apsaradb, one);
    assert!(imported.admitted("public", &["127.0.0.1", "127.0.0.2", "10.0.0.1", "::1", "unix"]).is_empty());
}

#[test]
fn everybody_is_everybody() {
    let all = r#"{"SecurityIpGroups": {"SecurityIpGroup": [{"SecurityIpGroupName": "default", "SecurityIpList": "0.0.0.0/0"}]}}"#;
    assert!(imported(Format::Apsaradb, all).admits("public", "8.8.8.8"));
}

/// The API of ApsaraDB RDS uses other names for the same fields.
#[test]
fn the_answer_of_describe_db_instance_ip_array_list() {
    let text = r#"{"RequestId": "1", "Items": {"DBInstanceIPArray": [
{"DBInstanceIPArrayName": "default", "DBInstanceIPArrayAttribute": "", "SecurityIPType": "IPv4", "SecurityIPList": "127.0.0.1"},
{"DBInstanceIPArrayName": "office", "DBInstanceIPArrayAttribute": "hidden", "SecurityIPList": "203.0.113.0/24,198.51.100.7"},
{"DBInstanceIPArrayName": "Staging Net", "SecurityIPList": "192.0.2.1,0.0.0.0"}]}}"#;
    let imported = imported(Format::Apsaradb, text);
    let probes = ["203.0.113.9", "198.51.100.7", "192.0.2.1", "127.0.0.1", "8.8.8.8"];
    assert_eq!(imported.admitted("public", &probes), ["203.0.113.9", "198.51.100.7", "192.0.2.1"]);
    imported.says("old.conf:3: note: group 'office' has the attribute 'hidden'");
    imported.says("0.0.0.0 of group '***': it is no client's address; every client is 0.0.0.0/0");
    imported.says("old.conf:1: note: group 'Staging Net' is named 'staging-net' here");
    assert!(imported.yaml.contains("default"), "{}", imported.yaml);
    for text in [
        r#"[{"SecurityIpGroupName": "a", "SecurityIpList": "10.0.0.1"}]"#,
        r#"{"DBInstanceIPArray": {"DBInstanceIPArrayName": "a", "SecurityIPList": "10.0.0.1"}}"#,
        r#"{"body": {"Items": {"DBInstanceIPArray": [{"DBInstanceIPArrayName": "a", "SecurityIPList": "10.0.0.1"}]}}}"#,
    ] {
        assert!(crate::tests::imported(Format::Apsaradb, text).admits("public", "10.0.0.1"), "{text}");
    }
}

/// The console shows a group as addresses that are separated by commas.
#[test]
fn the_text_of_the_console() {
    let plain = imported(Format::Apsaradb, "203.0.113.0/24,198.51.100.7, 10.1.2.3/8,\n192.0.2.1\n");
    let probes = ["203.0.113.9", "198.51.100.7", "192.0.2.1", "10.1.2.3"];
    assert_eq!(plain.admitted("public", &probes), probes[..3]);
    plain.says("10.1.2.3/8 of group 'default': it has bits behind the prefix");
    let groups = imported(
        Format::Apsaradb,
        "default: 127.0.0.1\noffice: 203.0.113.0/24,2001:db8::/32\n# comment\nstaging: 192.0.2.1\n",
    );
    assert_eq!(
        groups.admitted("public", &["203.0.113.9", "2001:db8::1", "127.0.0.1"]),
        ["203.0.113.9", "2001:db8::1"]
    );
    let names: Vec<&str> = groups.config.policy().groups().map(|group| group.name()).collect();
    assert_eq!(names, ["unix", "office", "staging", "default"]);
}

/// A comma of any width separates addresses. Another separator causes a note of its line.
#[test]
fn separators_of_the_console() {
    let text = "default: 203.0.113.1,203.0.113.2\noffice：203.0.113.3，203.0.113.4\n203.0.113.6;203.0.113.7\noffice: 203.0.113.8 203.0.113.9\nnot 203.0.113.10\n203.0.113.11 255.255.255.0\n10.0.0.0/33\n";
    let imported = imported(Format::Apsaradb, text);
    let probes: Vec<String> = (1..12).map(|host| format!("203.0.113.{host}")).collect();
    let probes: Vec<&str> = probes.iter().map(String::as_str).collect();
    assert_eq!(imported.admitted("public", &probes), probes[..4], "{}", imported.notes);
    for line in [3, 5, 6] {
        imported.says(&format!("old.conf:{line}: not carried over: "));
    }
    imported.says("old.conf:4: not carried over: ");
    imported.says("of group 'office': it is not one address: write a comma between addresses");
    imported.says("old.conf:7: not carried over: 10.0.0.0/33 of group 'default'");
}

#[test]
fn lists_in_json_are_not_lost() {
    let one = imported(
        Format::Apsaradb,
        r#"[{"DBInstanceIPArrayName":"default","SecurityIPList":["203.0.113.1","203.0.113.2"]}]"#,
    );
    assert_eq!(one.admitted("public", &["203.0.113.1", "203.0.113.2"]).len(), 2);
    let two = imported(
        Format::Apsaradb,
        r#"{"DBInstanceIPArray":[{"DBInstanceIPArrayName":"default","SecurityIPList":"203.0.113.1"}],"SecurityIpGroups":{"SecurityIpGroup":[{"SecurityIpGroupName":"x","SecurityIpList":"203.0.113.2"}]}}"#,
    );
    two.says("old.conf:1: not carried over: a list of groups: there are several in the file");
}
