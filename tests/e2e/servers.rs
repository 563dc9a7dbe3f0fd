//! The same promises in front of servers of other versions: `tests/run.sh servers` fetches them and runs these tests.
//! Without them only the installed server is tried.

use std::io::Write;

use e2e::{Gate, Redis, Server};

/// Runs `test` with each server; a failure names the server.
fn with_each(test: impl Fn(&Server)) {
    for server in Server::all() {
        let _ = writeln!(std::io::stderr().lock(), "server: {} {:?}", server.name, server.version());
        test(&server);
    }
}

#[test]
fn each_server_serves_clients_behind_the_gate() {
    with_each(|server| {
        let redis = Redis::builder().server(server).password("canary-servers-1").start();
        for connections in ["dedicated", "shared"] {
            let gate = Gate::before(&redis)
                .listener("auth: trust")
                .password("canary-servers-1")
                .upstream(&format!("connections: {connections}"))
                .start();
            let mut client = gate.connect();
            client.asks("SET k v", "+OK");
            client.asks("GET k", r#""v""#);
            client.send("HELLO 3");
            client.read();
            client.asks("MGET k none", r#"["v" null]"#);
        }
    });
}
