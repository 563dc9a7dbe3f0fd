//! `/api/config` and the last reloads: secrets and inner addresses.

use super::*;

const SECRET: &str = "the-password-of-redis-0123456789";

#[test]
fn secrets_are_masked_and_inner_addresses_need_the_token() {
    let redis = Redis::builder().password(SECRET).start();
    let upstream = "{address: {redis}, credentials: {username: default, password: {file: secret}}}";
    for (yaml, token) in [(BASE.to_owned(), false), (with_token(), true)] {
        let yaml = edit(&yaml, "{address: {redis}}", upstream);
        let yaml = edit(&yaml, "allow: [office]", "allow: [office], auth: trust, acl: '@public ~app:*'");
        let gate = before(&redis, &yaml).file("secret", SECRET).secret(SECRET).start();
        let bearer = bearer();
        let headers: &[&str] = if token { &[&bearer] } else { &[] };
        let inner = redis.address().to_string();
        for path in READ.iter().filter(|path| **path != "/openapi.json") {
            let (code, _, body) = asked(&gate, &format!("GET {path}"), headers);
            assert_eq!(code, 200, "{path}: {body}");
            assert!(!body.contains(SECRET), "{path}: {body}");
            if !token {
                assert!(!body.contains(&inner) && !body.contains("app:*"), "{path}: {body}");
            }
        }
        let (_, _, body) = asked(&gate, "GET /api/config", headers);
        let config: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&config["generation"], &config["listeners"][0]["auth"]), (&json!(1), &json!("trust")));
        let files = config["files"].as_array().expect("files");
        let has =
            |name: &str| files.iter().any(|file| file.as_str().is_some_and(|file| file.ends_with(name)));
        assert!(has("portcullis.yaml") && has("secret"), "{body}");
        let upstream = &config["upstreams"][0];
        assert_eq!(upstream["credentials"]["password"], "***", "{upstream}");
        assert_eq!(upstream["addresses"] == json!([inner]), token, "{upstream}");
        assert_eq!(body.contains("~app:*"), token, "{body}");
        assert_eq!(config["admin"].get("bind").is_some(), token, "{body}");
    }
}

#[test]
fn the_last_reloads_and_their_errors() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    gate.configure(&edit(&with_token(), "[127.0.0.1]", "[10.1.2.3/8]"));
    assert_eq!(gate.post_reload().0, 422);
    gate.configure(&edit(&with_token(), "[127.0.0.1]", "[127.0.0.1, 192.0.2.1]"));
    assert_eq!(gate.post_reload().0, 200);
    let shown = asked(&gate, "GET /api/status", &[&bearer()]).2;
    let reloads = serde_json::from_str::<Value>(&shown).expect("JSON")["reloads"].clone();
    assert_eq!((&reloads[0]["result"], &reloads[1]["result"]), (&json!("applied"), &json!("rejected")));
    assert_eq!(reloads[0]["groups"][0]["gained_entries"], json!(["192.0.2.1"]));
    assert!(reloads[1]["problems"][0]["message"].as_str().is_some_and(|text| text.contains("host bits")));
    assert!(reloads[1]["time"].is_string(), "{reloads}");
}

#[test]
fn refused_sources_with_the_entry_to_add() {
    let redis = Redis::plain();
    let gate = before(&redis, BASE).start();
    for source in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
        crate::reload::assert_refuses(&gate, source);
    }
    let refused = read(&gate, "/api/status")["refused_sources"].clone();
    let seen = |number: usize| {
        let one = &refused[number];
        (one["source"].clone(), one["entry"].clone(), one["count"].clone(), one["reason"].clone())
    };
    assert_eq!(seen(0), (json!("127.0.0.2"), json!("127.0.0.2"), json!(2), json!("not_allowed")));
    assert_eq!(seen(1).0, json!("127.0.0.3"));
    assert_eq!(read(&gate, "/api/status")["listeners"][0]["refused"]["not_allowed"], 3);
}
