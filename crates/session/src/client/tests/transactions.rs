use crate::tests::pair::{Pair, frames, show};

const NOT_ALLOWED: &str = "-ERR Command not allowed inside a transaction|";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.|";

fn sent(text: &str) -> String {
    show(&frames(text))
}

#[test]
fn a_refused_command_makes_exec_fail_and_is_not_forwarded() {
    for refused in
        ["HELLO 3", "AUTH default x", "CLIENT REPLY OFF", "MONITOR", "SUBSCRIBE a b", "UNSUBSCRIBE"]
    {
        let mut pair = Pair::trust();
        assert_eq!(pair.commands("MULTI;SET a 1"), sent("MULTI;SET a 1"));
        assert_eq!(pair.upstream("+OK|+QUEUED|"), "+OK|+QUEUED|");
        assert_eq!(pair.commands(refused), "", "{refused}");
        assert_eq!(pair.receive(), NOT_ALLOWED);
        assert_eq!(pair.commands("EXEC"), sent("DISCARD"), "{refused}");
        assert_eq!(pair.upstream("+OK|"), ABORTED);
        assert_eq!(pair.commands("MULTI;EXEC"), sent("MULTI;EXEC"), "the next transaction is clean");
        assert_eq!(pair.upstream("+OK|*0|"), "+OK|*0|");
    }
}

#[test]
fn a_refusal_in_a_pipeline_stands_in_its_place() {
    let mut pair = Pair::passthrough();
    assert_eq!(pair.commands("MULTI;SYNC;SET a 1;EXEC"), sent("MULTI;SET a 1"), "EXEC waits");
    assert_eq!(
        pair.upstream("+OK|"),
        "+OK|-NOPERM portcullis: 'sync' is refused here unless an acl names it: +sync|"
    );
    assert_eq!(pair.upstream("+QUEUED|"), "+QUEUED|");
    assert_eq!(pair.more(), sent("DISCARD"));
    assert_eq!(pair.upstream("+OK|"), ABORTED);
}

#[test]
fn a_multi_that_redis_refused_began_nothing() {
    let mut pair = Pair::trust();
    pair.commands("MULTI;SYNC;EXEC");
    pair.upstream("-NOPERM no|");
    assert_eq!(pair.more(), sent("EXEC"), "no transaction is open");
    assert_eq!(pair.upstream("-ERR EXEC without MULTI|"), "-ERR EXEC without MULTI|");
    assert_eq!(pair.commands("AUTH default x"), "");
    assert_eq!(pair.receive(), "+OK|");
}

/// The indexes of queued SUBSCRIBEs count from the MULTI that Redis accepted.
#[test]
fn the_multi_that_redis_accepted_counts() {
    let mut pair = Pair::passthrough();
    let pipeline = "MULTI;GET a;MULTI;SUBSCRIBE a;EXEC;PING";
    assert_eq!(pair.commands(pipeline), sent("MULTI;GET a"), "the second MULTI waits");
    pair.upstream("-NOPERM no|$-1|");
    assert_eq!(pair.more(), sent("MULTI;SUBSCRIBE a;EXEC;PING"));
    let rest = "+OK|+QUEUED|*1|*3|$9|subscribe|$1|a|:1|*2|$4|pong|$0||";
    assert_eq!(pair.upstream(rest), rest);
    assert!(pair.link.streams() && pair.session.is_idle());
}

#[test]
fn exec_with_arguments_ends_the_transaction() {
    let mut pair = Pair::passthrough();
    let pipeline = "MULTI;GET a;EXEC foo;MULTI;SUBSCRIBE a;EXEC";
    assert_eq!(pair.commands(pipeline), sent(pipeline));
    let answers = "+OK|+QUEUED|-EXECABORT Transaction discarded because of: wrong number of arguments for \
                   'exec' command|+OK|+QUEUED|*1|*3|$9|subscribe|$1|a|:1|";
    assert_eq!(pair.upstream(answers), answers);
    assert!(pair.link.streams() && pair.fault.is_none());
}

#[test]
fn commands_that_run_at_once_are_not_queued() {
    let mut pair = Pair::passthrough();
    pair.commands("MULTI");
    pair.upstream("+OK|");
    pair.commands("MULTI;WATCH a;PING;SUBSCRIBE a;EXEC");
    let answers = "-ERR MULTI calls can not be nested|-ERR WATCH inside MULTI is not allowed|+QUEUED|+QUEUED|\
                   *2|+PONG|*3|$9|subscribe|$1|a|:1|";
    assert_eq!(pair.upstream(answers), answers.replace("                   ", ""));
    assert!(pair.fault.is_none() && pair.link.streams());
}

#[test]
fn a_transaction_queues_a_limited_number_of_subscriptions() {
    let mut pair = Pair::passthrough();
    pair.commands("MULTI");
    pair.upstream("+OK|");
    for _ in 0..1024 {
        assert_ne!(pair.commands("SUBSCRIBE a"), "");
        pair.upstream("+QUEUED|");
    }
    assert_eq!(pair.commands("SUBSCRIBE a"), "");
    assert_eq!(pair.receive(), NOT_ALLOWED);
}

#[test]
fn blocking_in_a_transaction_does_not_block() {
    let mut pair = Pair::passthrough();
    pair.commands("MULTI;BLPOP a 0");
    assert!(!pair.session.blocks());
    pair.upstream("+OK|+QUEUED|");
    pair.commands("DISCARD;BLPOP a 0");
    assert!(pair.session.blocks());
    pair.upstream("+OK|*-1|");
    assert!(!pair.session.blocks());
}

#[test]
fn reading_a_stream_blocks_only_with_the_option() {
    let cases = [
        ("XREAD STREAMS block 0", false),
        ("XREAD COUNT 1 BLOCK 0 STREAMS s $", true),
        ("XREADGROUP GROUP block c STREAMS s >", false),
        ("XREADGROUP GROUP g c block 0 STREAMS s >", true),
        ("BLPOP a 0", true),
        ("GET a", false),
    ];
    for (command, blocks) in cases {
        let mut pair = Pair::passthrough();
        pair.commands(command);
        assert_eq!(pair.session.blocks(), blocks, "{command}");
    }
    let mut pair = Pair::passthrough();
    pair.client("*6|$5|XREAD|$5|COUNT|");
    assert!(pair.session.blocks(), "BLOCK may still follow");
}
