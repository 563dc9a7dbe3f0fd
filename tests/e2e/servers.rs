//! Behaviour in front of servers of other versions. `tests/run.sh servers` fetches the servers and runs these tests.
//! Without them the tests use only the installed server.

use std::io::Write;

use e2e::client::command;
use e2e::{Gate, Redis, Server, eventually};

/// Runs `test` with each server. If it fails, the output names the server.
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
            client.assert_reply("SET k v", "+OK");
            client.assert_reply("GET k", r#""v""#);
            client.send("HELLO 3");
            client.recv();
            client.assert_reply("MGET k none", r#"["v" null]"#);
        }
    });
}

const PASSWORD: &str = "canary-servers-pw";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const NOPERM_CONFIG: &str = "-NOPERM User default has no permissions to run the 'config|get' command";
const NOT_IN_MULTI: &str = "-ERR Command not allowed inside a transaction";

/// Starts a proxy with passthrough logins, with the rules of a listener that faces the internet.
fn passthrough(redis: &Redis) -> Gate {
    Gate::before(redis).listener("acl: \"@public\"").secret(PASSWORD).start()
}

/// Redis from 7.2 on and Valkey 8 do not answer a failing login while a reply is pending. If the proxy sent each login
/// at once, all later replies would go to the wrong commands.
#[test]
fn a_failing_login_in_a_pipeline_is_answered_in_its_place() {
    with_each(|server| {
        let redis = Redis::builder().server(server).password(PASSWORD).start();
        let gate = passthrough(&redis);
        let logins = [
            command("AUTH wrong"),
            command("auth default wrong"),
            command("HELLO 2 AUTH default wrong"),
            command("HELLO 3 SETNAME me SETNAME you AUTH default wrong"),
            command(&format!("HELLO 3 SETNAME {} AUTH default wrong", "n".repeat(100_000))),
            b"Auth wrong\r\n".to_vec(),
        ];
        for login in logins {
            let mut client = gate.connect();
            client.assert_reply(&format!("AUTH {PASSWORD}"), "+OK");
            client.hold(&command("PING"));
            client.hold(&login);
            client.hold(&login);
            client.hold(&command("CONFIG GET x"));
            client.send("ECHO zz");
            client.assert_recv("+PONG");
            client.assert_recv(WRONGPASS);
            client.assert_recv(WRONGPASS);
            client.assert_recv(NOPERM_CONFIG);
            client.assert_recv("\"zz\"");
            client.hold(&login);
            client.hold(&command("CLIENT REPLY SKIP"));
            client.hold(&command("ECHO unheard"));
            client.hold(&command("SUBSCRIBE c"));
            client.hold(&login);
            client.hold(&command("UNSUBSCRIBE c"));
            client.send("QUIT");
            client.assert_recv(WRONGPASS);
            client.assert_recv(r#"["subscribe" "c" :1]"#);
            assert!(client.recv().to_string().starts_with("-ERR Can't execute '"), "{}", server.name);
            client.assert_recv(r#"["unsubscribe" "c" :0]"#);
            client.assert_recv("+OK");
            client.assert_closed();
        }
    });
}

/// StackExchange.Redis sends commands before AUTH, in the same write.
#[test]
fn a_first_login_behind_other_commands_is_answered() {
    with_each(|server| {
        let redis = Redis::builder().server(server).password(PASSWORD).start();
        let gate = passthrough(&redis);
        for (password, answer, then) in
            [("wrong", WRONGPASS, "-NOAUTH Authentication required."), (PASSWORD, "+OK", "\"k\"")]
        {
            let mut client = gate.connect();
            client.hold(&command("CLIENT SETNAME k"));
            client.hold(&command(&format!("AUTH {password}")));
            client.hold(&command("CLIENT SETNAME k"));
            client.send("CLIENT GETNAME");
            client.assert_recv("-NOAUTH Authentication required.");
            client.assert_recv(answer);
            client.recv();
            client.assert_recv(then);
        }
    });
}

/// If the proxy did not refuse the login, a server would answer EXEC with fewer elements than it announces.
#[test]
fn a_login_in_a_transaction_spoils_it() {
    with_each(|server| {
        let redis = Redis::builder().server(server).password(PASSWORD).start();
        let gate = Gate::before(&redis).secret(PASSWORD).start();
        for login in ["AUTH wrong", "AUTH default wrong", "HELLO 2 AUTH default wrong"] {
            let mut client = gate.connect();
            client.assert_reply(&format!("AUTH {PASSWORD}"), "+OK");
            for line in ["MULTI", "SET k 1", login, "PING", "EXEC", "GET k"] {
                client.hold(&command(line));
            }
            client.send("ECHO zz");
            client.assert_recv("+OK");
            client.assert_recv("+QUEUED");
            client.assert_recv(NOT_IN_MULTI);
            client.assert_recv("+QUEUED");
            client.assert_recv("-EXECABORT Transaction discarded because of previous errors.");
            client.assert_recv("nil");
            client.assert_recv("\"zz\"");
        }
    });
}

/// The password changes after the proxy has connected. Redis refuses the login after RESET, and the proxy reports it at
/// once.
#[test]
fn reset_with_a_rotated_password_ends_the_session() {
    with_each(|server| {
        let redis = Redis::builder().server(server).password(PASSWORD).start();
        let gate = Gate::before(&redis)
            .listener("auth: trust")
            .password(PASSWORD)
            .upstream("connect_timeout: 2s")
            .start();
        let mut client = gate.connect();
        client.assert_reply("PING", "+PONG");
        redis.control().assert_reply("CONFIG SET requirepass canary-servers-next", "+OK");
        client.hold(&command("PING"));
        client.hold(&command("RESET"));
        client.send("PING");
        client.assert_recv("+PONG");
        client.assert_recv("+RESET");
        client.assert_recv("-ERR portcullis: upstream 'main' unavailable (auth)");
        client.assert_closed();
    });
}

/// Redis (6.2.18, 7.2.8 and later) and Valkey close a connection without a login that has more than 1 KiB of pending
/// output. After RESET, this includes the replies to earlier commands.
#[test]
fn unread_replies_before_reset_do_not_end_the_session() {
    with_each(|server| {
        let redis = Redis::builder().server(server).password(PASSWORD).start();
        let value = "v".repeat(100_000);
        redis.control().assert_reply(&format!("SET k {value}"), "+OK");
        let trust = Gate::before(&redis).listener("auth: trust").password(PASSWORD).start();
        for (gate, login) in [(&trust, None), (&passthrough(&redis), Some(format!("AUTH {PASSWORD}")))] {
            let mut client = gate.connect();
            if let Some(login) = &login {
                client.assert_reply(login, "+OK");
            }
            for _ in 0..200 {
                client.hold(&command("GET k"));
            }
            client.hold(&command("RESET"));
            if let Some(login) = &login {
                client.hold(&command(login));
            }
            client.send("ECHO last");
            for _ in 0..200 {
                client.assert_recv(&format!("\"{value}\""));
            }
            client.assert_recv("+RESET");
            if login.is_some() {
                client.assert_recv("+OK");
            }
            client.assert_recv("\"last\"");
        }
    });
}

/// If a command publishes a message to its own client, Redis up to 7.0 sends the message in the middle of the command's
/// reply.
#[test]
fn a_message_within_a_reply_is_no_part_of_it() {
    with_each(|server| {
        let redis = Redis::builder().server(server).line("notify-keyspace-events KEA").start();
        let gate = Gate::before(&redis).listener("auth: trust").start();
        let mut client = gate.connect();
        client.send("HELLO 3");
        client.recv();
        client.assert_reply("ZADD z 1 a 2 b 3 c", ":3");
        client.send("PSUBSCRIBE __keyevent@0__:zpop*");
        client.recv();
        client.hold(&command("ZPOPMIN z 2"));
        client.hold(&command("SYNC"));
        client.send("ECHO end");
        let mut read = Vec::new();
        while !read.ends_with(b"$3\r\nend\r\n") && client.read_up_to(1, &mut read) {}
        let text = String::from_utf8(read).expect("text");
        // The proxy's own reply comes after the complete previous reply.
        let last = text.find("$1\r\nb\r\n,2\r\n").expect("the second element");
        let refusal = text.find("-NOPERM portcullis: 'sync'").expect("a refusal");
        assert!(last < refusal && text.contains("zpopmin"), "{text}");
        client.assert_in_step("in step");
    });
}

/// Redis refuses SELECT while a script runs, but the command that kills the script needs no database.
#[test]
fn a_script_is_killed_from_any_database_of_shared_connections() {
    with_each(|server| {
        let redis = Redis::builder().server(server).line("lua-time-limit 50").start();
        let gate = Gate::before(&redis).listener("auth: trust").upstream("connections: shared").start();
        let mut killer = gate.connect();
        killer.assert_reply("SELECT 3", "+OK");
        killer.assert_reply("SET k v", "+OK");
        let mut runner = gate.connect();
        runner.send_args(&[b"EVAL", b"while true do end", b"0"]);
        eventually("the script is seen to run", || {
            let busy = redis.control().call("PING").to_string();
            busy.starts_with("-BUSY").then_some(())
        });
        assert!(killer.call("EVAL x 0").to_string().starts_with("-BUSY"), "{}", server.name);
        killer.assert_reply("SCRIPT KILL", "+OK");
        assert!(runner.recv().is_error());
        killer.assert_reply("GET k", "\"v\"");
        killer.send_args(&[b"EVAL", b"return redis.call('get', 'k')", b"0"]);
        killer.assert_recv("\"v\"");
    });
}

/// The only answer to SHUTDOWN is the end of the connection. Any other first command gets the error that the connection
/// was lost. This error does not mention TLS.
#[test]
fn a_server_that_stops_before_its_first_reply_wants_no_tls() {
    with_each(|server| {
        for connections in ["dedicated", "shared"] {
            let mut redis = Redis::builder().server(server).start();
            let gate = Gate::before(&redis)
                .listener("auth: trust")
                .upstream(&format!("connections: {connections}"))
                .upstream("failover_wait: off")
                .start();
            eventually("the upstream is up", || (gate.get("/ready").0 == 200).then_some(()));
            let mut blocked = gate.connect();
            blocked.send("BLPOP none 0");
            eventually("the command blocks", || {
                let blocks = redis.tcp_clients().iter().any(|line| line.contains("cmd=blpop"));
                blocks.then_some(())
            });
            redis.kill();
            // On shared connections Redis has already answered the proxy's CLIENT ID.
            if connections == "dedicated" {
                blocked.assert_recv("-ERR portcullis: upstream 'main' unavailable (connect)");
            }
            blocked.assert_closed();
            redis.start_again(&[], true);
            let mut client = gate.connect();
            client.send("SHUTDOWN NOSAVE");
            client.assert_closed();
        }
    });
}
