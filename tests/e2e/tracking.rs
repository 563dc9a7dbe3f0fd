//! Client-side caching: invalidations as RESP3 pushes, and redirected to a RESP2 subscriber.

use e2e::behaviours;

behaviours! {
    fn invalidations_are_pushed(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.asks("CLIENT TRACKING ON", "+OK");
        client.asks("GET k", "null");
        scene.other().asks("SET k v", "+OK");
        client.gets(r#">["invalidate" ["k"]]"#);
        client.asks("GET k", r#""v""#);
        client.is_in_step("between");
        scene.stage.redis.control().asks("FLUSHALL", "+OK");
        client.gets(r#">["invalidate" null]"#);
        client.asks("CLIENT TRACKING OFF", "+OK");
        client.is_in_step("after");
    }

    fn broadcasting_mode(scene: &Scene<'_>) {
        if scene.is_resp2() {
            return;
        }
        let mut client = scene.client();
        client.asks("CLIENT TRACKING ON BCAST PREFIX user:", "+OK");
        scene.other().asks("SET user:1 v", "+OK");
        client.gets(r#">["invalidate" ["user:1"]]"#);
        client.asks("CLIENT TRACKING OFF", "+OK");
        client.is_in_step("after");
    }

    fn redirected_to_a_subscriber(scene: &Scene<'_>) {
        // An id that Redis does not know; shared/state.rs tests the error.
        if scene.stage.is_shared() {
            return;
        }
        let mut listener = scene.client();
        let id = listener.ask("CLIENT ID").integer();
        listener.asks("SUBSCRIBE __redis__:invalidate", &scene.push(r#""subscribe" "__redis__:invalidate" :1"#));
        let mut client = scene.other();
        client.asks(&format!("CLIENT TRACKING ON REDIRECT {id}"), "+OK");
        client.asks("GET k", scene.nil());
        scene.stage.redis.control().asks("SET k v", "+OK");
        listener.gets(scene.by(r#"["message" "__redis__:invalidate" ["k"]]"#, r#">["invalidate" ["k"]]"#));
        listener.asks("PING x", scene.by(r#"["pong" "x"]"#, r#""x""#));
        client.is_in_step("after");
    }
}
