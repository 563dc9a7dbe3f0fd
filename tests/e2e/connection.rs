//! RESET, QUIT, HELLO, MONITOR and the end of a connection.

use std::time::Duration;

use e2e::client::command;
use e2e::{behaviours, eventually};

behaviours! {
    /// RESET leaves RESP3, the database, MULTI and all subscriptions; the next command works.
    fn reset_leaves_everything(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SELECT 3", "+OK");
        client.assert_reply("SET k three", "+OK");
        client.assert_reply("CLIENT SETNAME me", "+OK");
        client.assert_reply("RESET", "+RESET");
        client.assert_reply("GET k", "nil");
        client.assert_reply("CLIENT GETNAME", "nil");
        client.assert_reply("SET k zero", "+OK");
        client.assert_in_step("after");
        assert_eq!(scene.stage.redis.control().call("GET k").text(), "zero");
    }

    fn reset_and_later_commands_in_one_write(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("SET k v"));
        client.hold(&command("RESET"));
        client.hold(&command("GET k"));
        client.hold(&command("RESET"));
        client.hold(&command("RESET"));
        client.hold(&command("HELLO 3"));
        client.send("GET nothing");
        client.assert_recv("+OK");
        client.assert_recv("+RESET");
        client.assert_recv(r#""v""#);
        client.assert_recv("+RESET");
        client.assert_recv("+RESET");
        assert_eq!(client.recv().items().len(), 14);
        client.assert_recv("null");
        client.assert_in_step("after");
    }

    fn reset_inside_multi(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("WATCH w"));
        client.hold(&command("MULTI"));
        client.hold(&command("SET k v"));
        client.hold(&command("RESET"));
        client.send("EXEC");
        client.assert_recv("+OK");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        client.assert_recv("+RESET");
        client.assert_recv("-ERR EXEC without MULTI");
        client.assert_reply("EXISTS k", ":0");
        client.assert_in_step("after");
    }

    fn reset_while_subscribed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE a", &scene.push(r#""subscribe" "a" :1"#));
        client.assert_reply("PSUBSCRIBE p*", &scene.push(r#""psubscribe" "p*" :2"#));
        client.assert_reply("SSUBSCRIBE s", &scene.push(r#""ssubscribe" "s" :1"#));
        client.hold(&command("RESET"));
        client.send("GET k");
        client.assert_recv("+RESET");
        client.assert_recv("nil");
        let mut control = scene.stage.redis.control();
        control.assert_reply("PUBLISH a x", ":0");
        control.assert_reply("SPUBLISH s x", ":0");
        client.assert_in_step("after");
        client.assert_reply("SUBSCRIBE again", r#"["subscribe" "again" :1]"#);
    }

    /// Redis executes nothing after QUIT, and the connection closes.
    fn quit_ignores_later_commands(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("SET a 1"));
        client.hold(&command("QUIT"));
        client.send("SET b 2");
        client.assert_recv("+OK");
        client.assert_recv("+OK");
        client.assert_closed();
        let mut control = scene.stage.redis.control();
        control.assert_reply("EXISTS a", ":1");
        control.assert_reply("EXISTS b", ":0");
    }

    fn quit_while_subscribed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE a", &scene.push(r#""subscribe" "a" :1"#));
        client.assert_reply("QUIT", "+OK");
        client.assert_closed();
    }

    fn quit_inside_multi(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("MULTI"));
        client.hold(&command("SET a 1"));
        client.send("QUIT");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        client.assert_recv("+OK");
        client.assert_closed();
        scene.stage.redis.control().assert_reply("EXISTS a", ":0");
    }

    /// HELLO switches the protocol from its own reply on, in both directions, in the middle of a pipeline.
    fn hello_switches_the_protocol(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["GET k", "HELLO 3", "GET k", "HELLO 2", "GET k", "HELLO", "HELLO 3 SETNAME me"] {
            client.hold(&command(line));
        }
        client.send("CLIENT GETNAME");
        client.assert_recv(scene.nil());
        let map = client.recv().to_string();
        assert!(map.starts_with(r#"{"server" "redis" "version" "7"#), "{map}");
        assert!(map.contains(r#""proto" :3 "#), "{map}");
        assert!(map.contains(r#""mode" "standalone" "role" "master" "modules" []}"#), "{map}");
        client.assert_recv("null");
        let array = client.recv().to_string();
        assert!(array.starts_with(r#"["server" "redis""#) && array.contains(r#""proto" :2 "#), "{array}");
        client.assert_recv("nil");
        assert!(client.recv().to_string().contains(r#""proto" :2 "#));
        assert!(client.recv().to_string().contains(r#""proto" :3 "#));
        client.assert_recv(r#""me""#);
        client.assert_in_step("after");
    }

    fn hello_is_refused_as_by_redis(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("HELLO x", "-ERR Protocol version is not an integer or out of range");
        client.assert_reply("HELLO 4", "-NOPROTO unsupported protocol version");
        client.assert_reply("HELLO 1", "-NOPROTO unsupported protocol version");
        client.assert_reply("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'");
        client.assert_reply("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'");
        client.assert_reply("GET k", scene.nil());
        client.assert_in_step("after");
    }

    /// Redis without a password: AUTH and HELLO AUTH get the replies of its default user. If the proxy answers, it
    /// accepts any password.
    fn auth_where_none_is_required(scene: &Scene<'_>) {
        let mut client = scene.client();
        let no_password_set = "-ERR AUTH <password> called without any password configured for the default user. \
                               Are you sure your configuration is correct?";
        client.assert_reply("AUTH secret", if scene.stage.way.is_trust() { "+OK" } else { no_password_set });
        client.assert_reply("AUTH default anything", "+OK");
        client.assert_reply("AUTH nobody anything", "-WRONGPASS invalid username-password pair or user is disabled.");
        client.assert_reply("AUTH a b c", "-ERR syntax error");
        client.assert_reply("AUTH", "-ERR wrong number of arguments for 'auth' command");
        client.assert_reply("HELLO 3 AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled.");
        client.assert_reply("GET k", scene.nil());
        assert_eq!(client.call("HELLO 3 AUTH default whatever SETNAME me").items().len(), 14);
        client.assert_reply("CLIENT GETNAME", r#""me""#);
        client.assert_reply("GET k", "null");
        assert_eq!(client.call("HELLO 2 AUTH default whatever").items().len(), 14);
        client.assert_reply("GET k", "nil");
        client.assert_in_step("after");
    }

    /// MONITOR sends its lines with replies of other commands among them; RESET ends it.
    fn monitor(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("MONITOR", "+OK");
        scene.stage.redis.control().assert_reply("SET seen 1", "+OK");
        // Some lines are from connections of the tests and of the proxy.
        let lines_until = |client: &mut e2e::Client, end: &str| {
            let mut others = Vec::new();
            loop {
                let line = client.recv().to_string();
                if line.ends_with(end) {
                    return others;
                }
                if !line.starts_with("+1") {
                    others.push(line);
                }
            }
        };
        assert_eq!(lines_until(&mut client, r#""SET" "seen" "1""#), [""; 0]);
        // A reply may come before or after the line that reports its command.
        for (line, reply) in [("PING x", r#""x""#), ("PING", "+PONG"), ("WAIT 0 1", ":0"), ("CLIENT GETNAME", scene.nil())] {
            // Redis does not see these commands on shared connections.
            if scene.stage.is_shared() && line != "PING" && line != "PING x" {
                continue;
            }
            client.send(line);
            let shown: Vec<String> = line.split(' ').map(|word| format!("\"{word}\"")).collect();
            let mut replies = lines_until(&mut client, &shown.join(" "));
            if replies.is_empty() {
                replies.push(client.recv().to_string());
            }
            assert_eq!(replies, [reply], "{line}");
        }
        client.send("GET k");
        assert_eq!(lines_until(&mut client, "-ERR Replica can't interact with the keyspace"), [""; 0]);
        client.send("RESET");
        assert_eq!(lines_until(&mut client, "+RESET"), [""; 0]);
        scene.stage.redis.control().assert_reply("SET unseen 1", "+OK");
        client.assert_in_step("after");
    }

    /// A half-closed client still receives every reply, then the close.
    fn half_close_delivers_pending_replies(scene: &Scene<'_>) {
        let mut client = scene.client();
        for i in 0..500 {
            client.hold(&command(&format!("ECHO {i}")));
        }
        client.send("SET last 1");
        client.half_close();
        for i in 0..500 {
            client.assert_recv(&format!(r#""{i}""#));
        }
        client.assert_recv("+OK");
        client.assert_closed();
    }

    /// The client sends half a command and closes: Redis executes nothing of it.
    fn half_a_command_is_not_executed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("SET whole 1"));
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\n12");
        client.assert_recv("+OK");
        client.half_close();
        client.assert_closed();
        scene.stage.redis.control().assert_reply("EXISTS half", ":0");
    }

    /// A command in pieces of any size is the same command.
    fn one_byte_at_a_time(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("SET key value"));
        client.send_raw(b"");
        client.assert_recv("+OK");
        for byte in command("GET key") {
            client.send_raw(&[byte]);
            std::thread::sleep(Duration::from_micros(200));
        }
        client.assert_recv(r#""value""#);
        client.assert_in_step("after");
    }

    /// Redis's own errors pass unchanged, with harmless bytes in place of others.
    fn unknown_commands(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("NOSUCH a b", "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ");
        client.assert_reply("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.");
        client.assert_reply("GET", "-ERR wrong number of arguments for 'get' command");
        client.send_args(&[b"FO\r\n+OK", b"\r\n+OK\r\n"]);
        client.assert_recv("-ERR unknown command 'FO  +OK', with args beginning with: '  +OK  ' ");
        client.send_args(&[b""]);
        client.assert_recv("-ERR unknown command '', with args beginning with: ");
        client.assert_in_step("after");
    }

    /// A RESP3 subscriber may change the protocol; its messages then arrive in the other format.
    fn hello_2_while_subscribed(scene: &Scene<'_>) {
        if scene.is_resp2() {
            let mut client = scene.client();
            client.assert_reply("SUBSCRIBE c", r#"["subscribe" "c" :1]"#);
            for (line, name) in [
                ("HELLO 3", "hello"),
                ("HELLO 4", "hello"),
                ("HELLO 3 AUTH nobody x", "hello"),
                ("AUTH secret", "auth"),
                ("AUTH nobody x", "auth"),
            ] {
                let refusal = client.call(line).text();
                assert!(refusal.starts_with(&format!("ERR Can't execute '{name}'")), "{refusal}");
            }
            client.assert_reply("PING x", r#"["pong" "x"]"#);
            return;
        }
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE c", r#">["subscribe" "c" :1]"#);
        client.hold(&command("HELLO 2"));
        client.send("PING x");
        assert_eq!(client.recv().items().len(), 14);
        client.assert_recv(r#"["pong" "x"]"#);
        scene.stage.redis.control().assert_reply("PUBLISH c hello", ":1");
        client.assert_recv(r#"["message" "c" "hello"]"#);
        assert!(client.call("GET k").is_error());
        client.assert_reply("UNSUBSCRIBE", r#"["unsubscribe" "c" :0]"#);
        client.assert_in_step("after");
    }

    /// The client itself or another client closes the connection in Redis.
    fn client_kill(scene: &Scene<'_>) {
        let mut client = scene.client();
        let id = client.call("CLIENT ID").integer();
        client.assert_reply(&format!("CLIENT KILL ID {id} SKIPME no"), ":1");
        client.assert_closed();
        // The id is the proxy's own.
        if scene.stage.is_shared() {
            return;
        }
        let mut client = scene.client();
        let id = client.call("CLIENT ID").integer();
        scene.stage.redis.control().assert_reply(&format!("CLIENT KILL ID {id}"), ":1");
        if scene.stage.outlives_connections() {
            eventually("the connection to Redis is another one", || {
                let other = client.call("CLIENT ID").to_string();
                (other.starts_with(':') && other != format!(":{id}")).then_some(())
            });
        } else {
            client.assert_closed();
        }
    }
}
