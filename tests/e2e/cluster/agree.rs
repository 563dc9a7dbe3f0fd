//! Random commands through the proxy before a cluster, and to one standalone Redis: the replies are equal.
//!
//! `E2E_SEED` selects the commands, `PORTCULLIS_CLUSTER_COMMANDS` their number.
//!
//! Differences that docs/cluster.md names are left out: commands whose keys have several slots and that cannot be
//! divided (CROSSSLOT), the order of KEYS and SCAN, which of the keys RANDOMKEY returns, SELECT, and INFO.

use e2e::random::number;
use e2e::{Cluster, Random, Redis};

use super::commands::started;

/// The commands of the default run.
const COMMANDS: u64 = 4000;

/// The commands that are sent before the first reply is read.
const MOST_AT_ONCE: usize = 8;

fn key(random: &mut Random) -> String {
    format!("k:{}", random.below(40))
}

fn keys(random: &mut Random) -> Vec<String> {
    (0..1 + random.below(6)).map(|_| key(random)).collect()
}

/// A key of the few that have one slot.
fn tagged(random: &mut Random) -> String {
    format!("{{tag}}{}", random.below(4))
}

fn command(random: &mut Random) -> String {
    let (one, many, other) = (key(random), keys(random), random.below(100));
    let (first, second) = (tagged(random), tagged(random));
    let pairs = || many.iter().map(|key| format!("{key} {other}")).collect::<Vec<_>>().join(" ");
    match random.below(34) {
        0..=3 => format!("SET {one} {other}"),
        4..=5 => format!("GET {one}"),
        6 => format!("INCR {one}"),
        7 => format!("APPEND {one} {other}"),
        8..=10 => format!("MGET {}", many.join(" ")),
        11..=12 => format!("MSET {}", pairs()),
        13 => format!("DEL {}", many.join(" ")),
        14 => format!("UNLINK {}", many.join(" ")),
        15 => format!("EXISTS {}", many.join(" ")),
        16 => format!("TOUCH {}", many.join(" ")),
        17 => "DBSIZE".to_owned(),
        18 => format!("RPUSH {one} {other}"),
        19 => format!("LRANGE {one} 0 -1"),
        20 => format!("HSET {one} f{} {other}", other % 5),
        21 => format!("HGETALL {one}"),
        22 => format!("TYPE {one}"),
        23 => format!("SETRANGE {first} 3 {other}"),
        24 => format!("RENAME {first} {second}"),
        25 => format!("SINTERSTORE {first} {second} {first}"),
        26 => "EVAL return{KEYS[1],redis.call('type',KEYS[1])} 1 ".to_owned() + &one,
        27 => format!("MULTI\nSET {first} {other}\nINCR {second}\nGET {first}\nEXEC"),
        28 => format!("MULTI\nGET {first}\nINCR\nEXEC"),
        29 => format!("EXPIRE {one} 10000"),
        30 => format!("ECHO {other}"),
        31 => format!("MSETNX {first} {other} {second} {other}"),
        32 if random.one_in(20) => "FLUSHALL".to_owned(),
        _ => [
            "MGET",
            "DEL",
            "MSET k:1",
            "GET",
            "DBSIZE x",
            "SET k:1 2 XX NX",
            "NOSUCH x",
            "MSET k:1 2 k:2",
            "KEYS",
        ][random.below(9)]
        .to_owned(),
    }
}

#[test]
fn replies_of_a_cluster_and_of_one_redis_are_equal() {
    let seed = number("E2E_SEED", 1);
    let cluster = Cluster::builder().without_replicas().patient().start();
    let gate = started(&cluster);
    let single = Redis::plain();
    let (mut through, mut direct) = (gate.connect(), single.control());
    let mut random = Random::new(seed);
    let mut count = 0;
    let mut shown: Vec<String> = Vec::new();
    while count < number("PORTCULLIS_CLUSTER_COMMANDS", COMMANDS) {
        let lines: Vec<String> = (0..1 + random.below(MOST_AT_ONCE))
            .flat_map(|_| command(&mut random).split('\n').map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let bytes: Vec<u8> = lines.iter().flat_map(|line| e2e::client::command(line)).collect();
        through.send_raw(&bytes);
        direct.send_raw(&bytes);
        for line in lines {
            let (found, due) = (through.recv().to_string(), direct.recv().to_string());
            shown.push(line);
            // One Redis knows no modules' commands either, and says so in another way.
            let is_unknown = due.starts_with("-ERR unknown command") && found.starts_with("-ERR");
            let recent = &shown[shown.len().saturating_sub(20)..];
            assert!(found == due || is_unknown, "seed {seed}: {found} and not {due} after {recent:#?}");
            count += 1;
        }
    }
}
