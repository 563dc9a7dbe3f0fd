//! Sessions of browsers: a cookie in place of the token.

use super::*;

/// Logs in with this token. Returns the status, the head and the body of the answer.
fn login(gate: &Gate, token: &str, headers: &[&str]) -> (u16, String, String) {
    let body = json!({ "token": token }).to_string();
    let length = format!("Content-Length: {}", body.len());
    let mut request = "POST /api/session HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for header in headers.iter().chain(&[length.as_str(), "Content-Type: application/json"]) {
        request += &format!("{header}\r\n");
    }
    http::ask_with_head(gate.admin(), &format!("{request}\r\n{body}")).expect("an answer")
}

/// Logs in. Returns the header line with the cookie.
pub(super) fn cookie(gate: &Gate) -> String {
    let (status, head, body) = login(gate, TOKEN, &[]);
    assert_eq!(status, 200, "{body}");
    let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    let (pair, rest) = set.split_once("; ").expect("attributes");
    assert_eq!(rest, "path=/; max-age=43200; httponly; samesite=strict", "{set}");
    assert!(pair.len() == "portcullis_session=".len() + 32, "{pair}");
    format!("Cookie: {pair}")
}

const CHANGE_HEADER: &str = "X-Portcullis: 1";

#[test]
fn a_cookie_reads_and_changes_until_logout() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let cookie = cookie(&gate);
    for path in READ {
        assert_eq!(status(&gate, &format!("GET {path}"), &[&cookie]), 200, "{path}");
    }
    let seen = asked(&gate, "GET /api/status", &[&cookie]).2;
    assert!(seen.contains(r#""access":"full""#), "{seen}");

    // A form of another page can send the cookie at best, and not the header.
    let post = |headers: &[&str]| {
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Length: 0"]).collect();
        status(&gate, "POST /api/reload", &headers)
    };
    assert_eq!(post(&[&cookie]), 403);
    assert_eq!(post(&[&cookie, CHANGE_HEADER, "Origin: http://evil.example"]), 403);
    assert_eq!(post(&[&cookie, CHANGE_HEADER, "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(post(&[CHANGE_HEADER]), 401);
    assert!(gate.audited("reload").is_empty());
    assert_eq!(post(&[&cookie, CHANGE_HEADER, "Origin: http://localhost"]), 200);

    let end = |headers: &[&str]| asked(&gate, "DELETE /api/session", headers);
    assert_eq!(end(&[&cookie]).0, 403);
    let (code, head, _) = end(&[&cookie, CHANGE_HEADER]);
    assert!(code == 200 && head.contains("set-cookie: portcullis_session=; path=/; max-age=0;"), "{head}");
    assert_eq!(status(&gate, "GET /api/status", &[&cookie]), 401, "an old cookie");
    assert_eq!(post(&[&cookie, CHANGE_HEADER]), 401);

    let told = || {
        let lines = gate.audited("admin").into_iter();
        let told = lines.map(|line| json!([line["by"], line["path"], line["status"]])).collect::<Vec<_>>();
        (told.len() == 3).then_some(told)
    };
    assert_eq!(
        e2e::eventually("the changes are audited", told),
        [
            json!(["login", "/api/session", 200]),
            json!(["session", "/api/reload", 200]),
            json!(["session", "/api/session", 200]),
        ]
    );
}

#[test]
fn a_new_token_or_a_restart_ends_all_sessions() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let cookie = cookie(&gate);
    let read = || status(&gate, "GET /api/status", &[&cookie]);
    gate.apply(&edit(&with_token(), "[127.0.0.1]", "[127.0.0.1, 127.0.0.2]"));
    assert_eq!(read(), 200, "the same token");
    std::fs::write(gate.directory().join("token"), "another-token-of-some-length-0123456789")
        .expect("written");
    gate.signal(rustix::process::Signal::HUP);
    e2e::eventually("the session ends", || (read() == 401).then_some(()));

    let other = before(&redis, &with_token()).start();
    assert_eq!(status(&other, "GET /api/status", &[&cookie]), 401);
}

#[test]
fn wrong_tokens_count_and_then_the_source_waits() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    let kept = cookie(&gate);
    for _ in 0..30 {
        assert_eq!(login(&gate, "an-old-token-that-is-repeated", &[]).0, 401, "the same one counts once");
    }
    let mut last = (0, String::new(), String::new());
    for number in 0..20 {
        last = login(&gate, &format!("guess-{number}"), &[]);
    }
    let (code, head, body) = last;
    assert!(code == 429 && head.contains("retry-after: "), "{head} {body}");
    assert!(body.contains(r#""error":"wait""#) && !body.contains("guess"), "{body}");
    // A right token does not tell itself from a wrong one, and a session that is open continues.
    assert_eq!(login(&gate, TOKEN, &[]).0, 429);
    assert_eq!(status(&gate, "GET /api/status", &[&bearer()]), 429);
    assert_eq!(status(&gate, "GET /api/status", &[&kept]), 200);
    assert_eq!(gate.get("/live").0, 200);
    gate.assert_log("admin endpoint: too many wrong tokens");
    assert!(!gate.stderr().contains("guess-"), "tokens stay out of the log");
}

#[test]
fn without_a_token_there_is_no_session() {
    let redis = Redis::plain();
    let gate = before(&redis, BASE).start();
    let (code, _, body) = login(&gate, TOKEN, &[]);
    assert!(code == 403 && body.contains("admin.token"), "{body}");
}

#[test]
fn a_login_from_another_origin_or_without_json_is_refused() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    for foreign in ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null"] {
        assert_eq!(login(&gate, TOKEN, &[foreign]).0, 403, "{foreign}");
    }
    let form = format!("token={TOKEN}");
    let head = format!("POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", form.len());
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"] {
        let answer = http::call(gate.admin(), &format!("{head}Content-Type: {kind}\r\n\r\n{form}"));
        assert_eq!(answer.map(|(code, _)| code), Some(415), "{kind}");
    }
    let (code, head, _) = login(&gate, TOKEN, &["X-Forwarded-Proto: https"]);
    assert!(code == 200 && head.contains("samesite=strict; secure"), "{head}");
}
