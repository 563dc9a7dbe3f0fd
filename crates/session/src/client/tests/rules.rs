use std::sync::Arc;

use crate::client::Until;
use crate::tests::pair::{HELD_COMMAND, Pair, frames, plan, show};
use crate::tests::users::{User, Users, rules};
use crate::{Auth, Denied};

const NO_KEY: &str = "-NOPERM No permissions to access a key|";
const NO_CHANNEL: &str = "-NOPERM No permissions to access a channel|";
const TOO_LARGE: &str = "-ERR command too large to be checked|";

fn sent(text: &str) -> String {
    show(&frames(text))
}

fn no_command(user: &str, command: &str) -> String {
    format!("-NOPERM User {user} has no permissions to run the '{command}' command|")
}

/// Returns a connected client of a listener with rules, under `auth: trust`.
fn listener(acl: &str) -> Pair {
    Pair::connected(plan(Auth::Trust, None).with_rules(rules(Some(acl))))
}

#[test]
fn a_refused_command_is_answered_in_order_and_is_not_forwarded() {
    let mut pair = listener("+@all -flushall -config|set ~app:* &news:*");
    let pipeline =
        "GET app:1;flushall;CONFIG SET a b;CONFIG GET a;GET x;SET app:2 x;SUBSCRIBE news:a b;FOO x";
    assert_eq!(pair.commands(pipeline), sent("GET app:1;CONFIG GET a;SET app:2 x"));
    let received = pair.upstream("$1|1|*0|+OK|");
    let refusals = [no_command("default", "flushall"), no_command("default", "config|set")].concat();
    assert_eq!(
        received,
        format!("$1|1|{refusals}*0|{NO_KEY}+OK|{NO_CHANNEL}{}", no_command("default", "FOO"))
    );
    let denied = [Denied::Command, Denied::Command, Denied::Key, Denied::Channel, Denied::Command];
    assert_eq!(pair.count.denied, denied);
    assert!(pair.session.is_idle());
}

#[test]
fn an_inline_command_is_judged_like_any_other() {
    let mut pair = listener("+@all -flushall ~app:*");
    assert_eq!(pair.client("\"FLUSH\\x61ll\" async|get 'x'|get app:1|"), sent("get app:1"));
    assert_eq!(pair.upstream("$-1|"), [&no_command("default", "flushall"), NO_KEY, "$-1|"].concat());
}

#[test]
fn a_refused_command_needs_no_upstream() {
    let mut pair = Pair::new(plan(Auth::Passthrough, None).with_rules(rules(Some("+get"))));
    pair.commands("SET a 1;HELLO 3;GET a");
    assert_eq!((pair.receive(), pair.waits), (no_command("default", "set"), Some(Until::Linked)));
}

#[test]
fn the_refusal_names_the_user() {
    let users = [User { name: "alice", password: "a", login: None, acl: Some("+get") }];
    let mut pair = Pair::of_users(Users::new(&users));
    pair.commands("AUTH alice a;SET a 1;AUTH");
    let arity = "-ERR wrong number of arguments for 'auth' command|";
    assert_eq!(pair.receive(), ["+OK|", &no_command("alice", "set"), arity].concat());
}

/// As in Redis, a wrong number of arguments is reported before a missing permission.
#[test]
fn arity_is_checked_before_the_rules() {
    let mut pair = listener("+get ~app:*");
    assert_eq!(pair.commands("SET a;GET;CONFIG;CONFIG GET;GET a b"), "");
    let wrong = |name| format!("-ERR wrong number of arguments for '{name}' command|");
    assert_eq!(pair.receive(), ["set", "get", "config", "config|get", "get"].map(wrong).concat());
    assert_eq!(pair.count.denied, []);
}

#[test]
fn the_name_alone_decides_if_it_can() {
    let gib = 1_usize << 29;
    for head in [format!("*2|$8|FLUSHALL|${gib}|"), format!("*3|$6|CONFIG|$3|SET|${gib}|")] {
        let mut pair = listener("+@all -flushall -config|set ~app:*");
        assert_eq!(pair.client(&head), "");
        assert!(pair.receive().starts_with("-"), "{head}");
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..gib / piece.len() {
            assert_eq!(pair.client_bytes(&piece), "");
            assert!(pair.client_input.len() < 64, "nothing is held");
        }
        assert_eq!(pair.client("|"), "");
        assert!(!pair.session.is_mid_frame() && pair.session.is_idle());
        assert_eq!(pair.commands("GET app:1"), sent("GET app:1"));
    }
}

/// The session judges the command when it knows the key, and forwards later bytes as they arrive.
#[test]
fn a_value_behind_an_allowed_key_is_forwarded_in_pieces() {
    let mut pair = listener("+@all ~app:*");
    let value = "x".repeat(10 * HELD_COMMAND);
    let text = format!("*3|$3|SET|$5|app:1|${}|{value}|", value.len());
    let mut forwarded = String::new();
    for piece in text.as_bytes().chunks(1000) {
        forwarded += &pair.client(std::str::from_utf8(piece).unwrap());
        assert!(pair.client_input.len() < 1000 + 64);
    }
    assert_eq!(forwarded, text);
    assert_eq!(pair.upstream("+OK|"), "+OK|");
}

#[test]
fn late_keys_are_awaited_within_limits() {
    let mut pair = listener("+@all ~app:*");
    assert_eq!(pair.client("*3|$4|MGET|$5|app:1|"), "", "the second key is missing");
    assert_eq!(pair.client("$5|app:2|"), sent("MGET app:1 app:2"));
    pair.upstream("*0|");
    let filler = format!("$5|app:1|{}", "$5|app:2|".repeat(HELD_COMMAND / 5));
    let text = format!("*{}|$4|MGET|{filler}$1|x|", 3 + HELD_COMMAND / 5);
    let mut most = 0;
    for piece in text.as_bytes().chunks(300) {
        assert_eq!(pair.client(std::str::from_utf8(piece).unwrap()), "");
        most = most.max(pair.client_input.len());
    }
    assert_eq!((&*pair.receive(), pair.count.denied.last()), (TOO_LARGE, Some(&Denied::Size)));
    assert!(most <= HELD_COMMAND + 300);
    assert_eq!(pair.client(&text), "", "in one piece as well");
    assert_eq!(pair.receive(), TOO_LARGE);
    assert_eq!(pair.commands("GET app:1"), sent("GET app:1"));
}

#[test]
fn a_refusal_inside_a_transaction_spoils_it() {
    for refused in ["FLUSHALL", "GET x", "FLUSHALL a b c", "FOO"] {
        let mut pair = listener("+@all -flushall ~app:*");
        assert_eq!(pair.commands(&format!("MULTI;SET app:1 x;{refused};EXEC")), sent("MULTI;SET app:1 x"));
        pair.upstream("+OK|+QUEUED|");
        assert_eq!(pair.more(), sent("DISCARD"), "{refused}");
        let received = pair.upstream("+OK|");
        assert_eq!(received, "-EXECABORT Transaction discarded because of previous errors.|");
        assert_eq!(pair.commands("MULTI;GET app:1;EXEC"), sent("MULTI;GET app:1;EXEC"));
    }
}

#[test]
fn a_refused_multi_begins_nothing() {
    let mut pair = listener("+@all -multi");
    assert_eq!(pair.commands("MULTI;GET a;AUTH default x"), sent("GET a"));
    assert_eq!(pair.upstream("$-1|"), no_command("default", "multi") + "$-1|+OK|");
}

/// Redis ends the transaction when it refuses an EXEC.
#[test]
fn a_refused_exec_ends_the_transaction() {
    let aborted = |why: &str| format!("-EXECABORT Transaction discarded because of: {why}|");
    let no = aborted("NOPERM User default has no permissions to run the 'exec' command");
    let mut pair = listener("+@all -exec");
    assert_eq!(pair.commands("EXEC;MULTI;GET a;EXEC;GET b"), sent("MULTI;GET a"));
    assert_eq!(pair.upstream("+OK|+QUEUED|"), format!("{no}+OK|+QUEUED|"));
    assert_eq!(pair.more(), sent("DISCARD;GET b"));
    assert_eq!(pair.upstream("+OK|$-1|"), format!("{no}$-1|"));
    assert_eq!(pair.commands("MULTI;EXEC x;GET b"), sent("MULTI"));
    pair.upstream("+OK|");
    assert_eq!(pair.more(), sent("DISCARD;GET b"));
    let wrong = aborted("wrong number of arguments for 'exec' command");
    assert_eq!(pair.upstream("+OK|$-1|"), format!("{wrong}$-1|"));
    let mut refused = listener("+@all -exec");
    refused.commands("MULTI;EXEC");
    assert_eq!(refused.upstream("-NOPERM no|"), format!("-NOPERM no|{no}"), "no transaction is open");
    assert_eq!(refused.more(), "");
}

#[test]
fn client_reply_off_suppresses_refusals() {
    let mut pair = listener("+@all -flushall");
    pair.commands("CLIENT REPLY SKIP");
    pair.upstream("+OK|");
    assert_eq!(pair.commands("FLUSHALL;PING"), sent("PING"));
    assert_eq!(pair.upstream("+PONG|"), "+PONG|");
    pair.commands("CLIENT REPLY OFF");
    pair.upstream("+OK|");
    assert_eq!(pair.commands("FLUSHALL;CLIENT REPLY ON"), sent("CLIENT REPLY ON"));
    assert_eq!(pair.upstream("+OK|"), "+OK|");
    let mut silenced = listener("+@all -client|reply");
    assert_eq!(silenced.commands("CLIENT REPLY OFF;CLIENT ID"), sent("CLIENT ID"));
    assert_eq!(silenced.upstream(":1|"), no_command("default", "client|reply") + ":1|");
}

#[test]
fn an_unknown_name_needs_its_own_rule() {
    let mut pair = listener("+@all +json.set");
    assert_eq!(pair.commands("JSON.SET a $ 1;JSON.GET a"), sent("JSON.SET a $ 1"));
    assert_eq!(pair.upstream("+OK|"), "+OK|".to_owned() + &no_command("default", "JSON.GET"));
    let mut forged = listener("+@all");
    forged.client("*1|$9|FO'|+OK||x|");
    assert_eq!(forged.receive().matches('|').count(), 1, "one line");
}

#[test]
fn a_plan_is_shared() {
    let shared = rules(Some("+get"));
    let (one, other) = (plan(Auth::Trust, None), plan(Auth::Trust, None));
    assert!(!one.shares_rules_with(&other));
    let (one, other) = (one.with_rules(Arc::clone(&shared)), other.with_rules(shared));
    assert!(one.shares_rules_with(&other));
}

/// The log names the rule that decided, in the words of the ACL.
#[test]
fn the_deciding_rule_is_reported() {
    let mut pair = listener("+@all -@dangerous +info -set ~app:* &news:*");
    pair.commands("FLUSHALL;CONFIG GET a;SET app:1 x;GET x;PUBLISH other m;FOO x;CLIENT NOSUCH;MULTI;MULTI;WATCH a;AUTH x");
    let due = [
        "flushall -@dangerous Some(Listener)",
        "config|get -@dangerous Some(Listener)",
        "set -set Some(Listener)",
        "get no key pattern allows it Some(Listener)",
        "publish no channel pattern allows it Some(Listener)",
        "unknown only a rule with its name allows it Some(Listener)",
        "client no rule allows it with these arguments Some(Listener)",
    ];
    assert_eq!(pair.count.rules[..due.len()], due);
    let mut public = listener("@public ~app:*");
    public.commands("CONFIG GET a;LCS a b;SCAN 0 COUNT 20000;SCAN 0 COUNT x;SETBIT app:1 4294967295 1;GET b");
    let due = [
        "config|get @public Some(Listener)",
        "lcs @public Some(Listener)",
        "scan limits.count Some(Listener)",
        "scan syntax Some(Listener)",
        "setbit limits.bulk / 64 Some(Listener)",
        "get no key pattern allows it Some(Listener)",
    ];
    assert_eq!(public.count.rules, due);
}
