//! Replies of every shape arrive byte for byte as Redis writes them.

use e2e::behaviours;
use e2e::client::{Client, encode};

/// Returns a client that is connected directly to Redis, in the same protocol.
fn redis_itself(scene: &e2e::Scene<'_>) -> Client {
    let mut client = scene.stage.redis.control();
    if !scene.is_resp2() {
        client.call("HELLO 3");
    }
    client
}

fn assert_same_as_redis(scene: &e2e::Scene<'_>, client: &mut Client, words: &[&[u8]]) {
    client.send_args(words);
    let got = client.recv().to_string();
    let mut itself = redis_itself(scene);
    itself.send_args(words);
    let due = itself.recv().to_string();
    assert!(got == due, "{}: {got:.300} instead of {due:.300}", words[0].escape_ascii());
}

behaviours! {
    fn every_type_redis_can_write(scene: &Scene<'_>) {
        let mut client = scene.client();
        for kind in ["string", "integer", "double", "null", "array", "set", "map", "attrib", "verbatim", "true", "false", "bignum"] {
            assert_same_as_redis(scene, &mut client, &[b"DEBUG", b"PROTOCOL", kind.as_bytes()]);
            client.assert_in_step(kind);
        }
        if !scene.is_resp2() {
            client.send("DEBUG PROTOCOL push");
            client.assert_recv(r#">["server-cpu-usage" :42]"#);
            assert!(!client.recv().to_string().starts_with('>'));
            client.assert_in_step("push");
        }
    }

    fn large_and_nested(scene: &Scene<'_>) {
        let mut client = scene.client();
        let nested = "local t = {1, 'x'} for i = 1, 500 do t = {t, false, {ok = 'fine'}} end return t";
        let errors = "return {redis.error_reply('ERR one'), {redis.error_reply('ERR two')}}";
        for words in [
            &[b"COMMAND".as_slice()][..],
            &[b"COMMAND", b"DOCS", b"get", b"sort", b"xadd"],
            &[b"COMMAND", b"INFO", b"get", b"nosuch"],
            &[b"CONFIG", b"GET", b"*"],
            &[b"EVAL", nested.as_bytes(), b"0"],
            &[b"EVAL", errors.as_bytes(), b"0"],
            &[b"EVAL", b"return string.rep('x', 3000000)", b"0"],
            &[b"EVAL", b"return redis.status_reply(string.rep('y', 300000))", b"0"],
            &[b"ACL", b"CAT"],
            &[b"FUNCTION", b"STATS"],
            &[b"OBJECT", b"HELP"],
        ] {
            assert_same_as_redis(scene, &mut client, words);
        }
        client.assert_in_step("after");
    }

    /// A table that contains itself. Redis nests arrays up to its own stack limit of some thousand levels.
    fn deeper_than_any_client_writes(scene: &Scene<'_>) {
        let script = b"local a = {}; local b = {a}; a[1] = b; return a";
        let bytes = |mut client: Client| {
            client.hold(&encode(&[b"EVAL", script, b"0"]));
            client.hold(&encode(&[b"ECHO", b"after"]));
            client.send("QUIT");
            client.read_to_end().0
        };
        let due = bytes(redis_itself(scene));
        assert!(due.starts_with(&b"*1\r\n".repeat(1000)) && due.ends_with(b"$5\r\nafter\r\n+OK\r\n"));
        let got = bytes(scene.client());
        assert!(got == due, "{} bytes instead of {}", got.len(), due.len());
    }

    /// Scripts may return invalid big numbers. Redis keeps them on one line, and the proxy checks nothing more.
    fn big_numbers_that_are_none(scene: &Scene<'_>) {
        let mut client = scene.client();
        for script in [
            "redis.setresp(3); return {big_number='123\\r\\n123'}",
            "redis.setresp(3); return {big_number='not a number'}",
            "redis.setresp(3); return {double=0/0}",
            "redis.setresp(3); return {double=1/0}",
            "redis.setresp(3); return {verbatim_string={format='txt', string='a\\r\\nb'}}",
        ] {
            assert_same_as_redis(scene, &mut client, &[b"EVAL", script.as_bytes(), b"0"]);
        }
        client.assert_in_step("after");
    }

    /// A thousand values of mixed sizes keep their order and their bytes.
    fn mixed_sizes(scene: &Scene<'_>) {
        let mut client = scene.client();
        let sizes = [0, 1, 2, 100, 511, 512, 4095, 16_384, 65_535, 200_000];
        let value = |i: usize| -> Vec<u8> { (0..sizes[i % 10]).map(|b| u8::try_from((b * 7 + i) % 256).expect("a byte")).collect() };
        for i in 0..100 {
            client.send_raw(&encode(&[b"SET", format!("k{i}").as_bytes(), &value(i)]));
        }
        for _ in 0..100 {
            client.assert_recv("+OK");
        }
        for i in 0..100 {
            client.hold(&encode(&[b"GET", format!("k{i}").as_bytes()]));
        }
        client.send("PING");
        for i in 0..100 {
            assert_eq!(client.recv(), e2e::Reply::Bulk(value(i)), "value {i}");
        }
        client.assert_recv("+PONG");
    }
}
