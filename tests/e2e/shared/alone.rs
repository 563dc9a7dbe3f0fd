//! Database, protocol and name belong to a client, even if other clients use the same connection.

use e2e::client::command;
use e2e::{Client, Gate, Redis, Stage, Way};

use super::sharing;
use crate::alike;

alike! {
    fn databases_at_the_same_time(scene: &Scene<'_>) {
        let mut clients: Vec<Client> = (0..16).map(|_| scene.other()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.assert_reply(&format!("SELECT {}", number % 5), "+OK");
            client.assert_reply(&format!("SET place db{}", number % 5), "+OK");
        }
        for round in 0..20 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.hold(&command("GET place"));
                client.send(&format!("SET own:{number} {round}"));
            }
            for (number, client) in clients.iter_mut().enumerate() {
                client.assert_recv(&format!(r#""db{}""#, number % 5));
                client.assert_recv("+OK");
            }
        }
        let mut control = scene.stage.redis.control();
        for database in 0..5 {
            control.assert_reply(&format!("SELECT {database}"), "+OK");
            let keys = control.call("KEYS own:*").items().len();
            assert_eq!(keys, if database == 0 { 4 } else { 3 }, "keys in database {database}");
        }
    }

    fn databases_in_a_pipeline(scene: &Scene<'_>) {
        let mut client = scene.client();
        let mut due = Vec::new();
        for round in 0..10 {
            for (line, reply) in [
                ("SELECT 1", "+OK".to_owned()),
                (&format!("SET k one{round}"), "+OK".to_owned()),
                ("SELECT 2", "+OK".to_owned()),
                ("SELECT 2", "+OK".to_owned()),
                (&format!("SET k two{round}"), "+OK".to_owned()),
                ("SELECT 1", "+OK".to_owned()),
                ("GET k", format!("\"one{round}\"")),
                ("SELECT 2", "+OK".to_owned()),
                ("GET k", format!("\"two{round}\"")),
                ("SELECT 0", "+OK".to_owned()),
                ("GET k", scene.nil().to_owned()),
            ] {
                client.hold(&command(line));
                due.push(reply);
            }
        }
        client.send_raw(b"");
        for reply in due {
            client.assert_recv(&reply);
        }
        client.assert_in_step("after");
    }

    /// An invalid index gets Redis's own error. The client keeps its database.
    fn databases_that_do_not_exist(scene: &Scene<'_>) {
        let range = "-ERR DB index is out of range";
        let number = "-ERR value is not an integer or out of range";
        let arguments = "-ERR wrong number of arguments for 'select' command";
        let mut client = scene.client();
        client.assert_reply("SELECT 3", "+OK");
        client.assert_reply("SET k three", "+OK");
        for (line, due) in [
            ("SELECT 16", range),
            ("SELECT -1", range),
            ("SELECT 2147483647", range),
            ("SELECT 4294967296", "-ERR value is out of range, value must between -2147483648 and 2147483647"),
            ("SELECT 99999999999999999999", number),
            ("SELECT x", number),
            ("SELECT 03", number),
            ("SELECT +3", number),
            ("SELECT", arguments),
            ("SELECT 1 2", arguments),
        ] {
            client.hold(&command("GET k"));
            client.hold(&command(line));
            client.send("GET k");
            client.assert_recv(r#""three""#);
            client.assert_recv(due);
            client.assert_recv(r#""three""#);
        }
        client.assert_in_step("after");
        scene.other().assert_reply("GET k", scene.nil());
    }

    /// Each client uses its own protocol, its own databases and transactions in them.
    fn clients_in_different_states(scene: &Scene<'_>) {
        scene.stage.redis.control().assert_reply("HSET h f v", ":1");
        let mut clients: Vec<(Client, bool)> = Vec::new();
        for number in 0..12 {
            let mut client = scene.stage.connect();
            if number % 2 == 1 {
                client.call("HELLO 3");
            }
            clients.push((client, number % 2 == 1));
        }
        for _ in 0..20 {
            for (client, _) in &mut clients {
                client.hold(&command("GET nothing"));
                client.send("HGETALL h");
            }
            for (client, resp3) in &mut clients {
                client.assert_recv(if *resp3 { "null" } else { "nil" });
                client.assert_recv(if *resp3 { r#"{"f" "v"}"# } else { r#"["f" "v"]"# });
            }
        }
        // The clients exchange their states.
        for (client, resp3) in &mut clients {
            *resp3 = !*resp3;
            client.hold(&command("GET nothing"));
            client.hold(&command(if *resp3 { "HELLO 3" } else { "HELLO 2" }));
            client.send("GET nothing");
        }
        for (client, resp3) in &mut clients {
            client.assert_recv(if *resp3 { "nil" } else { "null" });
            assert!(client.recv().to_string().contains(if *resp3 { r#""proto" :3 "# } else { r#""proto" :2 "# }));
            client.assert_recv(if *resp3 { "null" } else { "nil" });
        }
    }

    fn reset_ends_what_selects_a_connection(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["SELECT 4", "SET k four", "CLIENT SETNAME me", "HELLO 3", "GET k", "RESET", "GET k", "CLIENT GETNAME"] {
            client.hold(&command(line));
        }
        client.send("SET k zero");
        for due in ["+OK", "+OK", "+OK"] {
            client.assert_recv(due);
        }
        client.recv();
        for due in [r#""four""#, "+RESET", "nil", "nil", "+OK"] {
            client.assert_recv(due);
        }
        client.assert_in_step("after");
        scene.stage.redis.control().assert_reply("GET k", r#""zero""#);
    }

    fn names(scene: &Scene<'_>) {
        let mut clients: Vec<Client> = (0..10).map(|_| scene.other()).collect();
        let nil = scene.nil();
        for (number, client) in clients.iter_mut().enumerate() {
            client.assert_reply("CLIENT GETNAME", nil);
            client.assert_reply(&format!("CLIENT SETNAME name-{number}"), "+OK");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.assert_reply("CLIENT GETNAME", &format!("\"name-{number}\""));
            // The name is the same on the client's own connection.
            client.assert_reply("WATCH w", "+OK");
            client.assert_reply("CLIENT GETNAME", &format!("\"name-{number}\""));
            client.assert_reply(
                "CLIENT SETNAME a\nb",
                "-ERR Client names cannot contain spaces, newlines or special characters.",
            );
            client.assert_reply("UNWATCH", "+OK");
            client.hold(&command("CLIENT SETNAME "));
            client.send("CLIENT GETNAME");
            client.assert_recv("+OK");
            client.assert_recv(nil);
        }
    }

    fn numbers(scene: &Scene<'_>) {
        let mut clients: Vec<Client> = (0..10).map(|_| scene.other()).collect();
        let mut seen = std::collections::HashSet::new();
        for client in &mut clients {
            let id = client.call("CLIENT ID").integer();
            assert!(id > 0 && seen.insert(id), "{id} twice");
            client.assert_reply("WATCH w", "+OK");
            client.assert_reply("CLIENT ID", &format!(":{id}"));
            client.assert_reply("UNWATCH", "+OK");
            client.assert_reply("CLIENT ID", &format!(":{id}"));
            client.assert_reply("SELECT 3", "+OK");
            client.assert_reply("CLIENT ID", &format!(":{id}"));
        }
    }

    /// CLIENT INFO shows the client's own data.
    fn client_info_shows_the_client(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("CLIENT SETNAME me", "+OK");
        client.assert_reply("SELECT 2", "+OK");
        let id = client.call("CLIENT ID").integer();
        let info = client.call("CLIENT INFO").text();
        let local = client.local();
        for part in [format!("id={id} "), format!(" addr={local} "), " name=me ".to_owned(), " db=2 ".to_owned()] {
            assert!(info.contains(&part), "{part:?} is not in {info:?}");
        }
        assert!(info.ends_with('\n') && info.lines().count() == 1, "{info:?}");
        let line = client.call(&format!("CLIENT LIST ID {id}")).text();
        assert!(line.contains(&format!("id={id} ")) && line.lines().count() == 1, "{line:?}");
        client.assert_in_step("after");
    }

    /// CLIENT INFO shows the client's subscriptions. In RESP2 a subscriber may not send it.
    fn client_info_shows_subscriptions(scene: &Scene<'_>) {
        let mut client = scene.client();
        assert_eq!(client.call("HELLO 2").items().len(), 14);
        client.assert_reply("SUBSCRIBE one two", r#"["subscribe" "one" :1]"#);
        client.assert_recv(r#"["subscribe" "two" :2]"#);
        let may = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        client.assert_reply("CLIENT INFO", &format!("-ERR Can't execute 'client|info': {may}"));
        client.assert_reply("RESET", "+RESET");
        assert_eq!(client.call("HELLO 3").items().len(), 14);
        client.send_raw(&[command("SUBSCRIBE one"), command("PSUBSCRIBE p*"), command("CLIENT INFO")].concat());
        client.assert_recv(r#">["subscribe" "one" :1]"#);
        client.assert_recv(r#">["psubscribe" "p*" :2]"#);
        let info = client.recv().text();
        assert!(info.contains(" flags=P ") && info.contains(" sub=1 psub=1 ssub=0 "), "{info:?}");
        client.assert_reply("UNSUBSCRIBE one", r#">["unsubscribe" "one" :1]"#);
        let list = client.call("CLIENT LIST TYPE pubsub").text();
        assert!(list.contains(" sub=0 psub=1 "), "{list:?}");
    }
}

/// Clients can learn or guess the ids of the proxy's connections to Redis, but these ids have no effect.
#[test]
fn connections_to_redis_cannot_be_named() {
    let redis = Redis::plain();
    let gate = sharing(Gate::before(&redis)).start();
    let mut victim = gate.connect();
    victim.assert_reply("SET k v", "+OK");
    let pooled: Vec<String> = redis.tcp_clients();
    let mut client = gate.connect();
    let of_the_gate = client.call("CLIENT LIST").text();
    for line in &pooled {
        let field = |name: &str| {
            line.split(' ').find_map(|word| word.strip_prefix(name)).expect("a field").to_owned()
        };
        let (id, address) = (field("id="), field("addr="));
        if of_the_gate.contains(&format!("id={id} ")) {
            continue;
        }
        client.assert_reply(&format!("CLIENT KILL ID {id}"), ":0");
        client.assert_reply(&format!("CLIENT KILL {address}"), "-ERR No such client");
        client.assert_reply(&format!("CLIENT UNBLOCK {id}"), ":0");
        assert_eq!(client.call(&format!("CLIENT LIST ID {id}")).text(), "");
    }
    victim.assert_reply("GET k", r#""v""#);
    let after: Vec<String> = redis.tcp_clients();
    let ids = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|l| l.split(' ').next().expect("id=").to_owned()).collect()
    };
    assert_eq!(ids(&pooled), ids(&after), "connections were lost");
}

/// Some commands are about the writes of one connection. They have no meaning if many clients write on it.
#[test]
fn waits_are_refused() {
    let stage = Stage::new(Way::Shared);
    let mut client = stage.connect();
    client.hold(&command("SET k v"));
    client.hold(&command("WAIT 0 0"));
    client.hold(&command("wait 1 100"));
    client.hold(&command("WAITAOF 0 0 0"));
    client.send("GET k");
    for due in [
        "+OK",
        "-ERR portcullis: WAIT needs connections: dedicated",
        "-ERR portcullis: WAIT needs connections: dedicated",
        "-ERR portcullis: WAITAOF needs connections: dedicated",
        r#""v""#,
    ] {
        client.assert_recv(due);
    }
    // Inside a transaction, this refusal has the same effect as any other refusal.
    for line in ["MULTI", "SET k x", "WAIT 0 0", "EXEC"] {
        client.hold(&command(line));
    }
    client.send("GET k");
    client.assert_recv("+OK");
    client.assert_recv("+QUEUED");
    assert!(client.recv().is_error());
    client.assert_recv("-EXECABORT Transaction discarded because of previous errors.");
    client.assert_recv(r#""v""#);
    assert_eq!(stage.redis.calls("wait"), 0);
}

/// Libraries send their name and version. Some send them first, in one write with their first commands.
#[test]
fn a_library_that_introduces_itself() {
    let stage = Stage::new(Way::Shared);
    for hello in ["HELLO 2", "HELLO 3", "HELLO 3 AUTH default x SETNAME lib"] {
        let mut client = stage.connect();
        for line in [
            hello,
            "CLIENT SETNAME lib",
            "CLIENT SETINFO LIB-NAME redis-xx",
            "CLIENT SETINFO LIB-VER 1.2.3",
            "SELECT 1",
            "SET k v",
        ] {
            client.hold(&command(line));
        }
        client.send("CLIENT INFO");
        assert!(!client.recv().is_error());
        for due in ["+OK", "+OK", "+OK", "+OK", "+OK"] {
            client.assert_recv(due);
        }
        let info = client.recv().text();
        assert!(info.contains(" name=lib "), "{info}");
        assert!(info.contains(" db=1 "), "{info}");
        client.assert_reply("CLIENT SETINFO NO-SUCH x", "-ERR Unrecognized option 'NO-SUCH'");
        client.assert_in_step("after");
    }
}
