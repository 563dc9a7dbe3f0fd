//! CLIENT REPLY: commands that get no answer must not shift the others'.

use e2e::behaviours;
use e2e::client::command;

behaviours! {
    fn on(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.asks("CLIENT REPLY ON", "+OK");
        client.is_in_step("on");
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
        client.gets("+OK");
        client.gets("+OK");
        client.gets(r#""3""#);
        client.is_in_step("on again");
    }

    fn skip_covers_the_next_command_only(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("SET a 1"));
        client.hold(&command("GET a"));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("NOSUCHCOMMAND"));
        client.send("ECHO x");
        client.gets(r#""1""#);
        client.gets(r#""x""#);
        client.is_in_step("skipped");
    }

    /// Two in a row: what the second one covers is silent as well.
    fn skip_after_skip(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("SET a 1"));
        client.send("ECHO x");
        client.gets(r#""x""#);
        client.is_in_step("after");
    }

    fn skip_then_on(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("CLIENT REPLY ON"));
        client.send("ECHO x");
        client.gets("+OK");
        client.gets(r#""x""#);
        client.is_in_step("after");
    }

    /// RESET's own reply is covered; after it replies are on again.
    fn reset_covered_by_skip_is_silent(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY SKIP"));
        client.hold(&command("RESET"));
        client.send("ECHO x");
        client.gets(r#""x""#);
        client.is_in_step("after");
    }

    fn reset_ends_off(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY OFF"));
        client.hold(&command("SET a 1"));
        client.hold(&command("RESET"));
        client.send("GET a");
        client.gets("+RESET");
        client.gets(r#""1""#);
        client.is_in_step("after");
    }

    fn wrong_arguments_are_answered(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.asks("CLIENT REPLY MAYBE", "-ERR syntax error");
        client.asks("CLIENT REPLY", "-ERR wrong number of arguments for 'client|reply' command");
        client.asks("client reply on", "+OK");
        client.is_in_step("after");
    }

    /// Transactions run silently too.
    fn a_transaction_without_replies(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["CLIENT REPLY OFF", "MULTI", "INCR n", "INCR n", "EXEC", "CLIENT REPLY ON"] {
            client.hold(&command(line));
        }
        client.send("GET n");
        client.gets("+OK");
        client.gets(r#""2""#);
        client.is_in_step("after");
    }

    /// Pushed messages still arrive while replies are off.
    fn messages_arrive_while_off(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.asks("SUBSCRIBE c", r#">["subscribe" "c" :1]"#);
        client.hold(&command("CLIENT REPLY OFF"));
        client.send("SET done 1");
        let mut control = scene.stage.redis.control();
        e2e::eventually("replies are off", || (control.ask("EXISTS done").integer() == 1).then_some(()));
        control.asks("PUBLISH c hello", ":1");
        client.gets(r#">["message" "c" "hello"]"#);
        client.asks("CLIENT REPLY ON", "+OK");
        client.is_in_step("after");
    }

    /// Redis 7.0 closes after the reply to QUIT, so never where there is none; the gate closes.
    fn off_while_leaving(scene: &Scene<'_>) {
        if scene.stage.is_direct() {
            return;
        }
        let mut client = scene.client();
        client.hold(&command("CLIENT REPLY OFF"));
        client.hold(&command("SET quit 1"));
        client.send("QUIT");
        client.is_closed();
        assert_eq!(scene.stage.redis.control().ask("GET quit").text(), "1");
    }
}
