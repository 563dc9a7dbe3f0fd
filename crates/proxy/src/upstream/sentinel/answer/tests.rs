use portcullis_resp::value;

use super::*;

fn host(host: &str, port: u16) -> Address {
    Address::Host { host: host.to_owned(), port }
}

fn read(address: &str, details: &str) -> Answer {
    let value = |text: &str| value::decode(text.replace('|', "\r\n").as_bytes()).expect("one reply");
    Answer::read(&value(address), &value(details))
}

const NAMED: &str = "*2|$9|127.0.0.1|$5|40757|";
const DETAILS: &str = "*4|$5|flags|$6|master|$12|config-epoch|$1|7|";

#[test]
fn the_first_reply_has_the_address_and_the_second_the_epoch() {
    let named = |address, epoch| Answer::Names(Claim { address, epoch });
    assert_eq!(read(NAMED, DETAILS), named(host("127.0.0.1", 40757), 7));
    let former = "%3|$2|ip|$9|127.0.0.9|$4|port|$4|6379|$12|config-epoch|$1|8|";
    assert_eq!(read("*2|$5|redis|$4|6379|", former), named(host("redis", 6379), 8));
    assert_eq!(read("*2|$11|2001:db8::5|$4|6379|", DETAILS), named(host("2001:db8::5", 6379), 7));
}

#[test]
fn what_is_no_answer_names_no_master() {
    for (address, details, expected) in [
        ("*-1|", "-ERR No such master with that name|", Answer::UnknownMaster),
        ("_|", "-ERR No such master with that name|", Answer::UnknownMaster),
        ("-ERR unknown command 'SENTINEL', with args beginning with: |", DETAILS, Answer::NotSentinel),
        ("-NOAUTH Authentication required.|", "-NOAUTH Authentication required.|", Answer::Refused),
        (NAMED, "-NOPERM this user has no permissions|", Answer::Refused),
        ("-LOADING wait|", DETAILS, Answer::Garbage),
        (NAMED, "*2|$5|flags|$6|master|", Answer::Garbage),
        (NAMED, "*2|$12|config-epoch|$2|-1|", Answer::Garbage),
        (NAMED, "+OK|", Answer::Garbage),
        ("*2|$0||$4|6379|", DETAILS, Answer::Garbage),
        ("*2|$5|a b c|$4|6379|", DETAILS, Answer::Garbage),
        ("*2|$5|redis|$1|0|", DETAILS, Answer::Garbage),
        ("*2|$5|redis|$5|65536|", DETAILS, Answer::Garbage),
        ("*1|$5|redis|", DETAILS, Answer::Garbage),
        (":1|", DETAILS, Answer::Garbage),
    ] {
        assert_eq!(read(address, details), expected, "{address} {details}");
    }
    let long = format!("*2|$254|{}|$4|6379|", "a".repeat(254));
    assert_eq!(read(&long, DETAILS), Answer::Garbage);
}

/// The messages of Redis 7.0.15 in a planned failover.
#[test]
fn messages_of_a_failover() {
    let change = Change { from: host("127.0.0.1", 27380), to: host("127.0.0.1", 27381) };
    let slave = "slave 127.0.0.1:27381 127.0.0.1 27381 @ mymaster 127.0.0.1 27380";
    for (channel, text, expected) in [
        ("+failover-state-send-slaveof-noone", slave, Some(Event::Chosen(change.clone()))),
        ("+promoted-slave", slave, Some(Event::Promoted(change.clone()))),
        ("+switch-master", "mymaster 127.0.0.1 27380 127.0.0.1 27381", Some(Event::Switched(change))),
        ("-failover-abort-slave-timeout", "master mymaster 127.0.0.1 27380", Some(Event::Aborted)),
        ("-failover-abort-no-good-slave", "master mymaster 127.0.0.1 27380", Some(Event::Aborted)),
        ("-failover-abort-x", slave, Some(Event::Aborted)),
        ("-failover-abort-not-elected", "master other 127.0.0.1 27380", None),
        ("+switch-master", "other 127.0.0.1 27380 127.0.0.1 27381", None),
        ("+switch-master", "mymaster 127.0.0.1 27380 127.0.0.1", None),
        ("+switch-master", "mymaster 127.0.0.1 27380 127.0.0.1 0", None),
        ("+promoted-slave", "slave 127.0.0.1:27381 127.0.0.1 27381 @ other 127.0.0.1 27380", None),
        ("+slave", slave, None),
        ("+try-failover", "master mymaster 127.0.0.1 27380", None),
        ("+switch-master", "", None),
    ] {
        assert_eq!(
            Event::read(channel.as_bytes(), text.as_bytes(), "mymaster"),
            expected,
            "{channel} {text}"
        );
    }
    assert_eq!(Event::read(b"+switch-master", b"mymaster \xff 1 2 3", "mymaster"), None);
}
