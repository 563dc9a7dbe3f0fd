//! Answers of a running proxy, and of what is none.

use super::*;

#[test]
fn only_200_is_good() {
    let good = answer("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n").unwrap();
    assert_eq!(good, Answer { is_good: true, text: "ready\n".to_owned() });
    let bad = answer("HTTP/1.1 503 Service Unavailable\r\n\r\nupstream 'main' is down (refused)").unwrap();
    assert_eq!(bad, Answer { is_good: false, text: "upstream 'main' is down (refused)\n".to_owned() });
    assert!(!answer("HTTP/1.1 401 Unauthorized\r\n\r\n").unwrap().is_good);
}

#[test]
fn what_is_no_response_is_an_error() {
    for text in ["", "-ERR unknown command\r\n", "SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 2\r\n\r\n"] {
        assert!(answer(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_server_on_all_addresses_is_asked_on_loopback() {
    for (bind, asked) in [
        ("0.0.0.0:9377", "127.0.0.1:9377"),
        ("[::]:9377", "[::1]:9377"),
        ("192.0.2.1:9377", "192.0.2.1:9377"),
    ] {
        assert_eq!(reachable(bind.parse().unwrap()), asked.parse().unwrap());
    }
}
