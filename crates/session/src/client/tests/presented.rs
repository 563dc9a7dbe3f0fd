//! Clients of a listener that presents itself as another kind of server, and whose upstream is hidden.

use std::sync::Arc;

use crate::client::{Step, Until};
use crate::tests::pair::{Pair, frames, plan, show, wire};
use crate::tests::users::{User, Users, rules};
use crate::{Action, Auth, CloseReason, Denied, Face, Findings, Plan, Subscribed};

const IN_MULTI: &str = "-ERR Command not allowed inside a transaction|";

/// Returns the refusal of a command whose reply the gate rewrites.
fn not_in_multi(command: &str) -> String {
    format!("-ERR portcullis: {command} is not allowed inside MULTI here, send it outside|")
}

fn all() -> Arc<Face> {
    Arc::new(Face::standalone().with_cluster().with_sentinel(["mymaster"]).announcing("192.0.2.9", 7000))
}

fn presented(auth: Auth, face: &Arc<Face>) -> Plan {
    plan(auth, None).presented_as(Arc::clone(face))
}

fn connected(auth: Auth) -> Pair {
    Pair::connected(presented(auth, &all()))
}

fn sentinel_only() -> Pair {
    let face = Face::standalone().not_standalone().with_sentinel(["mymaster", "orders"]);
    Pair::new(presented(Auth::Trust, &Arc::new(face.announcing("192.0.2.9", 7000))))
}

fn sent(text: &str) -> String {
    show(&frames(text))
}

/// Sends a command that the gate must answer. Returns the answer.
fn asked(pair: &mut Pair, command: &str) -> String {
    assert_eq!(pair.commands(command), "", "{command}");
    pair.receive()
}

#[test]
fn answers_need_no_upstream() {
    for auth in [Auth::Trust, Auth::Passthrough] {
        let mut pair = Pair::new(presented(auth, &all()));
        assert!(asked(&mut pair, "CLUSTER SLOTS").starts_with("*1|*3|:0|:16383|*4|$9|192.0.2.9|:7000|$40|"));
        assert_eq!(asked(&mut pair, "SENTINEL GET-MASTER-ADDR-BY-NAME x"), "*2|$9|192.0.2.9|$4|7000|");
        assert_eq!(asked(&mut pair, "READONLY;READWRITE;ASKING"), "+OK|+OK|+OK|");
        assert!(!pair.wants_link, "{auth:?}");
    }
}

#[test]
fn without_an_announced_address_it_is_the_one_that_the_client_reached() {
    let face = Arc::new(Face::standalone().with_sentinel(["m"]));
    let mut pair = Pair::connected(presented(Auth::Trust, &face));
    assert_eq!(asked(&mut pair, "SENTINEL GET-MASTER-ADDR-BY-NAME x"), "*2|$9|192.0.2.1|$4|6379|");
}

#[test]
fn answers_keep_their_place_and_the_resp_version() {
    let mut pair = connected(Auth::Trust);
    assert_eq!(pair.commands("GET a;CLUSTER KEYSLOT foo;GET b"), sent("GET a;GET b"));
    assert_eq!(pair.upstream("$1|1|"), "$1|1|:12182|");
    assert_eq!(pair.upstream("$1|2|"), "$1|2|");
    assert_eq!(pair.commands("HELLO 3;CLUSTER SLOTS"), sent("HELLO 3"));
    let hello = "%4|$2|id|:9|$4|mode|$7|cluster|$4|role|$7|replica|$17|availability_zone|$1|z|";
    let received = pair.upstream(hello);
    assert!(
        received.starts_with("%3|$2|id|:77|$4|mode|$10|standalone|$4|role|$6|master|*1|*3|"),
        "{received}"
    );
}

#[test]
fn a_sentinel_answers_before_login_and_a_cluster_does_not() {
    let alice = User { name: "alice", password: "right", login: None, acl: None };
    let mut pair = Pair::of_users(Users::presented(&[alice], &all()));
    assert_eq!(asked(&mut pair, "SENTINEL GET-MASTER-ADDR-BY-NAME x"), "*2|$9|192.0.2.9|$4|7000|");
    assert_eq!(asked(&mut pair, "CLUSTER MYID;READONLY"), "-NOAUTH Authentication required.|".repeat(2));
    assert_eq!(asked(&mut pair, "AUTH alice right"), "+OK|");
    assert!(asked(&mut pair, "CLUSTER MYID").starts_with("$40|"));
}

#[test]
fn rules_do_not_apply_to_what_the_listener_presents() {
    let ruled = |face: &Arc<Face>| {
        Pair::connected(presented(Auth::Trust, face).with_rules(rules(Some("+get ~app:*"))))
    };
    let mut pair = ruled(&all());
    assert!(asked(&mut pair, "CLUSTER SLOTS").starts_with("*1|"));
    assert!(asked(&mut pair, "SENTINEL MASTERS").starts_with("*1|"));
    assert_eq!(asked(&mut pair, "READONLY"), "+OK|");
    for command in ["INFO", "ROLE", "CONFIG GET port", "CLIENT ID", "NOSUCH"] {
        assert!(asked(&mut pair, command).starts_with("-NOPERM "), "{command}");
    }
    let mut pair = ruled(&Arc::new(Face::standalone().with_sentinel(["m"])));
    assert!(asked(&mut pair, "CLUSTER SLOTS").starts_with("-NOPERM "));
    assert!(asked(&mut pair, "READONLY").starts_with("-NOPERM "));
}

#[test]
fn a_listener_without_cluster_has_no_cluster() {
    let mut pair =
        Pair::connected(presented(Auth::Trust, &Arc::new(Face::standalone().with_sentinel(["m"]))));
    let disabled = "-ERR This instance has cluster support disabled|";
    assert_eq!(asked(&mut pair, "CLUSTER SLOTS;READONLY;ASKING"), disabled.repeat(3));
    let mut pair = Pair::connected(presented(Auth::Trust, &Arc::new(Face::standalone().with_cluster())));
    assert_eq!(pair.commands("SENTINEL MASTERS"), sent("SENTINEL MASTERS"));
}

#[test]
fn refusals_are_counted() {
    let mut pair = connected(Auth::Trust);
    assert!(
        asked(&mut pair, "CLUSTER MEET a 1;SENTINEL FAILOVER m").starts_with("-ERR portcullis: clients do")
    );
    assert_eq!(pair.count.denied, [Denied::Command; 2]);
}

#[test]
fn a_transaction_with_such_a_command_fails() {
    for command in
        ["CLUSTER SLOTS", "SENTINEL MASTERS", "READONLY", "INFO", "ROLE", "CONFIG GET x", "CLIENT CAPA r"]
    {
        let mut pair = connected(Auth::Trust);
        assert_eq!(pair.commands("MULTI"), sent("MULTI"));
        assert_eq!(pair.commands(command), "");
        let refused = match command {
            "INFO" | "ROLE" => not_in_multi(command),
            "CONFIG GET x" => not_in_multi("CONFIG GET"),
            _ => IN_MULTI.to_owned(),
        };
        assert_eq!(pair.upstream("+OK|"), format!("+OK|{refused}"), "{command}");
        assert_eq!(pair.commands("GET a"), sent("GET a"));
        assert_eq!(pair.upstream("+QUEUED|"), "+QUEUED|");
        assert_eq!(pair.commands("EXEC"), sent("DISCARD"));
        let aborted = "-EXECABORT Transaction discarded because of previous errors.|";
        assert_eq!(pair.upstream("+OK|"), aborted);
    }
}

#[test]
fn replies_that_describe_the_server_describe_the_gate() {
    for auth in [Auth::Trust, Auth::Passthrough] {
        let mut pair = connected(auth);
        let commands = "INFO replication;ROLE;CONFIG GET port;CONFIG SET a b;GET k";
        assert_eq!(pair.commands(commands), sent(commands));
        let received = pair.upstream(
            "$49|role:master|slave0:ip=127.0.1.2|tcp_port:6390||*3|$6|master|:1|*1|*3|$9|127.0.1.2|$1|1|$1|1|\
             *2|$4|port|$4|6390|+OK|$1|v|",
        );
        assert_eq!(
            received,
            "$28|role:master|tcp_port:7000||*3|$6|master|:1|*0|*2|$4|port|$4|7000|+OK|$1|v|"
        );
        // An error is passed on.
        assert_eq!(pair.commands("ROLE"), sent("ROLE"));
        assert_eq!(pair.upstream("-NOPERM no|"), "-NOPERM no|");
    }
}

#[test]
fn a_reply_of_another_form_ends_the_session() {
    let mut pair = connected(Auth::Trust);
    pair.commands("ROLE");
    assert_eq!(pair.upstream("$9|127.0.1.1|"), "");
    assert!(pair.desync);
}

#[test]
fn a_description_that_is_too_long_is_an_error_and_the_session_lives() {
    for (command, name) in [("INFO", "INFO"), ("CONFIG GET *", "CONFIG GET")] {
        let mut pair = connected(Auth::Trust);
        pair.commands(command);
        let long = crate::MAX_LISTED + 10;
        let reply = format!("${long}|{}|", "x".repeat(long));
        let (head, tail) = reply.split_at(long / 2);
        assert_eq!(pair.upstream(head), "");
        let received = pair.upstream(tail);
        assert!(received == format!("-ERR portcullis: {name} is too long to be rewritten|"), "{command}");
        assert_eq!(pair.commands("GET a"), sent("GET a"));
        assert_eq!(pair.upstream("$1|1|"), "$1|1|");
    }
}

#[test]
fn a_muted_description_is_dropped() {
    let mut pair = connected(Auth::Trust);
    assert_eq!(pair.commands("CLIENT REPLY OFF"), sent("CLIENT REPLY ON"));
    assert_eq!(pair.upstream("+OK|"), "");
    assert_eq!(pair.commands("INFO;CLUSTER MYID"), sent("INFO"));
    assert_eq!(pair.upstream("$2|a:|"), "");
}

#[test]
fn redirects_do_not_pass() {
    const REPLACED: &str =
        "-ERR portcullis: the upstream is a node of a cluster and does not serve this key|";
    let mut pair = connected(Auth::Trust);
    pair.commands("GET a;GET b;LPOP c;GET d;GET e");
    let replies = "-MOVED 1 127.0.1.1:1|-ASK 1 127.0.1.1:1|-REDIRECT 127.0.1.1:1|-MOVEDX|$1|1|";
    assert_eq!(pair.upstream(replies), format!("{}-MOVEDX|$1|1|", REPLACED.repeat(3)));
    pair.commands("MULTI;GET a;EXEC");
    assert_eq!(
        pair.upstream("+OK|-MOVED 1 127.0.1.1:1|-EXECABORT no|"),
        format!("+OK|{REPLACED}-EXECABORT no|")
    );
    // Only a script can make such an element.
    pair.commands("MULTI;EVAL x 0;EXEC");
    assert_eq!(pair.upstream("+OK|+QUEUED|*1|-MOVED 1 127.0.1.1:1|"), "+OK|+QUEUED|*1|");
    assert!(pair.desync);
}

#[test]
fn messages_of_sentinels_are_withheld() {
    let mut pair = connected(Auth::Trust);
    pair.commands("PSUBSCRIBE *");
    assert_eq!(pair.upstream("*3|$10|psubscribe|$1|*|:1|"), "*3|$10|psubscribe|$1|*|:1|");
    let hello = "*4|$8|pmessage|$1|*|$18|__sentinel__:hello|$9|127.0.1.1|";
    assert_eq!(pair.upstream(hello), "");
    let news = "*4|$8|pmessage|$1|*|$12|__sentinel__|$1|x|";
    assert_eq!(pair.upstream(news), news);
}

#[test]
fn pushes_that_no_command_requested_are_withheld() {
    let mut pair = connected(Auth::Trust);
    pair.commands("HELLO 3");
    pair.upstream("%1|$2|id|:9|");
    pair.commands("SSUBSCRIBE s;CLIENT TRACKING ON");
    pair.upstream(">3|$10|ssubscribe|$1|s|:1|+OK|");
    assert_eq!(pair.upstream(">4|$6|MOVING|:1|:2|$14|127.0.1.1:6379|"), "");
    for passed in [">2|$10|invalidate|*1|$1|a|", ">3|$8|smessage|$1|s|$1|x|", ">3|$12|sunsubscribe|$1|s|:0|"]
    {
        assert_eq!(pair.upstream(passed), passed);
    }
}

#[test]
fn the_gate_answers_client() {
    for auth in [Auth::Trust, Auth::Passthrough] {
        let mut pair = connected(auth);
        let forwards = auth == Auth::Passthrough;
        let expected = if forwards { sent("CLIENT ID") } else { String::new() };
        assert_eq!(pair.commands("CLIENT ID"), expected);
        let received = if forwards { pair.upstream(":9|") } else { pair.receive() };
        assert_eq!(received, ":77|");
        let unknown = "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.|";
        assert_eq!(asked(&mut pair, "CLIENT MAINT_NOTIFICATIONS ON"), unknown);
        assert_eq!(asked(&mut pair, "CLIENT CAPA redirect"), "+OK|");
        assert_eq!(pair.commands("CLIENT NO-EVICT ON"), sent("CLIENT NO-EVICT ON"));
    }
}

#[test]
fn without_rules_a_client_sees_all_clients_of_the_gate() {
    let mut pair = connected(Auth::Trust);
    assert_eq!(asked(&mut pair, "CLIENT LIST"), "");
    assert_eq!(pair.waits, Some(Until::Clients));
    let inquiry = pair.session.inquiry().unwrap();
    assert!(inquiry.action == Action::List && !inquiry.narrow && !inquiry.masked);
    pair.session.informed(Some(&Findings { lines: "id=77\n".into(), ..Findings::default() }));
    pair.settle();
    assert_eq!(pair.receive(), "$6|id=77\n|");
}

#[test]
fn a_plain_command_stays_plain() {
    use portcullis_resp::command::id;
    let hidden = presented(Auth::Trust, &all());
    for command in [id::GET, id::SET, id::PING] {
        assert!(hidden.is_plain_by_name(command));
    }
    for command in [id::INFO, id::ROLE, id::CLUSTER] {
        assert!(plan(Auth::Trust, None).is_plain_by_name(command) && !hidden.is_plain_by_name(command));
    }
}

#[test]
fn on_shared_connections_answers_take_no_connection() {
    let mut pair = Pair::new(presented(Auth::Trust, &all()).shared());
    assert!(asked(&mut pair, "CLUSTER SLOTS").starts_with("*1|"));
    assert_eq!(asked(&mut pair, "READONLY;ASKING;CLIENT CAPA redirect"), "+OK|+OK|+OK|");
    assert!(!pair.wants_link && pair.session.is_pooled());
    // INFO may use a shared connection.
    let mut session =
        crate::Session::new(crate::SessionKey(1), presented(Auth::Trust, &all()).shared().into());
    let step = session.next(&frames("INFO"), crate::Tick::from_nanos(1), &mut pair.count);
    assert!(matches!(step, Step::Forward { to: crate::Route::Pooled, shape: crate::Shape::Listed, .. }));
}

#[test]
fn a_listener_that_is_only_a_sentinel_answers_everything() {
    let mut pair = sentinel_only();
    for (command, reply) in [
        ("PING", "+PONG|"),
        ("PING x", "$1|x|"),
        ("ROLE", "*2|$8|sentinel|*2|$8|mymaster|$6|orders|"),
        ("AUTH any thing", "+OK|"),
        ("AUTH", "-ERR wrong number of arguments for 'auth' command|"),
        ("CLIENT ID", ":77|"),
        ("CLIENT SETNAME me", "+OK|"),
        ("CLIENT GETNAME", "$2|me|"),
        ("CLIENT CAPA redirect", "+OK|"),
        ("CLIENT KILL TYPE normal", "-ERR unknown subcommand 'KILL'. Try CLIENT HELP.|"),
        ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.|"),
        ("COMMAND", "*0|"),
        ("COMMAND COUNT", ":0|"),
        ("SENTINEL GET-MASTER-ADDR-BY-NAME x", "*2|$9|192.0.2.9|$4|7000|"),
        ("GET foo", "-ERR unknown command 'GET', with args beginning with: 'foo' |"),
        ("CLUSTER SLOTS", "-ERR unknown command 'CLUSTER', with args beginning with: 'SLOTS' |"),
        ("MULTI", "-ERR unknown command 'MULTI', with args beginning with: |"),
        ("RESET", "-ERR unknown command 'RESET', with args beginning with: |"),
        ("PUBLISH a b", "-ERR unknown command 'PUBLISH', with args beginning with: 'a' 'b' |"),
    ] {
        assert_eq!(asked(&mut pair, command), reply, "{command}");
    }
    assert!(asked(&mut pair, "INFO").contains("|redis_mode:sentinel|"));
    assert!(asked(&mut pair, "CLIENT INFO").contains(" name=me "));
    assert!(!pair.wants_link && !pair.session.connects_early());
    assert_eq!(asked(&mut pair, "QUIT"), "+OK|");
    assert_eq!(pair.closed, Some(CloseReason::Client));
}

#[test]
fn a_subscriber_of_a_sentinel_hears_nothing() {
    let mut pair = sentinel_only();
    assert_eq!(asked(&mut pair, "SUBSCRIBE +switch-master"), "*3|$9|subscribe|$14|+switch-master|:1|");
    assert_eq!(asked(&mut pair, "PING"), "*2|$4|pong|$0||");
    assert!(asked(&mut pair, "ROLE").starts_with("-ERR Can't execute 'role': only (P|S)SUBSCRIBE"));
    assert_eq!(asked(&mut pair, "UNSUBSCRIBE"), "*3|$11|unsubscribe|$14|+switch-master|:0|");
    assert!(asked(&mut pair, "HELLO 3 SETNAME me").starts_with("%6|$6|server|"));
    assert_eq!(asked(&mut pair, "PSUBSCRIBE *;PING"), ">3|$10|psubscribe|$1|*|:1|+PONG|");
    assert!(asked(&mut pair, "SENTINEL MASTER x").starts_with("%20|"));
    assert!(asked(&mut pair, "CLIENT INFO").contains(" psub=1 "));
    assert!(asked(&mut pair, "HELLO 4").starts_with("-NOPROTO "));
    pair.end_client();
    assert_eq!(pair.closed, Some(CloseReason::Client));
}

#[test]
fn a_partial_command_of_a_sentinel_waits() {
    let mut pair = sentinel_only();
    let frame = show(&frames("SENTINEL GET-MASTER-ADDR-BY-NAME x"));
    let (head, tail) = frame.split_at(frame.len() - 3);
    assert_eq!(pair.client_bytes(&wire(head)), "");
    assert_eq!(pair.receive(), "");
    assert_eq!(pair.client_bytes(&wire(tail)), "");
    assert_eq!(pair.receive(), "*2|$9|192.0.2.9|$4|7000|");
    assert_eq!(pair.client("GET / HTTP/1.1|Host: a|"), "");
    assert_eq!(pair.closed, Some(CloseReason::CrossProtocol));
}

#[test]
fn a_reload_that_makes_a_sentinel_of_the_listener_closes_its_clients() {
    use crate::Standing;
    let mut pair = connected(Auth::Trust);
    let other = Arc::new(presented(Auth::Trust, &Arc::new(Face::standalone().with_cluster())));
    let stays = pair.session.renew(&Subscribed::default(), |_| Some(Arc::clone(&other)));
    assert_eq!(stays, Standing::Stays);
    let only = Arc::new(Face::standalone().not_standalone().with_sentinel(["m"]));
    let plan = Arc::new(presented(Auth::Trust, &only));
    let revoked = pair.session.renew(&Subscribed::default(), |_| Some(Arc::clone(&plan)));
    assert_eq!(revoked, Standing::Revoked);
}
