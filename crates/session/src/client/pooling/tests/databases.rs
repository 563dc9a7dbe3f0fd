//! A database that the upstream refuses on a client's own connection, for example while a script runs.

use super::*;
use crate::client::CloseReason;
use crate::link::Unavailable;

const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.|";

fn in_database_3() -> Rig {
    let mut rig = Rig::trust();
    rig.commands("SELECT 3");
    rig.pooled(Ok(()));
    assert_eq!(rig.receive(), "+OK|");
    rig
}

/// SCRIPT KILL is for a busy Redis and does not depend on the database.
#[test]
fn a_command_that_ends_a_script_needs_no_database() {
    for command in ["SCRIPT KILL", "FUNCTION KILL", "SHUTDOWN NOSAVE"] {
        let mut rig = in_database_3();
        assert_eq!(rig.commands(command), "own: SELECT 3");
        assert_eq!(rig.own(BUSY), "");
        assert_eq!(rig.more(), format!("own: {command}"));
        assert_eq!(rig.own("+OK|"), "+OK|");
        assert_eq!(rig.commands("GET a"), "own: SELECT 3", "GET needs it");
        assert_eq!(rig.own("+OK|"), "");
        assert_eq!(rig.more(), "own: GET a");
    }
}

/// The connection is in database 0, so a command there would run in the wrong database.
#[test]
fn a_command_that_needs_the_database_gets_the_reason_of_the_refusal() {
    for line in [BUSY, "-ERR DB index is out of range|", "-NOPERM no permissions to run 'select'|"] {
        let mut rig = in_database_3();
        assert_eq!(rig.commands("EVAL x 0;GET a;MULTI"), "own: SELECT 3");
        assert_eq!(rig.own(line), line);
        assert_eq!(rig.more(), "own: SELECT 3", "GET selects the database first");
        assert_eq!(rig.own(line), line);
        assert_eq!(rig.more(), "own: SELECT 3", "MULTI selects the database first");
        assert_eq!(rig.own("+OK|"), "");
        assert_eq!(rig.more(), "own: MULTI");
        assert_eq!(rig.own("+OK|"), "+OK|");
    }
}

#[test]
fn a_requested_database_replaces_the_refused_one() {
    let mut rig = in_database_3();
    assert_eq!(rig.commands("SCRIPT KILL"), "own: SELECT 3");
    rig.own(BUSY);
    rig.own("+OK|");
    rig.more();
    assert_eq!(rig.commands("SELECT 4;GET a"), "own: SELECT 4");
    assert_eq!(rig.own(BUSY), BUSY);
    assert_eq!(rig.more(), "own: SELECT 3", "the client's database is unchanged");
    assert_eq!(rig.own("+OK|"), "");
    assert_eq!(rig.more(), "own: GET a");
    rig.own("$-1|");
    assert_eq!(rig.commands("SELECT 4;GET a"), "own: SELECT 4, GET a");
}

#[test]
fn an_unavailable_upstream_differs_from_a_refused_database() {
    let cases =
        [("-NOAUTH Authentication required.|", Unavailable::Auth), ("-LOADING x|", Unavailable::Loading)];
    for (line, why) in cases {
        let mut rig = in_database_3();
        assert_eq!(rig.commands("EVAL x 0"), "own: SELECT 3");
        let error = format!("-ERR portcullis: upstream 'main' unavailable ({})|", why.as_str());
        assert_eq!(rig.own(line), error);
        assert_eq!(rig.simulated_client.closed, Some(CloseReason::Upstream(Some(why))));
    }
}

/// The connection is given back as usual, and the next connection selects the database again.
#[test]
fn the_connection_is_given_back() {
    let mut rig = in_database_3();
    rig.at(0);
    rig.commands("SCRIPT KILL");
    rig.own(BUSY);
    rig.own("+OK|");
    rig.more();
    rig.at(2000);
    assert_eq!(rig.simulated_client.given_back, 1);
    assert_eq!(rig.commands("GET a"), "pool 3: GET a");
}
