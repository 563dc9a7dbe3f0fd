//! CLIENT REPLY: a command without a reply must not shift the replies of other commands.

use e2e::behaviours;
use e2e::client::command;

behaviours! {
    fn on(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("CLIENT REPLY ON", "+OK");
        client.assert_in_step("on");
    }

    fn off_until_on(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("SET a 1"));
        client.hold(&command("CLIENT REPLY OFF"));
        client.hold(&command("SET b 2"));
        client.hold(&command("GET a"));
        client.hold(&command("NOSUCHCOMMAND"));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("INCR b"));
        client.hold(&command("CLIENT REPLY ON"));
        client.send("GET b");
        client.assert_recv("+OK");
        client.assert_recv("+OK");
        client.assert_recv(r#""3""#);
        client.assert_in_step("on again");
    }

    fn skip_covers_the_next_command_only(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("SET a 1"));
        client.hold(&command("GET a"));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("NOSUCHCOMMAND"));
        client.send("ECHO x");
        client.assert_recv(r#""1""#);
        client.assert_recv(r#""x""#);
        client.assert_in_step("skipped");
    }

    /// After two SKIPs in a row, the command after the second is silent as well.
    fn skip_after_skip(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("SET a 1"));
        client.send("ECHO x");
        client.assert_recv(r#""x""#);
        client.assert_in_step("after");
    }

    fn skip_then_on(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("CLIENT REPLY ON"));
        client.send("ECHO x");
        client.assert_recv("+OK");
        client.assert_recv(r#""x""#);
        client.assert_in_step("after");
    }

    /// A SKIP suppresses RESET's own reply. After RESET, replies are on again.
    fn reset_covered_by_skip_is_silent(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("RESET"));
        client.send("ECHO x");
        client.assert_recv(r#""x""#);
        client.assert_in_step("after");
    }

    fn reset_ends_off(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY OFF"));
        client.hold(&command("SET a 1"));
        client.hold(&command("RESET"));
        client.send("GET a");
        client.assert_recv("+RESET");
        client.assert_recv(r#""1""#);
        client.assert_in_step("after");
    }

    fn wrong_arguments_are_answered(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("CLIENT REPLY MAYBE", "-ERR syntax error");
        client.assert_reply("CLIENT REPLY", "-ERR wrong number of arguments for 'client|reply' command");
        client.assert_reply("client reply on", "+OK");
        client.assert_in_step("after");
    }

    /// A transaction can run without replies.
    fn a_transaction_without_replies(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["CLIENT REPLY OFF", "MULTI", "INCR n", "INCR n", "EXEC", "CLIENT REPLY ON"] {
            client.hold(&command(line));
        }
        client.send("GET n");
        client.assert_recv("+OK");
        client.assert_recv(r#""2""#);
        client.assert_in_step("after");
    }

    /// Pushed messages arrive while replies are off.
    fn messages_arrive_while_off(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE c", r#">["subscribe" "c" :1]"#);
        client.hold(&command("CLIENT REPLY OFF"));
        client.send("SET done 1");
        let mut control = scene.stage.redis.control();
        e2e::eventually("replies are off", || (control.call("EXISTS done").integer() == 1).then_some(()));
        control.assert_reply("PUBLISH c hello", ":1");
        client.assert_recv(r#">["message" "c" "hello"]"#);
        client.assert_reply("CLIENT REPLY ON", "+OK");
        client.assert_in_step("after");
    }

    /// In Redis 7.0 the connection closes after the reply to QUIT is sent. Without a reply it stays open, but the proxy
    /// closes it.
    fn off_while_leaving(scene: &Scene<'_>) {
        if scene.stage.is_direct() {
            return;
        }
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY OFF"));
        client.hold(&command("SET quit 1"));
        client.send("QUIT");
        client.assert_closed();
        assert_eq!(scene.stage.redis.control().call("GET quit").text(), "1");
    }

    /// HELLO changes the protocol without a reply.
    fn skip_covers_hello(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("HELLO 3"));
        client.hold(&command("GET nothing"));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("HELLO 2"));
        client.send("GET nothing");
        client.assert_recv("null");
        client.assert_recv("nil");
        client.assert_in_step("after");
    }

    /// The silent command may be answered by the proxy, may fail, or may block.
    fn skip_covers_auth_errors_and_waits(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in [
            "CLIENT REPLY SKIP",
            "AUTH default x",
            "ECHO 1",
            "CLIENT REPLY SKIP",
            "AUTH nobody x",
            "ECHO 2",
            "CLIENT REPLY SKIP",
            "BLPOP none 0.02",
            "ECHO 3",
            "CLIENT REPLY SKIP",
            "EXEC",
            "ECHO 4",
            "CLIENT REPLY SKIP",
            "CLIENT REPLY MAYBE",
        ] {
            client.hold(&command(line));
        }
        client.send("ECHO 5");
        for number in 1..=5 {
            client.assert_recv(&format!(r#""{number}""#));
        }
        client.assert_in_step("after");
    }

    /// Confirmations are messages, so they arrive while replies are off.
    fn subscribing_while_off(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY OFF"));
        client.send("SUBSCRIBE a b");
        client.assert_recv(&scene.push(r#""subscribe" "a" :1"#));
        client.assert_recv(&scene.push(r#""subscribe" "b" :2"#));
        scene.stage.redis.control().assert_reply("PUBLISH a hello", ":1");
        client.assert_recv(&scene.push(r#""message" "a" "hello""#));
        client.send("UNSUBSCRIBE");
        client.recv();
        assert_eq!(client.recv().items()[2].integer(), 0);
        client.assert_reply("CLIENT REPLY ON", "+OK");
        client.assert_in_step("after");
    }

    fn skip_covers_a_transaction_piecewise(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["CLIENT REPLY SKIP", "MULTI", "INCR n", "CLIENT REPLY SKIP"] {
            client.hold(&command(line));
        }
        client.send("PING");
        let replies = [client.recv().to_string(), client.recv().to_string()];
        // Without the proxy, CLIENT REPLY would be queued. The proxy refuses to queue it.
        let due = if scene.stage.is_direct() {
            ["+QUEUED", "+QUEUED"]
        } else {
            ["+QUEUED", "-ERR Command not allowed inside a transaction"]
        };
        assert_eq!(replies, due);
    }
}
