//! The connection of each command, and the order of commands and replies.

use super::*;
use crate::Denied;

#[test]
fn each_command_goes_to_the_connection_of_its_pin() {
    let shared = ["GET a", "MGET a b", "PUBLISH a x", "EXPIRE a 1", "XREAD COUNT 1 STREAMS block 0", "INFO"];
    for command in shared {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(command), format!("pool: {command}"));
        assert_eq!((rig.pool("$-1|"), rig.lease()), ("$-1|".to_owned(), Lease::None), "{command}");
    }
    let own = [
        "EXPIRE a 1 NX",
        "XREAD BLOCK 0 STREAMS a $",
        "EVAL x 0",
        "MULTI",
        "EXEC",
        "WATCH a",
        "UNWATCH",
        "SUBSCRIBE a",
        "UNSUBSCRIBE",
        "BLPOP a 0",
        "MONITOR",
        "CLIENT TRACKING ON",
        "CLIENT NO-EVICT ON",
        "CLIENT TRACKINGINFO",
        "CONFIG GET x",
        "CONFIG FOO",
        "OBJECT ENCODING a",
        "FOO a",
        "GET",
    ];
    for command in own.iter().take(own.len() - 1) {
        let mut rig = Rig::trust();
        // The id is needed so that another client's CLIENT UNBLOCK can name the connection.
        let learns =
            if command.contains("BLOCK ") || command.starts_with("BLPOP") { "CLIENT ID, " } else { "" };
        assert_eq!(rig.commands(command), format!("own: {learns}{command}"));
        assert_eq!(rig.lease(), Lease::Needed, "{command}");
    }
    for command in ["SELECT 0", "CLIENT ID", "QUIT", "RESET", "AUTH default x"] {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(command), "", "{command}");
        assert!(!rig.receive().starts_with('-'), "{command}");
    }
}

#[test]
fn order_holds_across_connections() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;GET b;EVAL x 0;GET c"), "pool: GET a, GET b");
    assert_eq!(rig.simulated_client.waits, Some(Until::NothingPending));
    assert_eq!(rig.pool("$1|a|"), "$1|a|");
    assert_eq!(rig.more(), "");
    assert_eq!(rig.pool("$1|b|"), "$1|b|");
    assert_eq!(rig.more(), "own: EVAL x 0, GET c");
    assert_eq!(rig.own(":1|$1|c|"), ":1|$1|c|");
    rig.at(500);
    assert_eq!(rig.commands("GET d"), "own: GET d", "the own connection is kept for a while");
    assert_eq!(rig.own("$1|d|"), "$1|d|");
    rig.at(1000);
    assert_eq!((rig.simulated_client.given_back, rig.lease()), (1, Lease::None));
    assert_eq!(rig.commands("GET e"), "pool: GET e");
    assert_eq!(rig.pool("$1|e|"), "$1|e|");
}

#[test]
fn the_gates_own_replies_stand_between_the_others() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("GET a;CLIENT ID;SELECT 0;GET b;WAIT 1 0;GET c"), "pool: GET a, GET b, GET c");
    assert_eq!(rig.receive(), "");
    assert_eq!(rig.pool("$1|a|"), "$1|a|:77|+OK|");
    let refused = "-ERR portcullis: WAIT needs connections: dedicated|";
    assert_eq!(rig.pool("$1|b|$1|c|"), format!("$1|b|{refused}$1|c|"));
}

#[test]
fn waiting_for_replicas_is_refused() {
    for (command, name) in [("WAIT 1 0", "WAIT"), ("wait 1 0", "WAIT"), ("WAITAOF 1 1 0", "WAITAOF")] {
        let mut rig = Rig::trust();
        assert_eq!(rig.commands(command), "");
        assert_eq!(rig.receive(), format!("-ERR portcullis: {name} needs connections: dedicated|"));
        assert_eq!(rig.simulated_client.count.denied, [Denied::WhileShared]);
    }
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("MULTI;SET a 1;WAIT 1 0;EXEC"), "own: MULTI, SET a 1");
    let refused = "-ERR portcullis: WAIT needs connections: dedicated|";
    assert_eq!(rig.own("+OK|+QUEUED|"), format!("+OK|+QUEUED|{refused}"));
    assert_eq!(rig.more(), "own: DISCARD");
    assert!(rig.own("+OK|").starts_with("-EXECABORT"));
}

#[test]
fn a_frame_that_one_read_can_hold_is_shared_in_any_pieces() {
    let frame = |len: usize| {
        let value = "x".repeat(len);
        frames(&format!("SET a {value}"))
    };
    let overhead = frame(10_000).len() - 10_000;
    let fits = frame(16 * 1024 - overhead);
    assert_eq!(fits.len(), 16 * 1024);
    for cut in [0, 1, 5, 20, 30, 5000, 16 * 1024 - 1] {
        let mut rig = Rig::trust();
        assert_eq!(rig.bytes(&fits[..cut]), "", "cut at {cut}");
        assert_eq!(rig.bytes(&fits[cut..]), "pool: 16384 bytes", "cut at {cut}");
        assert_eq!(rig.pool("+OK|"), "+OK|");
    }
    let larger = frame(16 * 1024 - overhead + 1);
    for cut in [0, 5, 5000, 16 * 1024 - 1] {
        let mut rig = Rig::trust();
        assert_eq!(rig.bytes(&larger[..cut]), "", "cut at {cut}");
        assert_eq!(rig.bytes(&larger[cut..]), "own: 16385 bytes", "cut at {cut}");
        assert_eq!(rig.own("+OK|"), "+OK|");
    }
    let mut rig = Rig::trust();
    let longer = frame(20_000);
    assert_eq!(rig.bytes(&longer[..16 * 1024]), "own: 16384 bytes", "the command need not be complete");
    assert_eq!(rig.bytes(&longer[16 * 1024..]), format!("own: {} bytes", longer.len() - 16 * 1024));
    for before in ["GET a", "SET a 1;SET a 2"] {
        let mut rig = Rig::trust();
        let all = [frames(before), larger.clone()].concat();
        assert_eq!(
            rig.bytes(&all),
            format!("pool: {}", before.replace(';', ", ")),
            "the command waits for the pending replies"
        );
        rig.pool(&"+OK|".repeat(before.split(';').count()));
        assert_eq!(rig.more(), "own: 16385 bytes");
    }
}

#[test]
fn a_short_command_in_pieces_shares_as_soon_as_it_is_whole() {
    let bytes = frames("GET a;MSET a b c d;XREAD STREAMS a 0");
    for cut in 1..bytes.len() {
        let mut rig = Rig::trust();
        let sent = [rig.bytes(&bytes[..cut]), rig.bytes(&bytes[cut..])];
        let sent: Vec<_> = sent.iter().filter_map(|sent| sent.strip_prefix("pool: ")).collect();
        assert_eq!(sent.join(", "), "GET a, MSET a b c d, XREAD STREAMS a 0", "cut at {cut}");
        assert_eq!(rig.pool("+a|+b|+c|"), "+a|+b|+c|");
    }
}

/// A caller may limit the client's unanswered commands. It then passes more or fewer of the client's bytes than in an
/// earlier call.
#[test]
fn bytes_that_are_shown_again_are_not_lost() {
    let many = frames("MSET a 1111111111 b 2222222222 c 3333333333 d 4444444444 e 5555555555");
    let line = b"MSET a 1111111111 b 2222222222 c 3333333333 d 4444444444\r\n".to_vec();
    for bytes in [many, line] {
        for more in 1..bytes.len() {
            for less in 0..=more {
                let mut rig = Rig::trust();
                rig.simulated_client.client_input.extend_from_slice(&bytes[..more]);
                assert!(matches!(rig.simulated_client.step(more), Turn::Wait));
                rig.simulated_client.client_input.extend_from_slice(&bytes[more..]);
                let Turn::Send(commands) = rig.simulated_client.step(less) else {
                    panic!("shown {more}, then {less}")
                };
                assert_eq!(words(&commands.bytes)[..18], *"MSET a 1111111111 ", "shown {more}, then {less}");
            }
        }
    }
    let long = format!("SET a {};EVAL {} 0;SELECT 1", "x".repeat(9000), "y".repeat(700));
    let mut rig = Rig::trust();
    rig.simulated_client.client_input.extend(frames(&long));
    let Turn::Send(commands) = rig.simulated_client.step(usize::MAX) else { panic!("SET is not shared") };
    assert_eq!((commands.pending, commands.bytes.len()), (1, 9029));
    rig.pool.expect(commands.first, commands.pending, commands.shape);
    let Shared::Part(part) = rig.pool.next(b"+OK\r\n") else { panic!("no reply") };
    assert!(rig.simulated_client.receive(&part));
    for room in [1, 600, 750, 1, usize::MAX] {
        assert!(matches!(rig.simulated_client.step(room), Turn::Wait), "with room for {room}");
        assert_eq!(rig.simulated_client.waits, Some(Until::Linked), "with room for {room}");
    }
}

#[test]
fn an_inline_command_is_forwarded_in_canonical_form() {
    let mut rig = Rig::trust();
    assert_eq!(rig.bytes(b"get a\r\n\r\nPING\nselect 3\r\nget a\r\n"), "pool: get a, PING");
    assert_eq!(rig.pool("$-1|+PONG|"), "$-1|+PONG|");
    rig.pooled(Ok(()));
    assert_eq!((&*rig.receive(), &*rig.more()), ("+OK|", "pool 3: get a"));
    rig.pool("$-1|");
    assert_eq!(rig.bytes(b"eval x 0\r\nwait 1 0\r\n"), "own: SELECT 3");
    rig.own("+OK|");
    assert_eq!(rig.more(), "own: eval x 0");
}

#[test]
fn replies_are_suppressed_on_every_connection() {
    let mut rig = Rig::trust();
    assert_eq!(rig.commands("CLIENT REPLY OFF;GET a;EVAL x 0;CLIENT ID"), "pool: CLIENT REPLY ON");
    assert_eq!(rig.pool("+OK|"), "");
    assert_eq!(rig.more(), "pool: GET a");
    assert_eq!(rig.pool("$-1|"), "");
    assert_eq!(rig.more(), "own: EVAL x 0");
    assert_eq!(rig.own("-ERR no|"), "");
    assert_eq!(rig.commands("CLIENT REPLY ON;GET a"), "own: CLIENT REPLY ON");
    assert_eq!(rig.own("+OK|"), "+OK|");
    assert_eq!(rig.more(), "own: GET a");
    let mut rig = Rig::trust();
    assert_eq!(
        rig.commands("CLIENT REPLY SKIP;EVAL x 0;CLIENT REPLY SKIP;GET a;GET b"),
        "pool: CLIENT REPLY ON"
    );
    assert_eq!(rig.pool("+OK|"), "");
    assert_eq!(rig.more(), "own: EVAL x 0");
    assert_eq!(rig.own(":1|"), "");
    assert_eq!(rig.more(), "own: CLIENT REPLY ON");
    assert_eq!(rig.own("+OK|"), "");
    assert_eq!(rig.more(), "own: GET a, GET b");
    assert_eq!(rig.own("$1|a|$1|b|"), "$1|b|");
}
