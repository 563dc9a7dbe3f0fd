//! MULTI: queued commands, refused commands, and the abort of EXEC after a refusal.

use e2e::behaviours;
use e2e::client::command;

behaviours! {
    fn exec_runs_what_was_queued(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "SET a 1", "INCR a", "GET nothing", "LPUSH a x"] {
            client.hold(&command(line));
        }
        client.send("EXEC");
        client.assert_recv("+OK");
        for _ in 0..4 {
            client.assert_recv("+QUEUED");
        }
        let nil = scene.nil();
        client.assert_recv(&format!(
            "[+OK :2 {nil} -WRONGTYPE Operation against a key holding the wrong kind of value]"
        ));
        client.assert_in_step("after");
    }

    fn discard_and_watch(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "SET a 1", "DISCARD", "EXISTS a", "WATCH a b", "UNWATCH"] {
            client.hold(&command(line));
        }
        client.send("DISCARD");
        for due in ["+OK", "+QUEUED", "+OK", ":0", "+OK", "+OK", "-ERR DISCARD without MULTI"] {
            client.assert_recv(due);
        }
        client.assert_reply("WATCH w", "+OK");
        scene.stage.redis.control().assert_reply("SET w changed", "+OK");
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("SET w mine", "+QUEUED");
        client.assert_reply("EXEC", scene.by("nil[]", "null"));
        client.assert_reply("GET w", r#""changed""#);
        client.assert_in_step("after");
    }

    fn wrong_order(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("EXEC", "-ERR EXEC without MULTI");
        client.assert_reply("DISCARD", "-ERR DISCARD without MULTI");
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("MULTI", "-ERR MULTI calls can not be nested");
        client.assert_reply("WATCH k", "-ERR WATCH inside MULTI is not allowed");
        client.assert_reply("SET k v", "+QUEUED");
        client.assert_reply("EXEC", "[+OK]");
        client.assert_reply("EXEC", "-ERR EXEC without MULTI");
        client.assert_in_step("after");
    }

    fn an_error_while_queuing_aborts(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "SET a 1", "NOSUCH", "GET", "SET b 2", "EXEC", "EXISTS a b"] {
            client.hold(&command(line));
        }
        client.send("EXEC");
        for due in [
            "+OK",
            "+QUEUED",
            "-ERR unknown command 'NOSUCH', with args beginning with: ",
            "-ERR wrong number of arguments for 'get' command",
            "+QUEUED",
            "-EXECABORT Transaction discarded because of previous errors.",
            ":0",
            "-ERR EXEC without MULTI",
        ] {
            client.assert_recv(due);
        }
        client.assert_in_step("after");
    }

    /// The proxy refuses commands that would change the user, the encoding or the number of replies in the middle of
    /// EXEC's reply.
    fn commands_that_break_counting_are_refused(scene: &Scene<'_>) {
        if scene.stage.is_direct() {
            return;
        }
        let refused = "-ERR Command not allowed inside a transaction";
        let mut lines = vec!["SUBSCRIBE a b", "UNSUBSCRIBE", "PUNSUBSCRIBE", "PSUBSCRIBE a b c", "SUNSUBSCRIBE"];
        if scene.stage.way.is_trust() {
            lines.extend(["AUTH default x", "HELLO 3", "HELLO 2 AUTH default x", "CLIENT REPLY OFF"]);
        }
        for line in lines {
            let mut client = scene.client();
            client.hold(&command("MULTI"));
            client.hold(&command("SET executed 1"));
            client.hold(&command(line));
            client.hold(&command("SET executed 2"));
            client.hold(&command("EXEC"));
            client.send("EXISTS executed");
            client.assert_recv("+OK");
            client.assert_recv("+QUEUED");
            client.assert_recv(refused);
            client.assert_recv("+QUEUED");
            client.assert_recv("-EXECABORT Transaction discarded because of previous errors.");
            client.assert_recv(":0");
            client.assert_in_step("after");
            scene.stage.redis.control().assert_reply("EXISTS executed", ":0");
        }
    }

    /// DISCARD also ends a transaction with an error in it, and ends WATCH.
    fn a_dirty_transaction_can_be_discarded(scene: &Scene<'_>) {
        if scene.stage.is_direct() {
            return;
        }
        let mut client = scene.client();
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("SUBSCRIBE a b", "-ERR Command not allowed inside a transaction");
        client.assert_reply("DISCARD", "+OK");
        client.assert_reply("MULTI", "+OK");
        client.assert_reply("INCR n", "+QUEUED");
        client.assert_reply("EXEC", "[:1]");
        client.assert_in_step("after");
    }

    /// SUBSCRIBE with exactly one channel has one reply, and EXEC's array begins subscriber mode.
    fn subscribing_to_one_channel(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "SET a 1", "SUBSCRIBE c", "EXEC"] {
            client.hold(&command(line));
        }
        client.send("PING x");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        client.assert_recv("+QUEUED");
        client.assert_recv(&format!("[+OK {}]", scene.push(r#""subscribe" "c" :1"#)));
        client.assert_recv(scene.by(r#"["pong" "x"]"#, r#""x""#));
        scene.stage.redis.control().assert_reply("PUBLISH c hello", ":1");
        client.assert_recv(&scene.push(r#""message" "c" "hello""#));
        client.assert_reply("UNSUBSCRIBE c", &scene.push(r#""unsubscribe" "c" :0"#));
        client.assert_in_step("after");
    }

    /// A queued SELECT takes effect only if EXEC's reply is an array.
    fn queued_state_counts_when_executed(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "SELECT 5", "SET five 1", "EXEC", "EXISTS five", "SELECT 0", "EXISTS five", "MULTI", "SELECT 5", "DISCARD"] {
            client.hold(&command(line));
        }
        client.send("EXISTS five");
        for due in ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]", ":1", "+OK", ":0", "+OK", "+QUEUED", "+OK", ":0"] {
            client.assert_recv(due);
        }
        client.assert_in_step("after");
    }

    /// A blocking command does not block inside a transaction: it gets the reply of a timeout at once.
    fn blocking_commands_do_not_block(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "BLPOP none 0", "SET a 1", "EXEC"] {
            client.hold(&command(line));
        }
        client.send("ECHO x");
        for due in ["+OK", "+QUEUED", "+QUEUED"] {
            client.assert_recv(due);
        }
        client.assert_recv(scene.by("[nil[] +OK]", "[null +OK]"));
        client.assert_recv(r#""x""#);
        client.assert_in_step("after");
    }

    /// The transaction subscribes and unsubscribes one channel at a time. The counts follow EXEC's array.
    fn subscribing_and_leaving_inside(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["MULTI", "SUBSCRIBE c", "UNSUBSCRIBE c", "PSUBSCRIBE p*", "PUNSUBSCRIBE p*", "EXEC"] {
            client.hold(&command(line));
        }
        client.send("ECHO x");
        client.assert_recv("+OK");
        for _ in 0..4 {
            client.assert_recv("+QUEUED");
        }
        client.assert_recv(&format!(
            "[{} {} {} {}]",
            scene.push(r#""subscribe" "c" :1"#),
            scene.push(r#""unsubscribe" "c" :0"#),
            scene.push(r#""psubscribe" "p*" :1"#),
            scene.push(r#""punsubscribe" "p*" :0"#)
        ));
        client.assert_recv(r#""x""#);
        client.assert_in_step("after");
    }

    /// Queued commands have no effect without EXEC, so no client is subscribed.
    fn a_subscription_that_was_not_executed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("RPUSH l message c x", ":3");
        client.assert_reply("WATCH w", "+OK");
        scene.stage.redis.control().assert_reply("SET w changed", "+OK");
        for line in ["MULTI", "SUBSCRIBE c", "EXEC", "LRANGE l 0 -1", "MULTI", "SUBSCRIBE c", "DISCARD"] {
            client.hold(&command(line));
        }
        client.send("LRANGE l 0 -1");
        for due in ["+OK", "+QUEUED", scene.by("nil[]", "null")] {
            client.assert_recv(due);
        }
        client.assert_recv(r#"["message" "c" "x"]"#);
        for due in ["+OK", "+QUEUED", "+OK"] {
            client.assert_recv(due);
        }
        client.assert_recv(r#"["message" "c" "x"]"#);
        scene.stage.redis.control().assert_reply("PUBLISH c x", ":0");
        client.assert_in_step("after");
    }

    /// A server may omit the reply to a failing AUTH from EXEC's reply, so the proxy does not queue AUTH.
    fn auth_inside_is_refused(scene: &Scene<'_>) {
        if scene.stage.is_direct() {
            return;
        }
        let mut client = scene.client();
        for line in ["MULTI", "SET a 1", "AUTH default x", "AUTH nobody x", "EXEC"] {
            client.hold(&command(line));
        }
        client.send("EXISTS a");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        client.assert_recv("-ERR Command not allowed inside a transaction");
        client.assert_recv("-ERR Command not allowed inside a transaction");
        client.assert_recv("-EXECABORT Transaction discarded because of previous errors.");
        client.assert_recv(":0");
        client.assert_in_step("after");
    }

    /// SYNC would turn the connection into a replication stream, so the proxy refuses it. Inside MULTI the refusal
    /// aborts EXEC.
    fn replication_is_refused(scene: &Scene<'_>) {
        if scene.stage.is_direct() {
            return;
        }
        let mut client = scene.client();
        for line in ["SYNC", "PSYNC ? -1", "REPLCONF listening-port 1"] {
            client.hold(&command(line));
        }
        client.send("ECHO x");
        for name in ["sync", "psync", "replconf"] {
            client.assert_recv(&format!("-NOPERM portcullis: '{name}' is refused here unless an acl names it: +{name}"));
        }
        client.assert_recv(r#""x""#);
        for line in ["MULTI", "SET a 1", "SYNC", "EXEC"] {
            client.hold(&command(line));
        }
        client.send("EXISTS a");
        client.assert_recv("+OK");
        client.assert_recv("+QUEUED");
        assert!(client.recv().text().starts_with("NOPERM "));
        client.assert_recv("-EXECABORT Transaction discarded because of previous errors.");
        client.assert_recv(":0");
        client.assert_in_step("after");
        assert_eq!(scene.stage.redis.calls("sync") + scene.stage.redis.calls("psync"), 0);
    }
}
