use std::sync::Arc;

use portcullis_resp::error::RequestError;
use portcullis_resp::limits::RequestLimits;

use crate::client::{CloseReason, Standing, Until};
use crate::tests::pair::{HELD_COMMAND, Pair, frames, plan, show};
use crate::tests::users::{User, Users, rules};
use crate::{Auth, Plan};

const ALICE: User = User { name: "alice", password: "a", login: Some(("ua", "pa")), acl: Some("+@all") };
const CAROL: User = User { name: "carol", password: "c", login: Some(("uc", "pc")), acl: Some("+@all") };

fn sent(text: &str) -> String {
    show(&frames(text))
}

fn renew(pair: &mut Pair, users: &[User]) -> bool {
    pair.count.users = Users::new(users);
    let users = &pair.count.users;
    let standing = pair.session.renew(pair.link.subscribed(), |user| users.plan_of(user));
    pair.settle();
    standing == Standing::Stays
}

fn renew_listener(pair: &mut Pair, plan: Plan) -> bool {
    let plan = Arc::new(plan);
    let standing = pair.session.renew(pair.link.subscribed(), |_| Some(Arc::clone(&plan)));
    pair.settle();
    standing == Standing::Stays
}

fn trust(password: &str, acl: &str) -> Plan {
    plan(Auth::Trust, Some(password)).with_rules(rules(Some(acl)))
}

fn alice() -> Pair {
    let mut pair = Pair::of_users(Users::new(&[ALICE, CAROL]));
    pair.commands("AUTH alice a;PING");
    pair.connect();
    pair.settle();
    pair.upstream("+OK|");
    pair.upstream("+PONG|");
    pair.more();
    pair
}

#[test]
fn before_a_connection_is_requested_everything_is_renewed() {
    let mut pair = Pair::new(trust("old", "+@all"));
    assert!(renew_listener(&mut pair, trust("new", "+@all")));
    pair.commands("GET a");
    assert_eq!(pair.waits, Some(Until::Linked));
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH new"));
    let mut user = Pair::of_users(Users::new(&[ALICE]));
    user.commands("AUTH alice a");
    assert!(renew(&mut user, &[User { login: Some(("ua", "new")), ..ALICE }]));
    user.commands("GET a");
    user.connect();
    user.settle();
    assert_eq!(user.more(), sent("AUTH ua new"));
}

/// New credentials may be for another upstream, so a requested connection keeps the old ones.
#[test]
fn a_requested_connection_keeps_its_login_and_gets_the_new_rules() {
    let mut pair = Pair::new(trust("old", "+@all"));
    pair.commands("GET a;FLUSHALL");
    assert!(renew_listener(&mut pair, trust("new", "+@all -flushall")));
    pair.connect();
    pair.settle();
    assert_eq!(pair.more(), sent("AUTH old"));
    pair.upstream("+OK|");
    assert_eq!(pair.more(), sent("GET a"));
    assert!(pair.upstream("$-1|").starts_with("$-1|-NOPERM"));
    assert_eq!(pair.commands("RESET"), sent("RESET"));
    assert_eq!(pair.upstream("+RESET|"), "+RESET|");
    assert_eq!(pair.more(), sent("AUTH old"), "after RESET as well");
}

#[test]
fn rules_hold_from_the_next_command_on() {
    let mut pair = alice();
    assert_eq!(pair.commands("FLUSHALL"), sent("FLUSHALL"));
    assert!(renew(&mut pair, &[User { acl: Some("+@all -flushall"), ..ALICE }]));
    assert_eq!(pair.commands("FLUSHALL;GET a"), sent("GET a"));
    let no = "-NOPERM User alice has no permissions to run the 'flushall' command|";
    assert_eq!(pair.upstream("+OK|$-1|"), format!("+OK|{no}$-1|"), "sent commands get their replies");
    assert!(renew(&mut pair, &[ALICE]));
    assert_eq!(pair.commands("FLUSHALL"), sent("FLUSHALL"));
}

#[test]
fn a_frame_that_was_judged_keeps_its_verdict_and_its_limits() {
    let small = RequestLimits { bulk: 10, ..RequestLimits::default() };
    let strict =
        || Plan::new(Auth::Trust, None, "main", small, HELD_COMMAND).with_rules(rules(Some("+@all -rpush")));
    let text = "*4|$5|RPUSH|$1|l|$20|12345678901234567890|$20|12345678901234567890|";
    for cut in 20..text.len() {
        let mut pair = Pair::trust();
        let mut forwarded = pair.client(&text[..cut]);
        assert!(renew_listener(&mut pair, strict()));
        forwarded += &pair.client(&text[cut..]);
        assert_eq!((forwarded, &*pair.receive()), (text.to_owned(), ""), "cut at {cut}");
        assert_eq!(pair.client("*2|$3|GET|$1|a|"), sent("GET a"));
        assert_eq!(pair.client("*2|$3|GET|$11|"), "");
        assert_eq!(pair.upstream(":2|$-1|"), ":2|$-1|-ERR Protocol error: invalid bulk length|");
        assert_eq!(pair.closed, Some(CloseReason::Protocol(RequestError::InvalidBulkLength)));
    }
    let refused = "*3|$5|RPUSH|$1|l|$5|12345|";
    for cut in 16..refused.len() {
        let mut pair = Pair::connected(strict());
        assert_eq!(pair.client(&refused[..cut]), "");
        assert!(renew_listener(&mut pair, plan(Auth::Trust, None)));
        assert_eq!(pair.client(&refused[cut..]), "", "cut at {cut}");
        assert!(pair.receive().starts_with("-NOPERM"));
        assert_eq!(pair.client(refused), refused);
    }
}

/// The queued commands were judged by other rules than the rules under which EXEC would run them.
#[test]
fn a_transaction_does_not_outlive_its_rules() {
    let mut pair = alice();
    pair.commands("MULTI;FLUSHALL");
    pair.upstream("+OK|+QUEUED|");
    let same = pair.count.users.plan_of(Some("alice"));
    let users = Users::new(&[ALICE]);
    assert_eq!(
        pair.session
            .renew(pair.link.subscribed(), |user| user.map_or_else(|| users.plan_of(None), |_| same.clone())),
        Standing::Stays
    );
    assert_eq!(pair.commands("EXEC"), sent("EXEC"), "a reload without changed rules disturbs no transaction");
    pair.upstream("*1|+OK|");
    pair.commands("MULTI;FLUSHALL");
    pair.upstream("+OK|+QUEUED|");
    assert!(renew(&mut pair, &[User { acl: Some("+@all -flushall"), ..ALICE }]));
    assert_eq!(pair.commands("EXEC"), sent("DISCARD"));
    assert_eq!(pair.upstream("+OK|"), "-EXECABORT Transaction discarded because of previous errors.|");
}

#[test]
fn a_removed_user_may_not_stay() {
    let mut pair = alice();
    pair.commands("GET a");
    assert!(!renew(&mut pair, &[CAROL]));
    assert_eq!(pair.commands("GET b"), "");
    assert_eq!(pair.upstream("$-1|"), "$-1|");
    assert_eq!(pair.closed, Some(CloseReason::Revoked));
    let mut cut = alice();
    cut.client("*2|$3|GET|$1|a|*3|$3|SET|");
    assert!(!renew(&mut cut, &[CAROL]));
    assert_eq!(
        (&*cut.upstream("$-1|"), cut.closed),
        ("$-1|", Some(CloseReason::Revoked)),
        "half a SET is not awaited"
    );
    let mut other = Pair::trust();
    assert!(!renew_listener(&mut other, plan(Auth::Passthrough, None)), "another `auth`");
    assert_eq!(other.closed, Some(CloseReason::Revoked));
}

#[test]
fn a_pending_login_gets_the_new_rules() {
    let mut pair = alice();
    assert_eq!(pair.commands("AUTH carol c;FLUSHALL"), sent("AUTH uc pc"));
    assert!(renew(&mut pair, &[ALICE, User { acl: Some("+@all -flushall"), ..CAROL }]));
    let no = "-NOPERM User carol has no permissions to run the 'flushall' command|";
    assert_eq!(pair.upstream("+OK|"), format!("+OK|{no}"));
    let mut gone = alice();
    gone.commands("AUTH carol c;FLUSHALL");
    assert!(!renew(&mut gone, &[ALICE]));
    assert_eq!((&*gone.upstream("+OK|"), gone.closed), ("+OK|", Some(CloseReason::Revoked)));
    assert_eq!(gone.more(), "");
}
