//! Replies of every shape, byte for byte as Redis writes them.

use e2e::behaviours;
use e2e::client::{Client, encode};

/// The same command to Redis itself, in the same protocol.
fn as_redis_says(scene: &e2e::Scene<'_>, words: &[&[u8]]) -> String {
    let mut client = Client::tcp(scene.stage.redis.address());
    if let Some(password) = scene.stage.redis.password() {
        client.asks(&format!("AUTH {password}"), "+OK");
    }
    if !scene.is_resp2() {
        client.ask("HELLO 3");
    }
    client.send_args(words);
    client.read().to_string()
}

fn is_as_redis_says(scene: &e2e::Scene<'_>, client: &mut Client, words: &[&[u8]]) {
    client.send_args(words);
    let got = client.read().to_string();
    let due = as_redis_says(scene, words);
    assert!(got == due, "{}: {got:.300} instead of {due:.300}", words[0].escape_ascii());
}

behaviours! {
    fn every_type_redis_can_write(scene: &Scene<'_>) {
        let mut client = scene.client();
        for kind in ["string", "integer", "double", "null", "array", "set", "map", "attrib", "verbatim", "true", "false", "bignum"] {
            is_as_redis_says(scene, &mut client, &[b"DEBUG", b"PROTOCOL", kind.as_bytes()]);
            client.is_in_step(kind);
        }
        if !scene.is_resp2() {
            client.send("DEBUG PROTOCOL push");
            client.gets(r#">["server-cpu-usage" :42]"#);
            assert!(!client.read().to_string().starts_with('>'));
            client.is_in_step("push");
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
            is_as_redis_says(scene, &mut client, words);
        }
        client.is_in_step("after");
    }

    /// A thousand values of mixed sizes behind each other keep their order and their bytes.
    fn mixed_sizes(scene: &Scene<'_>) {
        let mut client = scene.client();
        let sizes = [0, 1, 2, 100, 511, 512, 4095, 16_384, 65_535, 200_000];
        let value = |i: usize| -> Vec<u8> { (0..sizes[i % 10]).map(|b| u8::try_from((b * 7 + i) % 256).expect("a byte")).collect() };
        for i in 0..100 {
            client.send_raw(&encode(&[b"SET", format!("k{i}").as_bytes(), &value(i)]));
        }
        for _ in 0..100 {
            client.gets("+OK");
        }
        for i in 0..100 {
            client.hold(&encode(&[b"GET", format!("k{i}").as_bytes()]));
        }
        client.send("PING");
        for i in 0..100 {
            assert_eq!(client.read(), e2e::Reply::Bulk(value(i)), "value {i}");
        }
        client.gets("+PONG");
    }
}
