//! Users who log in and out.

use super::*;
use crate::client::Pooling;
use crate::tests::users::{User, Users};
use crate::{CloseReason, Standing};

const NOAUTH: &str = "-NOAUTH Authentication required.|";

const USERS: [User; 3] = [
    User { name: "alice", password: "a", login: Some(("ua", "pa")), acl: None },
    User { name: "carol", password: "c", login: Some(("uc", "pc")), acl: Some("+@all -get") },
    User { name: "bob", password: "b", login: None, acl: None },
];

fn users() -> Users {
    Users::of_shared(&USERS)
}

/// Creates a client without a login.
fn rig() -> Rig {
    let users = users();
    let mut rig = Rig::of(users.plan_of(None).expect("the plan without a user"));
    rig.simulated_client.count.users = users;
    rig
}

fn alice() -> Rig {
    let mut rig = rig();
    assert_eq!(rig.commands("AUTH alice a"), "");
    assert_eq!(rig.receive(), "+OK|");
    rig
}

/// Returns the gate's login on the connection of the next command.
fn login(rig: &Rig) -> String {
    rig.simulated_client
        .session
        .pool_key()
        .preamble
        .map(|preamble| words(preamble.bytes()))
        .unwrap_or_default()
}

#[test]
fn a_client_without_a_login_reaches_no_upstream() {
    for command in ["GET a", "EVAL x 0", "SELECT 5", "CLIENT ID", "MULTI", "WAIT 1 0", "SUBSCRIBE a"] {
        let mut rig = rig();
        assert_eq!(rig.commands(command), "", "{command}");
        assert_eq!((&*rig.receive(), rig.lease()), (NOAUTH, Lease::None), "{command}");
        assert_ne!(rig.simulated_client.waits, Some(Until::Linked), "{command}");
        assert!(!rig.simulated_client.session.is_pooled() && !rig.simulated_client.linked, "{command}");
    }
    let mut rig = rig();
    rig.commands("AUTH alice x;GET a;RESET;GET a;HELLO 3");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
    assert!(rig.receive().starts_with(&format!("{wrong}{NOAUTH}+RESET|{NOAUTH}-NOAUTH HELLO")));
    assert!(!rig.simulated_client.session.is_pooled());
}

#[test]
fn each_user_has_connections_with_its_own_login() {
    let mut rig = alice();
    assert_eq!((rig.simulated_client.session.user(), &*login(&rig)), (Some("alice"), "AUTH ua pa"));
    assert_eq!(rig.commands("GET a;AUTH bob b;GET b;AUTH alice x;GET c"), "pool: GET a");
    assert_eq!(rig.key.preamble, rig.simulated_client.session.pool_key().preamble);
    assert_eq!(rig.pool("$-1|"), "$-1|+OK|", "another user is logged in when no reply is pending");
    assert_eq!(
        (&*rig.more(), rig.simulated_client.session.user(), &*login(&rig)),
        ("pool: GET b", Some("bob"), "")
    );
    assert_eq!(rig.key.preamble, None);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.|";
    assert_eq!(rig.pool("$-1|"), format!("$-1|{wrong}"));
    assert_eq!(
        (&*rig.more(), rig.simulated_client.session.user()),
        ("pool: GET c", Some("bob")),
        "the current user stays"
    );
}

#[test]
fn a_user_with_fewer_rights_is_refused_from_the_next_command() {
    let mut rig = alice();
    assert_eq!(rig.commands("AUTH carol c;GET a;SET a 1"), "pool: SET a 1");
    let refused = "-NOPERM User carol has no permissions to run the 'get' command|";
    assert_eq!((&*rig.receive(), &*login(&rig)), (&*format!("+OK|{refused}"), "AUTH uc pc"));
}

#[test]
fn hello_logs_in_and_switches_at_once() {
    let mut rig = rig();
    assert_eq!(rig.commands("HELLO 3 AUTH alice a SETNAME me;GET a;CLIENT GETNAME"), "");
    assert_eq!((rig.kind(), &*login(&rig)), ((0, true), "AUTH ua pa"));
    rig.pooled(Ok(()));
    assert_eq!(rig.more(), "pool 0 resp3: HELLO 3, GET a");
    assert_eq!(rig.pool("%1|$2|id|:5|_|"), "%1|$2|id|:77|_|$2|me|");
    assert_eq!(rig.commands("HELLO 2 AUTH bob b;GET a"), "");
    rig.pooled(Err("-ERR no|"));
    assert_eq!((&*rig.receive(), rig.simulated_client.session.user()), ("-ERR no|", Some("bob")));
    assert_eq!(rig.more(), "pool 0 resp3: GET a");
    let long = "n".repeat(1025);
    let mut rig = self::rig();
    assert_eq!(rig.commands(&format!("HELLO 3 AUTH alice a SETNAME {long}")), "");
    assert_eq!(rig.receive(), "-ERR portcullis: a name can have 1024 bytes at most|");
    assert_eq!(
        rig.simulated_client.session.user(),
        None,
        "the command is refused before the credentials are checked"
    );
}

#[test]
fn on_an_own_connection_the_upstream_confirms_the_new_user() {
    let mut rig = alice();
    assert_eq!(rig.commands("WATCH a"), "own: AUTH ua pa");
    rig.own("+OK|");
    assert_eq!(rig.own("+OK|"), "+OK|");
    rig.more();
    assert_eq!(rig.commands("AUTH carol c;SET a 1"), "own: AUTH uc pc");
    assert_eq!((rig.simulated_client.session.user(), rig.lease()), (Some("alice"), Lease::Needed));
    assert_eq!(rig.own("+OK|"), "+OK|");
    assert_eq!((&*rig.more(), rig.simulated_client.session.user()), ("own: SET a 1", Some("carol")));
    rig.own("+OK|");
    rig.commands("AUTH bob b");
    assert_eq!(rig.own("+OK|"), "+OK|");
    assert_eq!(rig.more(), "");
    rig.commands("UNWATCH");
    rig.own("+OK|");
    rig.at(2000);
    assert_eq!(
        (rig.simulated_client.given_back, &*rig.commands("GET a"), &*login(&rig)),
        (1, "pool: GET a", "")
    );
}

#[test]
fn reset_logs_out() {
    let mut rig = alice();
    assert_eq!(rig.commands("GET a;RESET;GET a"), "pool: GET a");
    assert_eq!(rig.pool("$-1|"), format!("$-1|+RESET|{NOAUTH}"));
    assert!(!rig.simulated_client.session.is_pooled());
    let mut rig = alice();
    rig.commands("MULTI");
    rig.own("+OK|");
    rig.own("+OK|");
    rig.more();
    assert_eq!(rig.commands("RESET;GET a;AUTH bob b;GET b"), "pool: GET b");
    assert_eq!((rig.receive(), rig.simulated_client.given_back), (format!("+RESET|{NOAUTH}+OK|"), 1));
}

#[test]
fn a_certificate_logs_its_user_in_at_once_and_after_a_reset() {
    let users = users();
    let mut rig = Rig::of(users.plan_of(Some("alice")).expect("a user"));
    rig.simulated_client.count.users = users;
    assert_eq!(rig.commands("GET a;AUTH bob b;RESET;GET b"), "pool: GET a");
    rig.pool("$-1|");
    assert_eq!(
        (&*rig.more(), rig.simulated_client.session.user(), &*login(&rig)),
        ("pool: GET b", Some("alice"), "AUTH ua pa")
    );
}

#[test]
fn a_reload_changes_the_login_of_later_connections() {
    let rotated = USERS.map(|user| User { login: user.login.map(|_| ("new", "new")), ..user });
    let rotated = Users::of_shared(&rotated);
    let mut rig = alice();
    let epoch = rig.simulated_client.session.pooling().map_or(0, Pooling::epoch);
    assert_eq!(
        rig.simulated_client
            .session
            .renew(rig.simulated_client.link.subscribed(), |user| rotated.plan_of(user)),
        Standing::Stays
    );
    assert_ne!(rig.simulated_client.session.pooling().map_or(0, Pooling::epoch), epoch);
    assert_eq!(login(&rig), "AUTH new new");
    let mut rig = alice();
    rig.commands("EVAL x 0");
    assert_eq!(
        rig.simulated_client
            .session
            .renew(rig.simulated_client.link.subscribed(), |user| rotated.plan_of(user)),
        Standing::Stays
    );
    assert_eq!(login(&rig), "AUTH ua pa", "the own connection was dialled under the old login");
    rig.own("+OK|");
    rig.own(":1|");
    rig.at(2000);
    assert_eq!((rig.simulated_client.given_back, &*login(&rig)), (1, "AUTH new new"));
}

#[test]
fn a_reload_withdraws_the_request_for_another_kind() {
    let mut rig = alice();
    assert_eq!(rig.commands("SELECT 5;GET a"), "");
    assert_eq!(rig.simulated_client.waits, Some(Until::Pooled));
    let strict = Users::of_shared(&USERS.map(|user| User { acl: Some("+@all -select"), ..user }));
    assert_eq!(
        rig.simulated_client
            .session
            .renew(rig.simulated_client.link.subscribed(), |user| strict.plan_of(user)),
        Standing::Stays
    );
    rig.pooled(Ok(()));
    assert!(rig.receive().starts_with("-NOPERM"));
    assert_eq!((&*rig.more(), rig.kind()), ("pool: GET a", (0, false)));
}

#[test]
fn a_reload_that_has_no_place_for_the_user_ends_the_session() {
    let mut rig = alice();
    rig.commands("GET a");
    assert_eq!(
        rig.simulated_client.session.renew(rig.simulated_client.link.subscribed(), |_| None),
        Standing::Revoked
    );
    assert_eq!(rig.pool("$-1|"), "$-1|");
    assert_eq!(rig.simulated_client.closed, Some(CloseReason::Revoked));
    let mut rig = alice();
    let dedicated = Users::new(&USERS);
    assert_eq!(
        rig.simulated_client
            .session
            .renew(rig.simulated_client.link.subscribed(), |user| dedicated.plan_of(user)),
        Standing::Revoked,
        "connections are not shared any more"
    );
}
