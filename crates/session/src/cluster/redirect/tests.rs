use super::{Redirect, Target};
use crate::cluster::endpoint::Endpoint;

fn read(line: &str) -> Option<Redirect> {
    Redirect::read(line.as_bytes(), "10.0.0.9")
}

fn node(host: &str, port: u16) -> Target {
    Target::Node(Endpoint::new(host, port).expect("an endpoint"))
}

#[test]
fn the_lines_of_servers() {
    assert_eq!(
        read("-MOVED 12182 127.0.0.1:35095\r\n"),
        Some(Redirect::Moved(12182, node("127.0.0.1", 35095)))
    );
    assert_eq!(read("-MOVED 12182 :48261\r\n"), Some(Redirect::Moved(12182, node("10.0.0.9", 48261))));
    assert_eq!(read("-MOVED 12182 ?:48619"), Some(Redirect::Moved(12182, Target::Unknown)));
    assert_eq!(read("-MOVED 1 node.example:34041"), Some(Redirect::Moved(1, node("node.example", 34041))));
    assert_eq!(
        read("-ASK 16383 2001:db8::5:7777\r\n"),
        Some(Redirect::Ask(16383, node("2001:db8::5", 7777)))
    );
    assert_eq!(
        read("-TRYAGAIN Multiple keys request during rehashing of slot\r\n"),
        Some(Redirect::TryAgain)
    );
    assert_eq!(read("-CLUSTERDOWN The cluster is down\r\n"), Some(Redirect::ClusterDown));
    assert_eq!(read("-CLUSTERDOWN"), Some(Redirect::ClusterDown));
}

#[test]
fn lines_that_are_no_redirects() {
    let lines = [
        "-MOVEDX 1 127.0.0.1:1",
        "-ERR MOVED 1 127.0.0.1:1",
        "+MOVED 1 127.0.0.1:1",
        "-moved 1 127.0.0.1:1",
        "-CROSSSLOT Keys in request don't hash to the same slot",
        "",
        "-",
    ];
    for line in lines {
        assert_eq!(read(line), None, "{line}");
    }
}

#[test]
fn an_address_that_is_none_leads_to_the_next_map() {
    for address in ["127.0.0.1", "127.0.0.1:0", "a b:1", ":x", "127.0.0.1:1 more"] {
        assert_eq!(
            read(&format!("-MOVED 1 {address}")),
            Some(Redirect::Moved(1, Target::Unknown)),
            "{address}"
        );
    }
}

/// No server sends such a line, but a script can. It must not reach a client: it may have an address.
#[test]
fn a_redirect_without_its_form_is_one_that_cannot_be_followed() {
    for rest in ["", " x 127.0.0.1:1", " 16384 127.0.0.1:1", " -1 127.0.0.1:1", "  127.0.0.1:1"] {
        let (slot, target) = match read(&format!("-MOVED{rest}")) {
            Some(Redirect::Moved(slot, target)) => (slot, target),
            other => panic!("{rest}: {other:?}"),
        };
        assert!(slot >= portcullis_resp::slot::SLOTS, "{rest}: {target:?}");
    }
    assert_eq!(read("-ASK 1"), Some(Redirect::Ask(1, Target::Unknown)));
}
