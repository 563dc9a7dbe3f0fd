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
        "old.conf:5: not carried over: 127.0.0.1 of group 'default': alone in its group it means nobody there",
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
