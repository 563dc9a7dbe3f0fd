//! The bytes that redis-py, ioredis, node-redis and the `redis` crate accept, from a stand-in that gave these answers.

use super::*;
use crate::local::rewrite::is_redirect;
use crate::tests::pair::{frames, show};

const ID: &str = "0e60a9a2ff3dbb3dd2e8f13bd0a8e8e0c4f9e2a1";

fn here() -> Place {
    Place { host: "127.0.0.1".into(), port: 6379, id: ID.into() }
}

fn face() -> Face {
    Face::standalone().with_cluster().with_sentinel(["mymaster"])
}

fn shown(answered: &Answered) -> String {
    match answered {
        Answered::Reply(bytes) | Answered::Error(bytes) => show(bytes),
        Answered::Refused(line) => show(line),
    }
}

/// Returns the answer to a command, with `|` for line ends and ID for the node id.
fn ask(face: &Face, here: &Place, command: &str, resp3: bool) -> String {
    let frame = frames(command);
    let words: Vec<&[u8]> = portcullis_resp::scan::arguments(&frame).collect();
    let (name, args) = words.split_first().unwrap();
    let answered = match &name.to_ascii_uppercase()[..] {
        b"CLUSTER" => face.cluster(here, args, resp3),
        _ => face.sentinel(here, args, resp3),
    };
    shown(&answered).replace(&*here.id, "ID")
}

fn asked(command: &str, resp3: bool) -> String {
    ask(&face(), &here(), command, resp3)
}

const SHARD: &str = "$2|id|$40|ID|$4|port|:6379|$2|ip|$9|127.0.0.1|$8|endpoint|$9|127.0.0.1|$4|role|$6|master|\
                     $18|replication-offset|:1|$6|health|$6|online|";

const FLAGS: &str = "$2|ip|$9|127.0.0.1|$4|port|$4|6379|$5|runid|$40|ID|$5|flags|$6|master|\
    $21|link-pending-commands|$1|0|$13|link-refcount|$1|1|$14|last-ping-sent|$1|0|$18|last-ok-ping-reply|$1|0|\
    $15|last-ping-reply|$1|0|$23|down-after-milliseconds|$4|5000|$12|info-refresh|$1|0|$13|role-reported|$6|master|\
    $18|role-reported-time|$1|0|$12|config-epoch|$1|0|$10|num-slaves|$1|0|$19|num-other-sentinels|$1|0|$6|quorum|\
    $1|1|$16|failover-timeout|$6|180000|$14|parallel-syncs|$1|1|";

#[test]
fn one_node_has_all_slots() {
    for (resp3, map0, map2, map7) in [(false, "*0", "*4", "*14"), (true, "%0", "%2", "%7")] {
        assert_eq!(
            asked("CLUSTER SLOTS", resp3),
            format!("*1|*3|:0|:16383|*4|$9|127.0.0.1|:6379|$40|ID|{map0}|")
        );
        assert_eq!(
            asked("cluster shards", resp3),
            format!("*1|{map2}|$5|slots|*2|:0|:16383|$5|nodes|*1|{map7}|{SHARD}")
        );
    }
    let nodes = "ID 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\n";
    assert_eq!(asked("CLUSTER NODES", false), format!("$102|{nodes}|"));
    assert_eq!(asked("CLUSTER NODES", true), format!("=106|txt:{nodes}|"));
    let info = "cluster_enabled:1|cluster_state:ok|cluster_slots_assigned:16384|cluster_slots_ok:16384|\
                cluster_slots_pfail:0|cluster_slots_fail:0|cluster_known_nodes:1|cluster_size:1|\
                cluster_current_epoch:1|cluster_my_epoch:1|";
    assert_eq!(asked("CLUSTER INFO", false), format!("$220|{info}|"));
    assert_eq!(asked("CLUSTER INFO", true), format!("=224|txt:{info}|"));
    for (command, reply) in [
        ("CLUSTER MYID", "$40|ID|"),
        ("CLUSTER MYSHARDID", "$40|ID|"),
        ("CLUSTER KEYSLOT foo", ":12182|"),
        ("CLUSTER LINKS", "*0|"),
        ("CLUSTER REPLICAS x", "*0|"),
        ("CLUSTER COUNT-FAILURE-REPORTS x", ":0|"),
        ("CLUSTER COUNTKEYSINSLOT 1", "-ERR portcullis: not known for an upstream that is no cluster|"),
        ("CLUSTER GETKEYSINSLOT 1 2", "-ERR portcullis: not known for an upstream that is no cluster|"),
        ("CLUSTER MEET 127.0.0.1 6379", "-ERR portcullis: clients do not change the cluster here|"),
        ("CLUSTER RESET", "-ERR portcullis: clients do not change the cluster here|"),
        ("CLUSTER FOO", "-ERR unknown subcommand 'FOO'. Try CLUSTER HELP.|"),
        ("CLUSTER", "-ERR wrong number of arguments for 'cluster' command|"),
        ("CLUSTER KEYSLOT", "-ERR wrong number of arguments for 'cluster|keyslot' command|"),
    ] {
        assert_eq!(asked(command, false), reply, "{command}");
    }
    assert!(asked("CLUSTER HELP", false).starts_with("*10|+CLUSTER "));
}

#[test]
fn subcommands_that_change_a_cluster_are_refused() {
    use portcullis_resp::command::{Categories, CommandId, id};
    for subcommand in id::CLUSTER.subcommands() {
        let arguments = usize::from(subcommand.info().arity.unsigned_abs());
        let word = subcommand.name().rsplit('|').next().unwrap();
        let command = format!("CLUSTER {word}{}", " 1".repeat(arguments.saturating_sub(2)));
        let refused = asked(&command, false) == "-ERR portcullis: clients do not change the cluster here|";
        let reads = [
            id::CLUSTER_COUNT_FAILURE_REPORTS,
            id::CLUSTER_GETSLOTMIGRATIONS,
            id::CLUSTER_REPLICAS,
            id::CLUSTER_SLAVES,
        ];
        let is_admin = subcommand.info().categories.contains(Categories::ADMIN);
        let expected = is_admin && !reads.contains(&subcommand);
        assert_eq!(refused, expected, "{}", CommandId::name(subcommand));
    }
}

#[test]
fn no_cluster_without_the_word() {
    let face = Face::standalone().with_sentinel(["mymaster"]);
    let disabled = "-ERR This instance has cluster support disabled|";
    assert_eq!(ask(&face, &here(), "CLUSTER SLOTS", false), disabled);
    assert_eq!(
        ask(&face, &here(), "CLUSTER FOO", false),
        "-ERR unknown subcommand 'FOO'. Try CLUSTER HELP.|"
    );
    use portcullis_resp::command::id;
    assert_eq!(shown(&face.cluster_mode(id::READONLY, 1)), disabled);
    let face = face.with_cluster();
    for command in [id::READONLY, id::READWRITE, id::ASKING] {
        assert_eq!(shown(&face.cluster_mode(command, 1)), "+OK|");
        assert!(shown(&face.cluster_mode(command, 2)).starts_with("-ERR wrong number of arguments"));
    }
}

#[test]
fn a_name_and_an_ipv6_address() {
    let named = Face::standalone().with_cluster().announcing("redis.example.com", 6380);
    let place = named.place(None).unwrap();
    assert_eq!(
        ask(&named, &place, "CLUSTER SLOTS", false),
        "*1|*3|:0|:16383|*4|$17|redis.example.com|:6380|$40|ID|*2|$8|hostname|$17|redis.example.com|"
    );
    let nodes = ask(&named, &place, "CLUSTER NODES", false);
    assert!(nodes.contains("ID redis.example.com:6380@16380,redis.example.com myself,master"), "{nodes}");
    let shards = ask(&named, &place, "CLUSTER SHARDS", true);
    for part in ["|%8|$2|id|", "|$2|ip|$17|redis.", "|$8|endpoint|$17|redis.", "|$8|hostname|$17|redis."] {
        assert!(shards.contains(part), "{part} in {shards}");
    }
    let six = face();
    let place = six.place("[2001:db8::5]:60000".parse().ok()).unwrap();
    assert!(ask(&six, &place, "CLUSTER NODES", false).contains("ID 2001:db8::5:60000@0 myself"));
    assert_eq!(ask(&six, &place, "SENTINEL GET-MASTER-ADDR-BY-NAME x", true), "*2|$11|2001:db8::5|$5|60000|");
}

#[test]
fn a_tls_listener_has_a_tls_port() {
    let shards = ask(&face().over_tls(), &here(), "CLUSTER SHARDS", true);
    assert!(shards.contains("|%8|$2|id|$40|ID|$4|port|:6379|$8|tls-port|:6379|$2|ip|"), "{shards}");
}

#[test]
fn a_sentinel_knows_one_master() {
    for (resp3, map) in [(false, "*40"), (true, "%20")] {
        assert_eq!(asked("SENTINEL MASTER x", resp3), format!("{map}|$4|name|$1|x|{FLAGS}"));
        assert_eq!(asked("sentinel masters", resp3), format!("*1|{map}|$4|name|$8|mymaster|{FLAGS}"));
    }
    for (command, reply) in [
        ("SENTINEL GET-MASTER-ADDR-BY-NAME x", "*2|$9|127.0.0.1|$4|6379|"),
        ("SENTINEL REPLICAS x", "*0|"),
        ("SENTINEL SLAVES x", "*0|"),
        ("SENTINEL SENTINELS x", "*0|"),
        ("SENTINEL CKQUORUM x", "+OK 1 usable Sentinels. Quorum and failover authorization can be reached|"),
        ("SENTINEL MYID", "$40|ID|"),
        ("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 6379 0 *", "*3|:0|$1|*|:0|"),
        ("SENTINEL FAILOVER x", "-ERR portcullis: this gate does not change sentinels|"),
        ("SENTINEL SET x quorum 1", "-ERR portcullis: this gate does not change sentinels|"),
        ("SENTINEL FOO", "-ERR unknown subcommand 'FOO'. Try SENTINEL HELP.|"),
        ("SENTINEL MASTER", "-ERR wrong number of arguments for 'sentinel|master' command|"),
        ("SENTINEL", "-ERR wrong number of arguments for 'sentinel' command|"),
    ] {
        assert_eq!(asked(command, false), reply, "{command}");
    }
    let two = Face::standalone().with_sentinel(["a", "b"]);
    let masters = ask(&two, &here(), "SENTINEL MASTERS", true);
    assert!(
        masters.starts_with("*2|%20|$4|name|$1|a|") && masters.contains("|%20|$4|name|$1|b|"),
        "{masters}"
    );
    assert_eq!(show(&two.sentinel_role()), "*2|$8|sentinel|*2|$1|a|$1|b|");
    let info = show(&two.sentinel_info(&here(), false));
    assert!(
        info.contains("|master1:name=b,status=ok,address=127.0.0.1:6379,slaves=0,sentinels=1|"),
        "{info}"
    );
    assert_eq!(
        show(&sentinel_hello(9, false)),
        "*12|$6|server|$5|redis|$7|version|$5|7.2.0|$5|proto|:2|$2|id|:9|$4|mode|$8|sentinel|$7|modules|*0|"
    );
    assert!(show(&sentinel_hello(9, true)).starts_with("%6|"));
}

#[test]
fn the_address_is_announced_or_the_one_that_was_reached() {
    let reached = "192.0.2.1:7000".parse().ok();
    let announced = face().announcing("redis.example.com", 6379);
    assert_eq!(&*announced.place(reached).unwrap().host, "redis.example.com");
    let own = face();
    assert_eq!(&*own.place(reached).unwrap().host, "192.0.2.1");
    assert_eq!(own.place(reached).unwrap().port, 7000);
    assert_eq!(own.place(None), None);
    // A dual-stack socket shows IPv4 clients in this form.
    assert_eq!(&*own.place("[::ffff:192.0.2.9]:1".parse().ok()).unwrap().host, "192.0.2.9");
    assert_eq!(
        shown(&no_address()),
        "-ERR portcullis: the address of this listener is not known, set announce|"
    );
}

#[test]
fn gates_with_one_address_are_one_node() {
    let id = |face: &Face, reached: &str| face.place(reached.parse().ok()).unwrap().id.to_string();
    let (one, other) = (face(), Face::standalone().with_cluster());
    assert_eq!(id(&one, "192.0.2.1:7000"), id(&other, "192.0.2.1:7000"));
    assert_ne!(id(&one, "192.0.2.1:7000"), id(&one, "192.0.2.1:7001"));
    let named = face().announcing("redis.example.com", 6379);
    assert_eq!(id(&named, "192.0.2.1:7000"), id(&named, "192.0.2.2:7000"));
    let id = id(&one, "192.0.2.1:7000");
    assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
}

#[test]
fn modes() {
    assert_eq!(face().mode(), Mode::Standalone);
    assert_eq!(face().not_standalone().mode(), Mode::Cluster);
    assert!(!face().is_sentinel_only() && !face().not_standalone().is_sentinel_only());
    assert!(Face::standalone().not_standalone().with_sentinel(["m"]).is_sentinel_only());
    for line in ["-MOVED 1 h:1\r\n", "-ASK 1 h:1\r\n", "-REDIRECT h:1\r\n"] {
        assert!(is_redirect(line.as_bytes()));
    }
    assert!(!is_redirect(b"-MOVEDX 1\r\n") && !is_redirect(b"+MOVED 1\r\n"));
}
