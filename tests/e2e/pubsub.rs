//! Subscriptions: n confirmations or one error, messages between replies, and the way back.

use e2e::behaviours;

behaviours! {
    /// One confirmation a channel, counted together with patterns.
    fn each_channel_is_confirmed(scene: &Scene<'_>) {
        let mut client = scene.client();
        client.send("SUBSCRIBE a b a");
        client.gets(&scene.push(r#""subscribe" "a" :1"#));
        client.gets(&scene.push(r#""subscribe" "b" :2"#));
        client.gets(&scene.push(r#""subscribe" "a" :2"#));
        client.send("PSUBSCRIBE p* q*");
        client.gets(&scene.push(r#""psubscribe" "p*" :3"#));
        client.gets(&scene.push(r#""psubscribe" "q*" :4"#));
    }
}
