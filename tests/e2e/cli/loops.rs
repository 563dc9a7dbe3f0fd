//! A proxy that would connect to itself. `check`, `run` and `init` refuse it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::{portcullis, stderr};

/// The message about an address, up to the line of the listener.
fn told(address: &str) -> String {
    format!("{address} is an address that this proxy listens on")
}

#[test]
fn no_command_accepts_a_proxy_that_connects_to_itself() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    // A free port, so that no other fault of the host is found first.
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let to = format!("127.0.0.1:{port}");
    let yaml = format!(
        "listeners:\n  - {{name: a, bind: \"0.0.0.0:{port}\", upstream: main, allow: [127.0.0.1]}}\n\
         upstreams:\n  main: {{address: \"{to}\"}}\nadmin: off\n"
    );
    fs::write(path.join("portcullis.yaml"), yaml).expect("writable");
    for words in [&["check"][..], &["run"], &["check", "--no-host"]] {
        let output = portcullis(path, words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{words:?}: {said}");
        assert!(said.contains("portcullis.yaml:4:19: error: "), "{said}");
        assert!(said.contains(&format!("{}, see line 2", told(&to))), "{said}");
    }
    let listen = format!("0.0.0.0:{port}");
    let forward = ["--listen", &listen, "--to", &to, "--allow", "127.0.0.1", "--admin", "off"];
    for (command, more) in [("run", &[][..]), ("init", &["--config", "new.yaml"])] {
        let output = portcullis(path, [&[command], &forward[..], more].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{command}: {said}");
        assert!(said.contains("--to: error: ") && said.contains(&told(&to)), "{said}");
    }
    assert!(!path.join("new.yaml").exists());
}

/// An address of this host is known on this host only. Without one besides loopback there is nothing to test.
#[test]
fn an_address_of_this_host_is_a_fact_of_this_host() {
    let Some(own) = own_address() else { return };
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path();
    let port = TcpListener::bind("0.0.0.0:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let yaml = format!(
        "listeners:\n  - {{name: a, bind: \"0.0.0.0:{port}\", upstream: main, allow: [127.0.0.1]}}\n\
         upstreams:\n  main: {{address: \"{own}:{port}\"}}\nadmin: off\n"
    );
    fs::write(path.join("portcullis.yaml"), yaml).expect("writable");
    let output = portcullis(path, ["check"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains(&told(&format!("{own}:{port}"))) && said.contains("(this host)"), "{said}");
    assert_eq!(portcullis(path, ["check", "--no-host"]).status.code(), Some(0));
}

/// Returns an address of this host besides loopback. No packet is sent.
fn own_address() -> Option<String> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.to_string();
    let (own, _) = own.rsplit_once(':')?;
    (!own.starts_with("127.") && Path::new("/proc/self/net/fib_trie").exists()).then(|| own.to_owned())
}
