use super::{Answer, AnswerFault, Replies, Role};
use crate::cluster::endpoint::Endpoint;

const FIRST: &str = "7d2b894410b6aea1562a25b775c828d534979a56";
const SECOND: &str = "ea9d1330bb3a45e2955e61b791bc2afea6608036";
const THIRD: &str = "147945ce0d6233ec440450935d6370ec421bea76";

/// Writes RESP from its lines.
fn resp(text: &str) -> Vec<u8> {
    text.replace(' ', "\r\n").into_bytes().into_iter().chain(*b"\r\n").collect()
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn node(host: &str, port: u16, id: &str, metadata: &str) -> String {
    format!("*4 {host} :{port} $40 {id} {metadata}")
}

fn read(slots: &str, nodes: Option<&str>, info: Option<&str>) -> Result<Answer, AnswerFault> {
    let (slots, nodes, info) = (resp(slots), nodes.map(bulk), info.map(bulk));
    let (nodes, info) = (nodes.as_deref(), info.as_deref());
    Answer::read(&Replies { asked: "asked.example", slots: &slots, nodes, info })
}

fn address(answer: &Answer, id: &str) -> Option<String> {
    answer.node_with(id).expect("the node is named").address.as_ref().map(Endpoint::to_string)
}

fn owner(answer: &Answer, slot: u16) -> Option<&str> {
    answer.owner(slot).map(|place| &*answer.nodes()[place].id)
}

#[test]
fn three_masters_and_a_replica() {
    let slots = format!(
        "*3 *4 :0 :5460 {} {} *3 :5461 :10922 {} *3 :10923 :16383 {}",
        node("$9 127.0.0.1", 23001, FIRST, "*0"),
        node("$9 127.0.0.1", 23004, "00000000000000000000000000000000000000aa", "*0"),
        node("$9 127.0.0.1", 23002, SECOND, "*0"),
        node("$9 127.0.0.1", 23003, THIRD, "*0"),
    );
    let answer = read(&slots, None, None).expect("an answer");
    assert_eq!(owner(&answer, 0), Some(FIRST));
    assert_eq!(owner(&answer, 5460), Some(FIRST));
    assert_eq!(owner(&answer, 5461), Some(SECOND));
    assert_eq!(owner(&answer, 16383), Some(THIRD));
    let roles: Vec<Role> = answer.nodes().iter().map(|node| node.role).collect();
    assert_eq!(roles, [Role::Master, Role::Replica, Role::Master, Role::Master]);
    assert_eq!(address(&answer, SECOND).as_deref(), Some("127.0.0.1:23002"));
    assert_eq!((answer.epoch(), answer.is_ok(), answer.myself()), (0, true, None));
}

#[test]
fn each_form_of_a_host() {
    let cases = [
        ("$9 127.0.0.1", "*0", Some("127.0.0.1:7000")),
        ("$9 127.0.0.1", "%0", Some("127.0.0.1:7000")),
        // unknown-endpoint
        ("$-1", "*2 $2 ip $9 127.0.0.1", Some("asked.example:7000")),
        ("_", "%1 $2 ip $9 127.0.0.1", Some("asked.example:7000")),
        // A single node that met no other. The line of its host is empty.
        ("$0 ", "*0", Some("asked.example:7000")),
        // hostname, not set
        ("$1 ?", "*2 $2 ip $9 127.0.0.1", Some("127.0.0.1:7000")),
        ("$1 ?", "*0", None),
        ("$12 node.example", "*2 $2 ip $9 127.0.0.1", Some("node.example:7000")),
        ("$11 2001:db8::5", "*0", Some("[2001:db8::5]:7000")),
    ];
    for (host, metadata, expected) in cases {
        let slots = format!("*1 *3 :0 :16383 {}", node(host, 7000, FIRST, metadata));
        let answer = read(&slots, None, None).expect("an answer");
        assert_eq!(address(&answer, FIRST).as_deref(), expected, "{host} {metadata}");
    }
    // A node without a port cannot be reached.
    let slots = format!("*1 *3 :0 :16383 {}", node("$9 127.0.0.1", 0, FIRST, "*0"));
    assert_eq!(address(&read(&slots, None, None).expect("an answer"), FIRST), None);
}

#[test]
fn every_name_of_a_node_is_known() {
    let metadata = "*4 $2 ip $8 10.0.0.1 $8 hostname $12 node.example";
    let slots = format!("*1 *3 :0 :16383 {}", node("$-1", 7000, FIRST, metadata));
    let nodes =
        format!("{FIRST} 10.0.0.9:7000@17000,other.example myself,master - 0 0 1 connected 0-16383\n");
    let answer = read(&slots, Some(&nodes), None).expect("an answer");
    let names: Vec<String> = answer.nodes()[0].names.iter().map(Endpoint::to_string).collect();
    let expected =
        ["asked.example:7000", "10.0.0.1:7000", "node.example:7000", "10.0.0.9:7000", "other.example:7000"];
    assert_eq!(names, expected);
    assert_eq!(answer.myself(), Some(FIRST));
}

#[test]
fn nodes_without_slots_are_known_by_the_second_reply() {
    let slots = format!("*1 *3 :0 :16383 {}", node("$9 127.0.0.1", 7000, FIRST, "*0"));
    let nodes = format!(
        "{FIRST} 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-16383 [7->-{SECOND}] [9-<-{THIRD}]\n\
         {SECOND} 127.0.0.1:7001@17001,name.example,shard-id=ab master - 0 0 2 connected\n\
         {THIRD} 2001:db8::5:7002@17002 slave {FIRST} 0 0 1 connected\n\
         0000000000000000000000000000000000000001 127.0.0.1:7003@17003 handshake - 0 0 0 connected\n\
         0000000000000000000000000000000000000002 :0@0 master,noaddr - 0 0 0 disconnected\n\r\n"
    );
    let answer = read(&slots, Some(&nodes), None).expect("an answer");
    assert_eq!(answer.nodes().len(), 3);
    assert_eq!(address(&answer, SECOND).as_deref(), Some("127.0.0.1:7001"));
    assert_eq!(address(&answer, THIRD).as_deref(), Some("[2001:db8::5]:7002"));
    assert_eq!(answer.node_with(THIRD).map(|node| node.role), Some(Role::Replica));
    let moving = &answer.node_with(FIRST).expect("named").migrating;
    assert_eq!(moving[..], [(7, SECOND.into())]);
}

/// Where the others announce names, a node without slots is reached by its name too: its address may lead nowhere.
#[test]
fn a_node_without_slots_is_reached_by_its_name_if_the_others_are() {
    let metadata = "*2 $2 ip $8 10.0.0.1";
    let slots = format!("*1 *3 :0 :16383 {}", node("$12 node.example", 7000, FIRST, metadata));
    let nodes = format!("{SECOND} 10.0.0.2:7001@17001,other.example master - 0 0 2 connected\n");
    let answer = read(&slots, Some(&nodes), None).expect("an answer");
    assert_eq!(address(&answer, SECOND).as_deref(), Some("other.example:7001"));
}

#[test]
fn the_state_and_the_epoch() {
    let slots = format!("*1 *3 :0 :16383 {}", node("$9 127.0.0.1", 7000, FIRST, "*0"));
    let info =
        "cluster_enabled:1\r\ncluster_state:fail\r\ncluster_current_epoch:41\r\ncluster_my_epoch:3\r\n";
    let answer = read(&slots, None, Some(info)).expect("an answer");
    assert_eq!((answer.epoch(), answer.is_ok()), (41, false));
    // Clouds and proxies that imitate a cluster refuse the questions.
    let refused = b"-ERR unknown subcommand\r\n".as_slice();
    let replies = Replies { asked: "asked", slots: &resp(&slots), nodes: Some(refused), info: Some(refused) };
    let answer = Answer::read(&replies).expect("an answer");
    assert_eq!((answer.epoch(), answer.is_ok()), (0, true));
}

#[test]
fn further_fields_are_ignored_and_ids_may_be_missing() {
    let answer = read("*1 *3 :0 :5 *5 $9 127.0.0.1 :7000 $1 x *0 :1", None, None).expect("an answer");
    assert_eq!(owner(&answer, 5), Some("x"));
    let answer = read("*1 *3 :0 :5 *2 $9 127.0.0.1 :7000", None, None).expect("an answer");
    assert_eq!(owner(&answer, 5), Some("127.0.0.1:7000"));
    assert_eq!(owner(&answer, 6), None);
}

#[test]
fn faults() {
    let one = |range: &str| format!("*1 *3 {range} {}", node("$9 127.0.0.1", 7000, FIRST, "*0"));
    let cases = [
        ("-ERR".to_owned(), AnswerFault::Refused),
        ("+OK".to_owned(), AnswerFault::Form("CLUSTER SLOTS")),
        ("*1 *2 :0 :1".to_owned(), AnswerFault::Form("CLUSTER SLOTS")),
        ("*1 *3 :0 :1 *1 $1 a".to_owned(), AnswerFault::Form("CLUSTER SLOTS")),
        ("*1 *3 :0 :1 *2 $1 a :70000".to_owned(), AnswerFault::Form("CLUSTER SLOTS")),
        ("*1 *3".to_owned(), AnswerFault::Form("CLUSTER SLOTS")),
        (one(":0 :16384"), AnswerFault::Range(0, 16384)),
        (one(":5 :4"), AnswerFault::Range(5, 4)),
        (one(":-1 :4"), AnswerFault::Range(-1, 4)),
    ];
    for (slots, fault) in cases {
        assert_eq!(read(&slots, None, None), Err(fault), "{slots}");
    }
    let twice = format!(
        "*2 *3 :0 :7 {} *3 :7 :9 {}",
        node("$9 127.0.0.1", 7000, FIRST, "*0"),
        node("$9 127.0.0.1", 7001, SECOND, "*0")
    );
    assert_eq!(read(&twice, None, None), Err(AnswerFault::Overlap(7)));
    for nodes in ["x", "x y", "x y z", "x y:z master"] {
        assert_eq!(read("*0", Some(nodes), None), Err(AnswerFault::Form("CLUSTER NODES")), "{nodes}");
    }
}

/// CLUSTER NODES names a master that was replaced after it failed as a master, until it answers again.
#[test]
fn a_master_that_failed_and_lost_its_slots_is_none() {
    let slots = format!("*1 *3 :0 :16383 {}", node("$9 127.0.0.1", 23001, FIRST, "*0"));
    let of = |line: &str| {
        let nodes = format!(
            "{FIRST} 127.0.0.1:23001@1 myself,master - 0 0 1 connected 0-16383\n\
             {SECOND} 127.0.0.1:23002@1 {line}\n"
        );
        let answer = read(&slots, Some(&nodes), None).expect("an answer");
        answer.node_with(SECOND).expect("the node is named").role
    };
    assert_eq!(of("master,fail - 0 0 2 disconnected"), Role::Replica);
    for line in [
        "master - 0 0 2 connected",
        "master,fail? - 0 0 2 disconnected",
        "master,fail - 0 0 2 disconnected 7",
        "master,fail - 0 0 2 disconnected [7->-147945ce0d6233ec440450935d6370ec421bea76]",
    ] {
        assert_eq!(of(line), Role::Master, "{line}");
    }
}
