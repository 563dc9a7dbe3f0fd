//! The proxy's error texts are those of the server.

use portcullis_resp::encode;
use portcullis_resp::error::RequestError;
use portcullis_resp::reply;
use portcullis_resp::slot::slot;
use portcullis_resp::value::Value;

use crate::server::Server;

fn frame(args: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::command(&mut out, args);
    out
}

fn ours(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn constant_replies_are_those_of_redis() {
    let server = Server::start(&[]);
    let said = |commands: &[&[&[u8]]]| {
        let mut client = server.connect();
        commands.iter().for_each(|args| client.send(&frame(args)));
        commands.iter().map(|_| client.frame()).last().unwrap()
    };
    let check = |commands: &[&[&[u8]]], expected: &[u8]| {
        let got = said(commands);
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{commands:?}");
    };
    check(&[&[b"PING"]], reply::PONG);
    check(&[&[b"MULTI"]], reply::OK);
    check(&[&[b"MULTI"], &[b"GET", b"k"]], reply::QUEUED);
    check(&[&[b"RESET"]], reply::RESET);
    check(&[&[b"EXEC"]], reply::EXEC_WITHOUT_MULTI);
    check(&[&[b"DISCARD"]], reply::DISCARD_WITHOUT_MULTI);
    check(&[&[b"MULTI"], &[b"MULTI"]], reply::NESTED_MULTI);
    check(&[&[b"MULTI"], &[b"WATCH", b"k"]], reply::WATCH_IN_MULTI);
    check(&[&[b"MULTI"], &[b"MONITOR"]], reply::QUEUED);
    check(&[&[b"MULTI"], &[b"_"], &[b"EXEC"]], reply::EXECABORT);
    check(&[&[b"MULTI"], &[b"PSYNC", b"?", b"-1"]], reply::NOT_ALLOWED_IN_TRANSACTION);
    check(&[&[b"AUTH", b"x"]], reply::AUTH_NO_PASSWORD_SET);
    check(&[&[b"AUTH", b"a", b"b"]], reply::WRONGPASS);
    check(&[&[b"AUTH", b"a", b"b", b"c"]], reply::SYNTAX_ERROR);
    check(&[&[b"HELLO", b"4"]], reply::NOPROTO);
    check(&[&[b"HELLO", b"x"]], reply::HELLO_VERSION_NOT_INTEGER);
    check(&[&[b"HELLO", b"2", b"SETNAME", b"a b"]], reply::HELLO_BAD_NAME);
    check(&[&[b"INCRBY", b"k", b"x"]], reply::NOT_AN_INTEGER);
    check(&[&[b"CLUSTER", b"INFO"]], reply::CLUSTER_DISABLED);
}

#[test]
fn errors_with_names_are_those_of_redis() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut said = |args: &[&[u8]]| {
        client.send(&frame(args));
        client.frame()
    };
    let long = vec![b'a'; 500];
    let unknown: [&[&[u8]]; 6] = [
        &[b"foo"],
        &[b"FOO", b"a", b"b c"],
        &[b"FO\r\n+OK", b"x\r\ny"],
        &[&long, b"x"],
        &[b"foo", &long, b"y"],
        &[b"foo", &long[..100], &long[..100], b"z"],
    ];
    for args in unknown {
        let expected = ours(|out| reply::unknown_command(out, args[0], args[1..].iter().copied()));
        assert_eq!(said(args).escape_ascii().to_string(), expected.escape_ascii().to_string(), "{args:?}");
    }
    assert_eq!(said(&[b"GET"]), ours(|out| reply::wrong_arity(out, "get")));
    assert_eq!(said(&[b"CLIENT", b"REPLY"]), ours(|out| reply::wrong_arity(out, "client|reply")));
    assert_eq!(
        said(&[b"client", b"x\r\ny"]),
        ours(|out| reply::unknown_subcommand(out, "client", b"x\r\ny"))
    );
    assert_eq!(said(&[b"HELLO", b"3", b"FO\r\nO"]), ours(|out| reply::hello_option_error(out, b"FO\r\nO")));
    said(&[b"SUBSCRIBE", b"c"]);
    assert_eq!(said(&[b"GET", b"x"]), ours(|out| reply::not_while_subscribed(out, "get")));
}

#[test]
fn errors_before_login_are_those_of_redis() {
    let server = Server::start(&["--requirepass", "secret"]);
    let said = |bytes: &[u8]| server.connect().send_until_closed(bytes);
    let text = |error: RequestError| format!("-{}\r\n", error.reply().unwrap()).into_bytes();
    assert_eq!(said(b"*11\r\n"), text(RequestError::UnauthenticatedMultibulk));
    assert_eq!(said(b"*1\r\n$16385\r\n"), text(RequestError::UnauthenticatedBulk));
    assert_eq!(said(b"*2147483648\r\n"), text(RequestError::InvalidMultibulkLength));
    assert_eq!(said(&frame(&[b"GET", b"k"])), reply::NOAUTH);
    assert_eq!(
        said(&frame(&[b"_"])),
        ours(|out| reply::unknown_command(out, b"_", [])),
        "the check for unknown commands comes first"
    );
    assert_eq!(said(&frame(&[b"AUTH", b"wrong"])), reply::WRONGPASS);
    // Versions after 7.0 call the option of the version `<proto>`; the rest of the text is the same.
    let hello = String::from_utf8(said(&frame(&[b"HELLO", b"3"]))).unwrap();
    let newer = String::from_utf8(reply::NOAUTH_HELLO.to_vec()).unwrap();
    assert!(hello == newer || hello == newer.replace("HELLO <proto> AUTH", "HELLO AUTH"), "{hello}");
}

#[test]
fn slots_are_those_of_redis() {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    let mut client = server.connect();
    for key in ["", "foo", "{user}.a", "a{}b", "{}{b}", "a{b", "x{{y}}z", "\u{20ac}"] {
        let said = client.call(&["CLUSTER", "KEYSLOT", key]);
        assert_eq!(said, Value::Integer(slot(key.as_bytes()).into()), "{key:?}");
    }
}
