//! Client-side caching: invalidations as RESP3 pushes, and redirected to a RESP2 subscriber.

use e2e::behaviours;

behaviours! {
    fn invalidations_are_pushed(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.assert_reply("CLIENT TRACKING ON", "+OK");
        client.assert_reply("GET k", "null");
        scene.other().assert_reply("SET k v", "+OK");
        client.assert_recv(r#">["invalidate" ["k"]]"#);
        client.assert_reply("GET k", r#""v""#);
        client.assert_in_step("between");
        scene.stage.redis.control().assert_reply("FLUSHALL", "+OK");
        client.assert_recv(r#">["invalidate" null]"#);
        client.assert_reply("CLIENT TRACKING OFF", "+OK");
        client.assert_in_step("after");
    }

    fn broadcasting_mode(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.assert_reply("CLIENT TRACKING ON BCAST PREFIX user:", "+OK");
        scene.other().assert_reply("SET user:1 v", "+OK");
        client.assert_recv(r#">["invalidate" ["user:1"]]"#);
        client.assert_reply("CLIENT TRACKING OFF", "+OK");
        client.assert_in_step("after");
    }

    fn redirected_to_a_subscriber(scene: &Scene<'_>) {
        // Redis does not know this id; shared/state.rs tests the error.
        if scene.stage.is_shared() {
            return;
        }
        let mut listener = scene.client();
        let id = listener.call("CLIENT ID").integer();
        listener.assert_reply("SUBSCRIBE __redis__:invalidate", &scene.push(r#""subscribe" "__redis__:invalidate" :1"#));
        let mut client = scene.other();
        client.assert_reply(&format!("CLIENT TRACKING ON REDIRECT {id}"), "+OK");
        client.assert_reply("GET k", scene.nil());
        scene.stage.redis.control().assert_reply("SET k v", "+OK");
        listener.assert_recv(scene.by(r#"["message" "__redis__:invalidate" ["k"]]"#, r#">["invalidate" ["k"]]"#));
        listener.assert_reply("PING x", scene.by(r#"["pong" "x"]"#, r#""x""#));
        client.assert_in_step("after");
    }
}
