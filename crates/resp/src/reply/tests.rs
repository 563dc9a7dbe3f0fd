use super::*;
use crate::scan::{Reply, ReplyScanner};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    assert!(
        matches!(ReplyScanner::new().next(&out), Ok(Reply::Whole { len, .. }) if len == out.len()),
        "{out:?}"
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn canned_replies_are_one_line_each() {
    let canned = [
        OK,
        QUEUED,
        RESET,
        PONG,
        EXECABORT,
        EXEC_WITHOUT_MULTI,
        DISCARD_WITHOUT_MULTI,
        NESTED_MULTI,
        WATCH_IN_MULTI,
        NOT_ALLOWED_IN_TRANSACTION,
        NOAUTH,
        NOAUTH_HELLO,
        WRONGPASS,
        AUTH_NO_PASSWORD_SET,
        SYNTAX_ERROR,
        NOT_AN_INTEGER,
        NOPROTO,
        HELLO_VERSION_NOT_INTEGER,
        HELLO_BAD_NAME,
        MAX_CLIENTS,
        DENIED,
        ILLEGAL_ADDRESS,
        COMMAND_TOO_LARGE,
        NO_PERMISSION_KEY,
        NO_PERMISSION_CHANNEL,
        CROSSSLOT,
        CLUSTER_DISABLED,
    ];
    for reply in canned {
        let whole = ReplyScanner::new().next(reply);
        assert!(
            matches!(whole, Ok(Reply::Whole { len, .. }) if len == reply.len()),
            "{}",
            reply.escape_ascii()
        );
        assert!(!reply.windows(2).any(|pair| pair == b"  "), "{}", reply.escape_ascii());
    }
}

#[test]
fn errors_name_the_command_or_option() {
    assert_eq!(
        written(|out| wrong_arity(out, "client|reply")),
        "-ERR wrong number of arguments for 'client|reply' command\r\n"
    );
    assert_eq!(
        written(|out| no_permission(out, b"alice", "config|get")),
        "-NOPERM User alice has no permissions to run the 'config|get' command\r\n"
    );
    assert_eq!(
        written(|out| unknown_subcommand(out, "client", b"foo")),
        "-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n"
    );
    assert_eq!(written(|out| hello_option_error(out, b"FOO")), "-ERR Syntax error in HELLO option 'FOO'\r\n");
    assert_eq!(
        written(|out| not_while_subscribed(out, "get")),
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context\r\n"
    );
}

#[test]
fn text_of_a_client_never_ends_a_line() {
    let args: [&[u8]; 3] = [b"a\r\n+OK", b"\0\x1b", &[b'z'; 500]];
    let line = written(|out| unknown_command(out, b"FO\r\n+OK", args));
    assert!(line.starts_with("-ERR unknown command 'FO  +OK', with args beginning with: 'a  +OK' '  ' 'zzz"));
    assert!(line.len() < 300);
    written(|out| no_permission(out, b"a\r\n+OK\r\n", "get"));
    written(|out| hello_option_error(out, b"\r\n"));
    written(|out| unknown_subcommand(out, "client", &[b'\n'; 1000]));
}
