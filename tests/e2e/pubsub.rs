//! Subscriptions: one confirmation for each channel or one error, messages between replies, and the end of subscriber
//! mode.

use e2e::random::number;
use e2e::{Client, Scene, behaviours};

/// The rounds of [`messages_after_a_confirmation_are_delivered`] in the default tests. `E2E_ROUNDS` sets another
/// number.
const ROUNDS: u64 = 200;

/// Publishes a message from another client. Checks that `receivers` subscribers of `channel` get it.
fn publish(scene: &Scene<'_>, channel: &str, message: &str, receivers: i64) {
    scene
        .stage
        .redis
        .control()
        .assert_reply(&format!("PUBLISH {channel} {message}"), &format!(":{receivers}"));
}

/// Checks that the next reply is the right one, for a subscriber in RESP2 or RESP3.
fn assert_subscribed_in_step(scene: &Scene<'_>, client: &mut Client, text: &str) {
    client.assert_reply(
        &format!("PING {text}"),
        &scene.by(format!(r#"["pong" "{text}"]"#), format!(r#""{text}""#)),
    );
}

behaviours! {
    /// Redis confirms each channel, and counts channels and patterns together.
    fn each_channel_is_confirmed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send("SUBSCRIBE a b a");
        client.assert_recv(&scene.push(r#""subscribe" "a" :1"#));
        client.assert_recv(&scene.push(r#""subscribe" "b" :2"#));
        client.assert_recv(&scene.push(r#""subscribe" "a" :2"#));
        client.send("PSUBSCRIBE p* q*");
        client.assert_recv(&scene.push(r#""psubscribe" "p*" :3"#));
        client.assert_recv(&scene.push(r#""psubscribe" "q*" :4"#));
        assert_subscribed_in_step(scene, &mut client, "next");
        client.send("UNSUBSCRIBE a b");
        client.assert_recv(&scene.push(r#""unsubscribe" "a" :3"#));
        client.assert_recv(&scene.push(r#""unsubscribe" "b" :2"#));
        client.send("PUNSUBSCRIBE p* nothing q*");
        client.assert_recv(&scene.push(r#""punsubscribe" "p*" :1"#));
        client.assert_recv(&scene.push(r#""punsubscribe" "nothing" :1"#));
        client.assert_recv(&scene.push(r#""punsubscribe" "q*" :0"#));
        client.assert_in_step("after");
    }

    /// A client that has read the confirmation receives every later message. This is true on an old connection, on a
    /// new one, and on one that moves between a shared connection and its own.
    fn messages_after_a_confirmation_are_delivered(scene: &Scene<'_>) {
        let mut publisher = scene.other();
        let mut client = scene.client();
        for round in 0..number("E2E_ROUNDS", ROUNDS) {
            let verb = ["subscribe", "psubscribe", "ssubscribe"][usize::try_from(round % 3).expect("small")];
            let publish = if verb == "ssubscribe" { "SPUBLISH" } else { "PUBLISH" };
            if round % 8 == 0 {
                client = scene.other();
            }
            if round % 5 == 0 {
                client.assert_reply("SET k v", "+OK");
            }
            client.assert_reply(&format!("{verb} c"), &scene.push(&format!(r#""{verb}" "c" :1"#)));
            publisher.assert_reply(&format!("{publish} c {round}"), ":1");
            let message = match verb {
                "subscribe" => format!(r#""message" "c" "{round}""#),
                "psubscribe" => format!(r#""pmessage" "c" "c" "{round}""#),
                _ => format!(r#""smessage" "c" "{round}""#),
            };
            client.assert_recv(&scene.push(&message));
            let gone = verb.replacen("sub", "unsub", 1);
            client.assert_reply(&gone, &scene.push(&format!(r#""{gone}" "c" :0"#)));
        }
    }

    /// One write contains a hundred channels, and then commands and unsubscriptions.
    fn pipelined_with_later_commands(scene: &Scene<'_>) {
        let mut client = scene.client();
        let channels: Vec<String> = (0..100).map(|i| format!("c{i}")).collect();
        client.hold(&e2e::client::command("SET before 1"));
        client.hold(&e2e::client::command(&format!("SUBSCRIBE {}", channels.join(" "))));
        client.hold(&e2e::client::command("PING in"));
        client.hold(&e2e::client::command("UNSUBSCRIBE"));
        client.hold(&e2e::client::command("ECHO out"));
        client.send("SET after 2");
        client.assert_recv("+OK");
        for (i, channel) in channels.iter().enumerate() {
            client.assert_recv(&scene.push(&format!(r#""subscribe" "{channel}" :{}"#, i + 1)));
        }
        client.assert_recv(scene.by(r#"["pong" "in"]"#, r#""in""#));
        let mut left: Vec<i64> = Vec::new();
        for _ in &channels {
            left.push(client.recv().items()[2].integer());
        }
        assert_eq!(left, (0..100).rev().collect::<Vec<i64>>());
        client.assert_recv(r#""out""#);
        client.assert_recv("+OK");
        client.assert_in_step("end");
    }

    /// UNSUBSCRIBE without channels has one confirmation for each channel, or one if there is no channel.
    fn unsubscribe_from_all(scene: &Scene<'_>) {
        let mut client = scene.client();
        let nil = scene.nil();
        client.assert_reply("UNSUBSCRIBE", &scene.push(&format!(r#""unsubscribe" {nil} :0"#)));
        client.assert_reply("PUNSUBSCRIBE", &scene.push(&format!(r#""punsubscribe" {nil} :0"#)));
        client.assert_reply("SUNSUBSCRIBE", &scene.push(&format!(r#""sunsubscribe" {nil} :0"#)));
        client.assert_in_step("none");
        client.assert_reply("SUBSCRIBE one", &scene.push(r#""subscribe" "one" :1"#));
        client.assert_reply("UNSUBSCRIBE", &scene.push(r#""unsubscribe" "one" :0"#));
        client.assert_in_step("one");
        client.send("SUBSCRIBE a b c");
        client.recv();
        client.recv();
        client.assert_recv(&scene.push(r#""subscribe" "c" :3"#));
        client.assert_reply("PSUBSCRIBE p*", &scene.push(r#""psubscribe" "p*" :4"#));
        client.send("UNSUBSCRIBE");
        let counts: Vec<i64> = (0..3).map(|_| client.recv().items()[2].integer()).collect();
        assert_eq!(counts, [3, 2, 1]);
        client.assert_reply("UNSUBSCRIBE", &scene.push(&format!(r#""unsubscribe" {nil} :1"#)));
        assert_subscribed_in_step(scene, &mut client, "patterns");
        client.assert_reply("PUNSUBSCRIBE", &scene.push(r#""punsubscribe" "p*" :0"#));
        client.assert_in_step("done");
    }

    /// The same commands arrive in one write, so the proxy does not know the number of confirmations when it reads
    /// them.
    fn unsubscribe_from_all_in_one_write(scene: &Scene<'_>) {
        let mut client = scene.client();
        for line in ["SUBSCRIBE a b", "PSUBSCRIBE p*", "UNSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "PUNSUBSCRIBE"] {
            client.hold(&e2e::client::command(line));
        }
        client.send("ECHO end");
        let counts: Vec<i64> = (0..8).map(|_| client.recv().items()[2].integer()).collect();
        assert_eq!(counts, [1, 2, 3, 2, 1, 1, 0, 0]);
        client.assert_recv(r#""end""#);
        client.assert_in_step("after");
    }

    fn messages_arrive_between_replies(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE news", &scene.push(r#""subscribe" "news" :1"#));
        publish(scene, "news", "one", 1);
        client.assert_recv(&scene.push(r#""message" "news" "one""#));
        assert_subscribed_in_step(scene, &mut client, "between");
        client.assert_reply("PSUBSCRIBE n*", &scene.push(r#""psubscribe" "n*" :2"#));
        publish(scene, "news", "two", 2);
        client.assert_recv(&scene.push(r#""message" "news" "two""#));
        client.assert_recv(&scene.push(r#""pmessage" "n*" "news" "two""#));
        client.assert_reply("UNSUBSCRIBE news", &scene.push(r#""unsubscribe" "news" :1"#));
        publish(scene, "news", "three", 1);
        client.assert_recv(&scene.push(r#""pmessage" "n*" "news" "three""#));
        client.assert_reply("PUNSUBSCRIBE n*", &scene.push(r#""punsubscribe" "n*" :0"#));
        publish(scene, "news", "four", 0);
        client.assert_in_step("after");
    }

    /// Shard channels have their own count.
    fn shard_channels(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send("SSUBSCRIBE s1 s2");
        client.assert_recv(&scene.push(r#""ssubscribe" "s1" :1"#));
        client.assert_recv(&scene.push(r#""ssubscribe" "s2" :2"#));
        client.assert_reply("SUBSCRIBE c", &scene.push(r#""subscribe" "c" :1"#));
        scene.stage.redis.control().assert_reply("SPUBLISH s1 hello", ":1");
        client.assert_recv(&scene.push(r#""smessage" "s1" "hello""#));
        client.assert_reply("UNSUBSCRIBE", &scene.push(r#""unsubscribe" "c" :0"#));
        assert_subscribed_in_step(scene, &mut client, "shards");
        client.send("SUNSUBSCRIBE");
        let counts: Vec<i64> = (0..2).map(|_| client.recv().items()[2].integer()).collect();
        assert_eq!(counts, [1, 0]);
        client.assert_in_step("after");
    }

    /// An array that looks like a message is a reply, even directly before and after a real message.
    fn an_array_like_a_message_is_a_reply(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("RPUSH l message c payload", ":3");
        client.assert_reply("RPUSH s subscribe c x", ":3");
        client.assert_reply("LRANGE l 0 -1", r#"["message" "c" "payload"]"#);
        client.assert_reply("LRANGE s 0 -1", r#"["subscribe" "c" "x"]"#);
        client.assert_in_step("before");
        client.assert_reply("SUBSCRIBE c", &scene.push(r#""subscribe" "c" :1"#));
        publish(scene, "c", "payload", 1);
        client.assert_recv(&scene.push(r#""message" "c" "payload""#));
        if !scene.is_resp2() {
            client.assert_reply("LRANGE l 0 -1", r#"["message" "c" "payload"]"#);
            client.assert_reply("LRANGE s 0 -1", r#"["subscribe" "c" "x"]"#);
        }
        // This message looks like the reply to PING.
        publish(scene, "c", "pong", 1);
        client.assert_recv(&scene.push(r#""message" "c" "pong""#));
        assert_subscribed_in_step(scene, &mut client, "during");
        client.hold(&e2e::client::command("UNSUBSCRIBE c"));
        client.hold(&e2e::client::command("LRANGE l 0 -1"));
        client.send("LRANGE s 0 -1");
        client.assert_recv(&scene.push(r#""unsubscribe" "c" :0"#));
        client.assert_recv(r#"["message" "c" "payload"]"#);
        client.assert_recv(r#"["subscribe" "c" "x"]"#);
        client.assert_in_step("after");
    }

    /// In RESP2 a subscriber may send few commands. For other commands it gets Redis's own error.
    fn other_commands_while_subscribed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE c", &scene.push(r#""subscribe" "c" :1"#));
        client.assert_reply("PING", scene.by(r#"["pong" ""]"#, "+PONG"));
        client.assert_reply("PING text", scene.by(r#"["pong" "text"]"#, r#""text""#));
        client.send("GET k");
        client.assert_recv(scene.by(
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            "null",
        ));
        client.assert_reply("UNSUBSCRIBE", &scene.push(r#""unsubscribe" "c" :0"#));
        client.assert_reply("PING", "+PONG");
        client.assert_reply("PING text", r#""text""#);
        client.assert_in_step("after");
    }

    /// A refused command gets one error, even if it names several channels.
    fn one_error_for_a_refused_subscription(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command");
        client.assert_in_step("arity");
        // RESP2 subscriber mode ends only with the confirmation that sets both counts to 0.
        client.assert_reply("SUBSCRIBE a", &scene.push(r#""subscribe" "a" :1"#));
        client.assert_reply("PSUBSCRIBE", "-ERR wrong number of arguments for 'psubscribe' command");
        assert_subscribed_in_step(scene, &mut client, "still");
        client.assert_reply("UNSUBSCRIBE a", &scene.push(r#""unsubscribe" "a" :0"#));
        client.assert_in_step("after");
    }

    /// If a user may not subscribe to several channels of a command, the command gets one -NOPERM.
    fn one_error_for_forbidden_channels(scene: &Scene<'_>) {
        let mut control = scene.stage.redis.control();
        control.assert_reply("ACL SETUSER default resetchannels &open:*", "+OK");
        let mut client = scene.client();
        client.send("SUBSCRIBE open:1 closed:1 closed:2");
        client.assert_recv("-NOPERM this user has no permissions to access one of the channels used as arguments");
        client.assert_in_step("refused");
        client.send("SUBSCRIBE open:1 open:2");
        client.assert_recv(&scene.push(r#""subscribe" "open:1" :1"#));
        client.assert_recv(&scene.push(r#""subscribe" "open:2" :2"#));
        client.send("SUBSCRIBE closed:1 closed:2 closed:3");
        client.assert_recv("-NOPERM this user has no permissions to access one of the channels used as arguments");
        assert_subscribed_in_step(scene, &mut client, "still");
        control.assert_reply("ACL SETUSER default allchannels", "+OK");
    }

    /// A RESP3 subscriber that publishes to itself gets the push first, and then the reply.
    fn publishing_to_oneself(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE me", r#">["subscribe" "me" :1]"#);
        client.hold(&e2e::client::command("PUBLISH me 1"));
        client.hold(&e2e::client::command("ECHO x"));
        client.send("PUBLISH me 2");
        let mut replies: Vec<String> = (0..5).map(|_| client.recv().to_string()).collect();
        let pushes: Vec<String> = replies.extract_if(.., |r| r.starts_with('>')).collect();
        assert_eq!(pushes, [r#">["message" "me" "1"]"#, r#">["message" "me" "2"]"#]);
        assert_eq!(replies, [":1", r#""x""#, ":1"]);
        client.assert_in_step("after");
    }

    /// Redis unsubscribes a subscriber that disconnects.
    fn a_subscriber_that_leaves_is_unsubscribed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.assert_reply("SUBSCRIBE c", &scene.push(r#""subscribe" "c" :1"#));
        drop(client);
        let mut control = scene.stage.redis.control();
        e2e::eventually("Redis has no subscriber", || (control.call("PUBLISH c x").integer() == 0).then_some(()));
    }
}
