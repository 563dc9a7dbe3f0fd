//! `present_as`: the server that clients see, and the addresses that they must not see.

pub(crate) mod redis_rs;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use e2e::client::command;
use e2e::fake::bulk;
use e2e::{Answer, Authority, Client, Fake, Gate, Redis, Reply, eventually};

/// Every server that a listener can present.
pub(crate) const ALL: &str = "present_as: [standalone, sentinel, cluster]";

fn inner(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, last).into()
}

/// Starts a server at an address of its own.
fn hidden(last: u8) -> Redis {
    Redis::builder().at(inner(last)).line(&format!("replica-announce-ip {}", inner(last))).start()
}

/// Sends these commands in one write, and returns all bytes that the proxy sends until it closes.
fn read_all(client: &mut Client, commands: &[&str]) -> Vec<u8> {
    let bytes: Vec<u8> = commands.iter().chain(&["QUIT"]).flat_map(|line| command(line)).collect();
    client.send_raw(&bytes);
    client.read_to_end().0
}

fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((reply, len)) = Reply::parse(bytes) {
        replies.push(reply);
        bytes = &bytes[len..];
    }
    assert!(bytes.is_empty(), "a part of a reply: {}", bytes.escape_ascii());
    replies
}

/// The commands whose replies name servers, without those that the documentation excepts.
pub(crate) const TELLING: [&str; 31] = [
    "INFO",
    "INFO everything",
    "INFO replication",
    "INFO server",
    "ROLE",
    "CONFIG GET *",
    "CONFIG GET bind",
    "CLIENT LIST",
    "CLIENT INFO",
    "CLIENT ID",
    "CLIENT LIST TYPE replica",
    "CLIENT MAINT_NOTIFICATIONS ON",
    "CLIENT CAPA redirect",
    "CLIENT TRACKINGINFO",
    "CLUSTER SLOTS",
    "CLUSTER SHARDS",
    "CLUSTER NODES",
    "CLUSTER INFO",
    "CLUSTER LINKS",
    "CLUSTER REPLICAS x",
    "CLUSTER COUNTKEYSINSLOT 1",
    "SENTINEL MASTERS",
    "SENTINEL MASTER mymaster",
    "SENTINEL GET-MASTER-ADDR-BY-NAME mymaster",
    "SENTINEL REPLICAS mymaster",
    "SENTINEL SENTINELS mymaster",
    "READONLY",
    "ASKING",
    "READWRITE",
    "LATENCY DOCTOR",
    "MEMORY DOCTOR",
];

/// Each client searches what it reads (`tests/src/inner.rs`).
#[test]
fn no_reply_names_the_servers() {
    let master = hidden(81);
    let replica = Redis::builder()
        .at(inner(82))
        .line(&format!("replica-announce-ip {}", inner(82)))
        .line(&format!("replicaof {} {}", inner(81), master.address().port()))
        .line("repl-diskless-sync-delay 0")
        .start();
    eventually("the master has a replica", || {
        master.control().call("ROLE").to_string().contains("127.0.1.82").then_some(())
    });
    // Also a replica that is named as the upstream tells nothing about its master.
    for server in [&master, &replica] {
        for (connections, auth) in [("dedicated", "passthrough"), ("dedicated", "trust"), ("shared", "trust")]
        {
            let gate = Gate::before(server)
                .listener(ALL)
                .listener(&format!("auth: {auth}"))
                .upstream(&format!("connections: {connections}"))
                .start();
            for hello in ["HELLO 2", "HELLO 3"] {
                let mut client = gate.connect();
                client.call(hello);
                let bytes = read_all(&mut client, &TELLING);
                let replies = replies(&bytes);
                assert_eq!(replies.len(), TELLING.len() + 1, "{connections}, {auth}, {hello}");
                let role = &replies[4];
                assert!(role.to_string().starts_with("[\"master\" :"), "{role}");
            }
        }
    }
}

#[test]
fn messages_of_sentinels_do_not_arrive() {
    let redis = hidden(83);
    let gate =
        Gate::before(&redis).listener("auth: trust").listener("present_as: [sentinel, standalone]").start();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut client = gate.connect();
        client.call(hello);
        client.send("PSUBSCRIBE *");
        client.recv();
        client.send("SUBSCRIBE __sentinel__:hello");
        client.recv();
        let mut control = redis.control();
        control.call("PUBLISH __sentinel__:hello 127.0.1.83,1,id,0,mymaster");
        control.call("PUBLISH news last");
        let message = client.recv().to_string();
        assert!(message.contains("\"news\" \"last\""), "{message}");
    }
}

#[test]
fn redirects_of_a_node_do_not_pass() {
    let fake = Fake::start(|words| match words {
        ["GET", "moved"] => Answer::line("-MOVED 1 127.0.1.9:6379"),
        ["GET", "ask"] => Answer::line("-ASK 1 127.0.1.9:6379"),
        _ => None,
    });
    let gate = Gate::before_address(&fake.address()).listener("auth: trust").listener(ALL).start();
    let mut client = gate.connect();
    for key in ["moved", "ask"] {
        let line = "-ERR portcullis: the upstream is a node of a cluster and does not serve this key";
        client.assert_reply(&format!("GET {key}"), line);
    }
    client.assert_reply("GET k", "\"k@0\"");
}

/// INFO of a server with many commands is longer than 64 KiB. Beyond 1 MiB the client reads an error, and goes on.
#[test]
fn long_descriptions() {
    let fake = Fake::start(|words| {
        let length = match words {
            ["INFO", length] => length.parse::<usize>().ok()?,
            _ => return None,
        };
        let line = "cmdstat_x:calls=1\r\n";
        let text = format!("tcp_port:6399\r\n{}", line.repeat(length / line.len()));
        Some(Answer::Bytes(bulk(&text)))
    });
    for connections in ["dedicated", "shared"] {
        let gate = Gate::before_address(&fake.address())
            .listener("auth: trust")
            .listener(ALL)
            .upstream(&format!("connections: {connections}"))
            .start();
        let mut client = gate.connect();
        for length in [100, 70_000, 1_000_000] {
            let info = client.call(&format!("INFO {length}")).text();
            assert!(info.starts_with(&format!("tcp_port:{}\r\n", gate.port())) && info.len() > length - 100);
        }
        client.assert_reply("INFO 1100000", "-ERR portcullis: INFO is too long to be rewritten");
        client.assert_reply("GET k", "\"k@0\"");
    }
}

/// The bytes are those of docs/high-availability.md, with the address of the connection.
#[test]
fn the_address_is_the_one_that_the_client_dialled() {
    let redis = hidden(84);
    let gate = Gate::before(&redis).bind("127.0.0.1:{port}").bind("127.0.0.7:{port}").listener(ALL).start();
    let port = gate.port();
    for host in ["127.0.0.1", "127.0.0.7"] {
        let mut client = gate.connect_from("127.0.0.1", host);
        client.assert_reply("SENTINEL GET-MASTER-ADDR-BY-NAME x", &format!("[\"{host}\" \"{port}\"]"));
        let nodes = client.call("CLUSTER NODES").text();
        assert!(nodes.contains(&format!(" {host}:{port}@")), "{nodes}");
    }
    // No command of these needs Redis.
    assert_eq!(redis.calls("sentinel") + redis.calls("cluster|nodes"), 0);
}

#[test]
fn the_address_in_a_proxy_header_and_the_announced_one() {
    let redis = hidden(85);
    let gate = Gate::before(&redis)
        .bind("0.0.0.0:{port}")
        .allow("[192.0.2.7]")
        .listener("proxy_protocol: {from: [127.0.0.2]}")
        .listener(ALL)
        .start();
    let mut client = gate.connect_from("127.0.0.2", "127.0.0.1");
    client.send_raw(b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 6379\r\n");
    client.assert_reply("SENTINEL GET-MASTER-ADDR-BY-NAME x", "[\"198.51.100.1\" \"6379\"]");
    let gate = Gate::before(&redis)
        .listener(ALL)
        .listener("announce: redis.example.com:7000")
        .listener("announce_master: [orders, carts]")
        .start();
    let mut client = gate.connect();
    client.assert_reply("SENTINEL GET-MASTER-ADDR-BY-NAME x", "[\"redis.example.com\" \"7000\"]");
    let masters = client.call("SENTINEL MASTERS").to_string();
    assert!(masters.contains("\"name\" \"orders\"") && masters.contains("\"name\" \"carts\""), "{masters}");
    let slots = client.call("CLUSTER SLOTS").to_string();
    assert!(slots.starts_with("[[:0 :16383 [\"redis.example.com\" :7000 \""), "{slots}");
    assert!(slots.contains("[\"hostname\" \"redis.example.com\"]"), "{slots}");
    let info = client.call("INFO server").text();
    assert!(info.contains("tcp_port:7000\r\n"), "{info}");
}

#[test]
fn a_tls_listener_announces_a_tls_port() {
    let redis = hidden(86);
    let ca = Authority::new("A");
    let gate = Gate::before(&redis).tls(&ca.server(), "").listener(ALL).start();
    let mut client = Client::tls(gate.address(), &ca.client(), "127.0.0.1");
    let shards = client.call("CLUSTER SHARDS").to_string();
    let port = gate.port();
    assert!(
        shards.contains(&format!("\"port\" :{port} \"tls-port\" :{port} \"ip\" \"127.0.0.1\"")),
        "{shards}"
    );
}

#[test]
fn a_transaction_with_such_a_command_fails() {
    let redis = hidden(87);
    let gate = Gate::before(&redis).listener("auth: trust").listener(ALL).start();
    let mut client = gate.connect();
    for command in ["CLUSTER SLOTS", "SENTINEL MASTERS", "INFO", "ROLE"] {
        client.assert_reply("MULTI", "+OK");
        let refused = match command {
            "INFO" | "ROLE" => {
                &format!("-ERR portcullis: {command} is not allowed inside MULTI here, send it outside")
            }
            _ => "-ERR Command not allowed inside a transaction",
        };
        client.assert_reply(command, refused);
        client.assert_reply("SET a 1", "+QUEUED");
        client.assert_reply("EXEC", "-EXECABORT Transaction discarded because of previous errors.");
    }
    client.assert_reply("GET a", "nil");
}

#[test]
fn sentinel_is_answered_before_login() {
    let redis = Redis::builder().at(inner(88)).password("secret").start();
    let passing = Gate::before(&redis).listener(ALL).start();
    let users = Gate::before(&redis)
        .password("secret")
        .listener(ALL)
        .listener("auth: users")
        .listener("users: [alice]")
        .file("alice", "pw")
        .top("users: {alice: {password: {file: alice}}}")
        .start();
    for gate in [&passing, &users] {
        let mut client = gate.connect();
        let address = format!("[\"127.0.0.1\" \"{}\"]", gate.port());
        client.assert_reply("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster", &address);
        client.assert_reply("GET a", "-NOAUTH Authentication required.");
    }
}

/// Rules that name neither CLUSTER nor SENTINEL.
#[test]
fn no_rule_is_needed_for_what_the_listener_presents() {
    let redis = hidden(89);
    let gate =
        Gate::before(&redis).listener("auth: trust").listener("acl: \"@public\"").listener(ALL).start();
    let mut client = gate.connect();
    client.assert_reply("READONLY", "+OK");
    assert!(client.call("CLUSTER SLOTS").to_string().starts_with("[[:0 :16383 "));
    assert!(client.call("SENTINEL MASTERS").to_string().starts_with("[["));
    client.assert_reply("CLUSTER FAILOVER", "-ERR portcullis: clients do not change the cluster here");
    assert!(client.call("CONFIG GET bind").to_string().starts_with("-NOPERM "));
}

#[test]
fn a_listener_that_is_only_a_sentinel() {
    let redis = hidden(90);
    let gate = Gate::before(&redis)
        .listener("auth: users")
        .listener("users: [alice]")
        .listener("present_as: [sentinel]")
        .listener("announce: 127.0.0.1:6399")
        .listener("limits: {timeouts: {login: 1s}}")
        .file("alice", "pw")
        .top("users: {alice: {password: {file: alice}}}")
        .start();
    let mut client = gate.connect();
    client.assert_reply("PING", "+PONG");
    client.assert_reply("ROLE", "[\"sentinel\" [\"mymaster\"]]");
    client.assert_reply("AUTH any password", "+OK");
    client.assert_reply("SENTINEL GET-MASTER-ADDR-BY-NAME x", "[\"127.0.0.1\" \"6399\"]");
    client.assert_reply("GET foo", "-ERR unknown command 'GET', with args beginning with: 'foo' ");
    client.assert_reply("SUBSCRIBE +switch-master", "[\"subscribe\" \"+switch-master\" :1]");
    // The login that the listener does not require has no deadline.
    client.assert_silent_for(Duration::from_millis(1500));
    client.assert_reply("PING", "[\"pong\" \"\"]");
    gate.assert_metric("upstream_connections", &[("upstream", "main"), ("state", "used")], 0.0);
    assert_eq!(redis.calls("subscribe"), 0);
    let told =
        String::from_utf8_lossy(&read_all(&mut gate.connect(), &["HELLO 3", "INFO", "SENTINEL MASTERS"]))
            .into_owned();
    assert!(told.contains("redis_mode:sentinel") && told.contains("master0:name=mymaster"), "{told}");
}

fn redis_cli(gate: &Gate, arguments: &[&str]) -> String {
    let port = gate.port().to_string();
    let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn redis_cli_of_a_cluster() {
    let redis = hidden(91);
    for connections in ["dedicated", "shared"] {
        let gate = Gate::before(&redis)
            .listener("auth: trust")
            .listener("present_as: [cluster]")
            .upstream(&format!("connections: {connections}"))
            .start();
        assert_eq!(redis_cli(&gate, &["-c", "SET", "foo", "1"]), "OK");
        assert_eq!(redis_cli(&gate, &["-c", "GET", "foo"]), "1");
        assert_eq!(redis_cli(&gate, &["-c", "CLUSTER", "KEYSLOT", "foo"]), "12182");
        let checked = redis_cli(&gate, &["--cluster", "check", &gate.address().to_string()]);
        assert!(checked.contains("[OK] All 16384 slots covered."), "{checked}");
        assert_eq!(redis_cli(&gate, &["-c", "CLUSTER", "MYID"]).len(), 40);
    }
}

/// The reload of an announced address counts from the next command on.
#[test]
fn a_reload_changes_the_announced_address() {
    let redis = hidden(92);
    let gate = Gate::before(&redis)
        .listener("auth: trust")
        .listener(ALL)
        .listener("announce: one.example:1")
        .start();
    let mut client = gate.connect();
    client.assert_reply("SENTINEL GET-MASTER-ADDR-BY-NAME x", "[\"one.example\" \"1\"]");
    let file = gate.directory().join("portcullis.yaml");
    let yaml = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, yaml.replace("one.example:1", "two.example:2")).expect("writable");
    eventually("the new address", || {
        let address = client.call("SENTINEL GET-MASTER-ADDR-BY-NAME x").to_string();
        (address == "[\"two.example\" \"2\"]").then_some(())
    });
}
