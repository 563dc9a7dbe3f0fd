//! Commands that block in Redis.

use std::time::Duration;

use e2e::behaviours;
use e2e::client::command;

behaviours! {
    /// Another client's push releases the command. Commands pipelined after it get their replies later.
    fn blpop_is_released_by_another_client(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("BLPOP list 0"));
        client.hold(&command("ECHO behind"));
        client.send("BLPOP other 0.05");
        let mut other = scene.other();
        e2e::eventually("the client waits", || {
            (scene.stage.redis.control().call("INFO clients").text().contains("blocked_clients:1")).then_some(())
        });
        other.assert_reply("RPUSH list x", ":1");
        client.assert_recv(r#"["list" "x"]"#);
        client.assert_recv(r#""behind""#);
        client.assert_recv(scene.by("nil[]", "null"));
        client.assert_in_step("after");
    }

    /// A client that disconnects while it waits does not take the element.
    fn a_client_that_left_does_not_pop(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send("BLPOP list 0");
        let mut control = scene.stage.redis.control();
        let blocked = |control: &mut e2e::Client, n: u32| {
            let due = format!("blocked_clients:{n}\r");
            e2e::eventually(&due, || control.call("INFO clients").text().contains(&due).then_some(()));
        };
        blocked(&mut control, 1);
        drop(client);
        blocked(&mut control, 0);
        control.assert_reply("RPUSH list x", ":1");
        std::thread::sleep(Duration::from_millis(50));
        control.assert_reply("LLEN list", ":1");
    }

    fn a_client_that_was_reset_does_not_pop(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send("BLPOP list 0");
        let mut control = scene.stage.redis.control();
        e2e::eventually("the client waits", || {
            control.call("INFO clients").text().contains("blocked_clients:1\r").then_some(())
        });
        client.abort();
        e2e::eventually("no client waits", || {
            control.call("INFO clients").text().contains("blocked_clients:0\r").then_some(())
        });
        control.assert_reply("RPUSH list x", ":1");
        control.assert_reply("LLEN list", ":1");
    }

    /// The proxy reads no more commands after a blocked command, but still notices the disconnect.
    fn leaving_is_noticed_behind_a_full_pipeline(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.hold(&command("BLPOP list 0"));
        for _ in 0..2000 {
            client.hold(&command("ECHO behind"));
        }
        client.send("RPUSH behind x");
        let mut control = scene.stage.redis.control();
        e2e::eventually("the client waits", || {
            control.call("INFO clients").text().contains("blocked_clients:1\r").then_some(())
        });
        client.abort();
        e2e::eventually("no client waits", || {
            control.call("INFO clients").text().contains("blocked_clients:0\r").then_some(())
        });
        control.assert_reply("EXISTS behind", ":0");
    }

    fn streams_and_other_waits(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send("XREAD BLOCK 0 STREAMS s $");
        e2e::eventually("the client waits", || {
            scene.stage.redis.control().call("INFO clients").text().contains("blocked_clients:1\r").then_some(())
        });
        scene.other().assert_reply("XADD s 1-1 f v", r#""1-1""#);
        client.assert_recv(scene.by(r#"[["s" [["1-1" ["f" "v"]]]]]"#, r#"{"s" [["1-1" ["f" "v"]]]}"#));
        let wait = if scene.stage.is_shared() { "-ERR portcullis: WAIT needs connections: dedicated" } else { ":0" };
        client.assert_reply("WAIT 0 10", wait);
        client.assert_reply("BZPOPMIN z 0.05", scene.by("nil[]", "null"));
        client.assert_in_step("after");
    }

    /// CLIENT UNBLOCK from another client ends the wait, with either result.
    fn unblocked_from_elsewhere(scene: &Scene<'_>) {
        let mut client = scene.client();
        let id = client.call("CLIENT ID").integer();
        // On shared connections the proxy assigns the id, so only clients of the proxy can use it.
        let mut control =
            if scene.stage.is_shared() { scene.other() } else { scene.stage.redis.control() };
        for (how, due) in [("TIMEOUT", scene.by("nil[]", "null")), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
            client.send("BLPOP list 0");
            e2e::eventually("the client is unblocked", || {
                (control.call(&format!("CLIENT UNBLOCK {id} {how}")).integer() == 1).then_some(())
            });
            client.assert_recv(due);
        }
        client.assert_in_step("after");
    }
}
