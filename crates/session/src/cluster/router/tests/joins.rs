//! Commands of which several nodes run a part each.

use super::frame;
use super::scripted::{NOT_FOLLOWED, Scene, moved, owner};
use crate::cluster::{Received, Role, Turn};

/// A value of one byte.
fn values(texts: &[&str]) -> String {
    let elements: String = texts.iter().map(|text| format!("$1\r\n{text}\r\n")).collect();
    format!("*{}\r\n{elements}", texts.len())
}

#[test]
fn values_come_in_the_order_of_the_keys() {
    let mut scene = Scene::new();
    scene.send("MGET red cat sun");
    assert_eq!(scene.take_written(), "*2\r\n$4\r\nMGET\r\n$3\r\nred\r\n");
    scene.send("ECHO x");
    assert_eq!(scene.answer(&values(&["A"])), owner("red"));
    assert_eq!(scene.got(), "*3\r\n$1\r\nA\r\n");
    assert_eq!(scene.answer("*1\r\n$-1\r\n"), owner("cat"));
    assert_eq!(scene.answer(&values(&["C"])), owner("sun"));
    assert_eq!(scene.got(), "$-1\r\n$1\r\nC\r\n");
    scene.answer("$1\r\nx\r\n");
    assert_eq!(scene.got(), "$1\r\nx\r\n");
    assert!(scene.router.is_settled());
}

#[test]
fn neighbours_of_one_slot_are_one_part() {
    let mut scene = Scene::new();
    scene.send("MGET {cat}1 {cat}2 red {cat}3");
    assert_eq!(
        scene.take_written(),
        "*3\r\n$4\r\nMGET\r\n$6\r\n{cat}1\r\n$6\r\n{cat}2\r\n*2\r\n$4\r\nMGET\r\n$6\r\n{cat}3\r\n"
    );
    scene.answer(&values(&["1", "2"]));
    scene.answer(&values(&["A"]));
    scene.answer(&values(&["3"]));
    assert_eq!(scene.got(), "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\nA\r\n$1\r\n3\r\n");
}

#[test]
fn an_error_before_the_first_value_is_the_whole_reply() {
    let mut scene = Scene::new();
    scene.send("MGET red cat sun");
    scene.answer("-ERR no\r\n");
    scene.answer(&values(&["B"]));
    assert_eq!(scene.got(), "");
    scene.answer(&values(&["C"]));
    assert_eq!(scene.got(), "-ERR no\r\n");
    assert!(scene.router.is_settled());
}

#[test]
fn an_error_after_the_first_value_stands_for_each_missing_one() {
    let mut scene = Scene::new();
    scene.send("MGET red {cat}1 {cat}2 sun");
    scene.answer(&values(&["A"]));
    scene.answer("-ERR no\r\n");
    scene.answer(&values(&["C"]));
    assert_eq!(scene.got(), "*4\r\n$1\r\nA\r\n-ERR no\r\n-ERR no\r\n$1\r\nC\r\n");
}

#[test]
fn a_lost_node_fails_its_values_only() {
    let mut scene = Scene::new();
    scene.send("MGET red cat sun");
    scene.answer(&values(&["A"]));
    let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
    scene.router.lost(leg, scene.now());
    scene.go();
    scene.answer(&values(&["C"]));
    let got = scene.got();
    assert!(got.starts_with("*3\r\n$1\r\nA\r\n-ERR portcullis: upstream 'main' closed"), "{got}");
    assert!(got.ends_with("\r\n$1\r\nC\r\n"), "{got}");
}

#[test]
fn a_node_that_is_lost_in_the_middle_of_a_value_ends_the_session() {
    let mut scene = Scene::new();
    scene.send("MGET red cat");
    let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
    let now = scene.now();
    assert_eq!(scene.router.receive(leg, b"*1\r\n$100000\r\nxx", now), Received::Skip(4));
    scene.go();
    assert!(matches!(scene.router.receive(leg, b"$100000\r\nxx", now), Received::Pass(_)));
    scene.router.lost(leg, now);
    scene.go();
    assert!(scene.router.ended().is_some());
}

#[test]
fn an_array_of_another_length_ends_the_session() {
    for reply in ["*2\r\n", "*0\r\n", "*-1\r\n", ":1\r\n", "*9999999999999999999999\r\n"] {
        let mut scene = Scene::new();
        scene.send("MGET red cat");
        let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
        assert_eq!(scene.router.receive(leg, reply.as_bytes(), scene.now()), Received::Over, "{reply}");
        assert!(scene.router.ended().is_some());
    }
}

#[test]
fn numbers_are_added_and_a_slot_is_one_part() {
    for command in ["DEL", "UNLINK", "EXISTS", "TOUCH"] {
        let mut scene = Scene::new();
        scene.send(&format!("{command} {{cat}}1 red {{cat}}2"));
        let mut answered = 0;
        while let Turn::Leg(_) = scene.router.turn() {
            scene.answer(":2\r\n");
            answered += 1;
        }
        assert_eq!((answered, scene.got()), (2, ":4\r\n".to_owned()), "{command}");
    }
}

#[test]
fn a_write_that_ran_in_part_says_so() {
    let mut scene = Scene::new();
    scene.send("MSET red 1 cat 2 sun 3");
    for _ in 0..3 {
        scene.answer("+OK\r\n");
    }
    assert_eq!(scene.got(), "+OK\r\n");
    scene.send("MSET red 1 cat 2");
    scene.answer("+OK\r\n");
    scene.answer("-OOM command not allowed\r\n");
    assert_eq!(scene.got(), "-OOM command not allowed; a part of this command has run\r\n");
    scene.send("MSET red 1 cat");
    assert_eq!(scene.got(), "-ERR wrong number of arguments for 'mset' command\r\n");
    scene.send("MSETNX red 1 cat 2");
    assert!(scene.got().starts_with("-CROSSSLOT "));
}

#[test]
fn a_part_follows_its_slot() {
    let mut scene = Scene::new();
    scene.send("MGET red cat");
    let target = (owner("red") + 1) % 3;
    let by = scene.answer(&moved("red", target));
    assert_eq!((by, scene.got()), (owner("red"), String::new()));
    assert_eq!(scene.answer(&values(&["A"])), target);
    assert_eq!(scene.answer(&values(&["B"])), owner("cat"));
    assert_eq!(scene.got(), "*2\r\n$1\r\nA\r\n$1\r\nB\r\n");
    // A node that names itself is not followed.
    scene.send("DEL red cat");
    while matches!(scene.router.turn(), Turn::Leg(_)) {
        let is_cat = scene.take_written().contains("$3\r\nDEL\r\n$3\r\ncat\r\n");
        scene.answer(&if is_cat { moved("cat", owner("cat")) } else { ":1\r\n".to_owned() });
    }
    assert_eq!(scene.got(), NOT_FOLLOWED.replace("\r\n", "; a part of this command has run\r\n"));
}

/// Parts are made as they can be sent, so that a command of many keys does not cost many times its length.
#[test]
fn few_parts_are_under_way() {
    let mut scene = Scene::new();
    let keys: Vec<String> = (0..20_000).map(|n| format!("key:{n}")).collect();
    let bytes = frame(&format!("MGET {}", keys.join(" ")));
    let mut taken = 0;
    let (mut answered, mut most) = (0, 0);
    while taken < bytes.len() || !scene.router.is_settled() {
        taken += scene.router.send(&bytes[taken..], scene.now(), true);
        scene.go();
        most = most.max(scene.router.held());
        if matches!(scene.router.turn(), Turn::Leg(_)) {
            scene.answer("*1\r\n$1\r\nx\r\n");
            answered += 1;
        }
    }
    assert_eq!(answered, 20_000);
    assert_eq!(scene.got().len(), "*20000\r\n".len() + 20_000 * "$1\r\nx\r\n".len());
    assert!(most < 3 * bytes.len(), "{most} of {}", bytes.len());
}

#[test]
fn the_answers_of_all_masters_become_one() {
    for (command, answers, joined) in [
        ("DBSIZE", [":1\r\n", ":2\r\n", ":3\r\n"], ":6\r\n"),
        ("FLUSHALL", ["+OK\r\n"; 3], "+OK\r\n"),
        ("SCRIPT LOAD x", ["$1\r\na\r\n"; 3], "$1\r\na\r\n"),
        (
            "SCRIPT LOAD x",
            ["$1\r\na\r\n", "$1\r\nb\r\n", "$1\r\na\r\n"],
            "-ERR portcullis: the nodes' answers differ\r\n",
        ),
        (
            "SCRIPT EXISTS x y",
            ["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n", "*2\r\n:1\r\n:1\r\n"],
            "*2\r\n:1\r\n:0\r\n",
        ),
        ("KEYS *", ["*1\r\n$1\r\na\r\n", "*0\r\n", "*1\r\n$1\r\nb\r\n"], "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (
            "PUBSUB NUMSUB x y",
            ["*4\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n:0\r\n"; 3],
            "*4\r\n$1\r\nx\r\n:3\r\n$1\r\ny\r\n:0\r\n",
        ),
        ("RANDOMKEY", ["$-1\r\n", "$1\r\na\r\n", "$-1\r\n"], "$1\r\na\r\n"),
        ("RANDOMKEY", ["$-1\r\n"; 3], "$-1\r\n"),
        (
            "FLUSHDB",
            ["+OK\r\n", "-LOADING x\r\n", "+OK\r\n"],
            "-LOADING x; a part of this command has run\r\n",
        ),
        ("DBSIZE", ["-NOPERM a\r\n", "-NOPERM b\r\n", ":1\r\n"], "-NOPERM a\r\n"),
    ] {
        let mut scene = Scene::new();
        scene.send(command);
        let mut nodes: Vec<usize> = answers.iter().map(|answer| scene.answer(answer)).collect();
        nodes.sort_unstable();
        assert_eq!((scene.got().as_str(), nodes), (joined, vec![0, 1, 2]), "{command}");
        assert!(scene.router.is_settled());
        scene.send("PING");
        scene.answer("+PONG\r\n");
        assert_eq!(scene.got(), "+PONG\r\n");
    }
}

#[test]
fn no_master_runs_a_command_of_all_while_one_is_down() {
    let mut scene = Scene::new();
    let down: Vec<_> =
        scene.map.nodes().iter().filter(|node| node.role == Role::Master).map(|node| node.index()).collect();
    let map = std::sync::Arc::new(scene.map.clone());
    scene.router.set_map(&map, &down[1..2], scene.now());
    scene.send("FLUSHALL");
    assert_eq!(scene.got(), "-ERR portcullis: upstream 'main' unavailable (timeout)\r\n");
    assert!(scene.router.is_settled());
}

/// The joined reply is limited; a longer one is read to its end, so that the session goes on.
#[test]
fn a_joined_reply_is_limited() {
    let mut scene = Scene::new();
    scene.send("KEYS *");
    let key = format!("$1000\r\n{}\r\n", "k".repeat(1000));
    let answer = format!("*2000\r\n{}", key.repeat(2000));
    scene.answer(&answer);
    scene.answer("*0\r\n");
    scene.answer("*0\r\n");
    assert_eq!(scene.got(), "-ERR portcullis: the joined reply of the nodes would be larger than 1 MiB\r\n");
    scene.send("PING");
    scene.answer("+PONG\r\n");
    assert_eq!(scene.got(), "+PONG\r\n");
}

#[test]
fn wait_asks_the_nodes_that_the_client_has_written_to() {
    let mut scene = Scene::new();
    scene.send("GET red");
    scene.answer("$-1\r\n");
    for key in ["cat", "sun"] {
        scene.send(&format!("SET {key} x"));
        scene.answer("+OK\r\n");
    }
    scene.got();
    scene.send("WAIT 1 100");
    let mut asked = vec![scene.answer(":2\r\n"), scene.answer(":1\r\n")];
    let mut due = vec![owner("cat"), owner("sun")];
    asked.sort_unstable();
    due.sort_unstable();
    assert_eq!((asked, scene.got()), (due, ":1\r\n".to_owned()));
    scene.send("WAITAOF 1 1 0");
    scene.answer("*2\r\n:1\r\n:0\r\n");
    scene.answer("*2\r\n:0\r\n:2\r\n");
    assert_eq!(scene.got(), "*2\r\n:0\r\n:0\r\n");
    scene.send("WAIT 1");
    assert_eq!(scene.got(), "-ERR wrong number of arguments for 'wait' command\r\n");
}

#[test]
fn a_wait_for_a_write_of_a_lost_connection_fails_once() {
    let mut scene = Scene::new();
    scene.send("WAIT 1 100");
    scene.answer(":0\r\n");
    scene.send("SET cat x");
    let Turn::Leg(leg) = scene.router.turn() else { panic!("a leg") };
    scene.answer("+OK\r\n");
    scene.router.lost(leg, scene.now());
    scene.go();
    scene.got();
    scene.send("WAIT 1 100");
    assert_eq!(scene.got(), "-ERR portcullis: the connection that wrote is gone\r\n");
    scene.send("SET cat y");
    scene.answer("+OK\r\n");
    scene.send("WAIT 1 100");
    scene.answer(":1\r\n");
    assert_eq!(scene.got(), "+OK\r\n:1\r\n");
}

/// Returns the reply to INFO.
fn info(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn info_has_the_keys_of_all_masters() {
    let mut scene = Scene::new();
    scene.send("INFO");
    scene.answer(&info("# Server\r\nx:1\r\n\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=100\r\n"));
    assert_eq!(scene.take_written(), "*2\r\n$4\r\nINFO\r\n$8\r\nkeyspace\r\n");
    scene.answer(&info("# Keyspace\r\ndb0:keys=4,expires=3,avg_ttl=200\r\n"));
    scene.answer(&info("# Keyspace\r\n"));
    let joined = info("# Server\r\nx:1\r\n\r\n# Keyspace\r\ndb0:keys=7,expires=4,avg_ttl=175\r\n");
    assert_eq!(scene.got(), joined);
    // A master that fails is left out, and the reply says so.
    scene.send("INFO keyspace");
    scene.answer(&info("# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=100\r\n"));
    scene.answer("-LOADING wait\r\n");
    scene.answer(&info("# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"));
    let missing = "# portcullis: without the keys of 1 masters that do not answer\r\n";
    let joined = info(&format!("{missing}# Keyspace\r\ndb0:keys=4,expires=1,avg_ttl=100\r\n"));
    assert_eq!(scene.got(), joined);
    // Other sections come from one node.
    scene.send("INFO server");
    scene.answer("+x\r\n");
    assert_eq!(scene.got(), "+x\r\n");
    assert!(scene.router.is_settled());
}
