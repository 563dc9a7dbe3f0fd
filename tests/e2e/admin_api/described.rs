//! `/openapi.json` against the answers: each has the status and the form that the document gives.

use super::*;

/// Checks a value against a schema of the document. Knows the keywords that the document uses.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name}"));
        return check(document, target, value, place);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &Value| choice["type"] != "null" || value.is_null();
        let choice = choices
            .iter()
            .filter(|choice| fits(choice))
            .find(|choice| value.is_null() == (choice["type"] == "null"));
        return check(document, choice.unwrap_or_else(|| panic!("{place}: {value}")), value, place);
    }
    assert_type(schema, value, place);
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{place}: {value}");
    }
    if let Some(list) = value.as_array() {
        for (index, item) in list.iter().enumerate() {
            check(document, &schema["items"], item, &format!("{place}[{index}]"));
        }
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().expect("a name");
        assert!(object.contains_key(name), "{place}: no {name} in {value}");
    }
    for (name, item) in object {
        let inner = match &schema["properties"][name] {
            Value::Null => &schema["additionalProperties"],
            known => known,
        };
        assert_ne!(inner, &json!(false), "{place}.{name} is not described: {value}");
        if inner.is_object() {
            check(document, inner, item, &format!("{place}.{name}"));
        }
    }
}

fn assert_type(schema: &Value, value: &Value, place: &str) {
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: {other}"),
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(is),
        other => panic!("{place}: {other}"),
    };
    assert!(fits, "{place}: {value} is not {}", schema["type"]);
}

/// Checks an answer against the part of the document for its path, method and status.
fn check_answer(document: &Value, method: &str, path: &str, (code, body): (u16, &str)) {
    let operation = &document["paths"][path][method];
    assert!(operation.is_object(), "{method} {path} is not described");
    let mut response = &operation["responses"][code.to_string()];
    if let Some(name) = response["$ref"].as_str() {
        response = document.pointer(name.trim_start_matches('#')).expect("a response");
    }
    assert!(response.is_object(), "{method} {path} {code} is not described: {body}");
    let Some(schema) = response["content"].get("application/json") else { return };
    let value: Value =
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{method} {path}: {e} in {body}"));
    check(document, &schema["schema"], &value, &format!("{method} {path} {code}"));
}

/// A proxy with a token or without, and the headers for it.
struct Asked {
    gate: Gate,
    document: Value,
    headers: Vec<String>,
}

impl Asked {
    fn start(redis: &Redis, yaml: &str, token: bool) -> Self {
        let gate = before(redis, yaml).start();
        let headers = if token { vec![bearer()] } else { Vec::new() };
        let mut asked = Self { gate, document: Value::Null, headers };
        let (_, body) = asked.ask("get", "/openapi.json", &[]);
        asked.document = serde_json::from_str(&body).expect("JSON");
        asked
    }

    fn ask(&self, method: &str, line: &str, more: &[&str]) -> (u16, String) {
        let headers: Vec<&str> =
            self.headers.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let (code, _, body) = asked(&self.gate, &format!("{} {line}", method.to_uppercase()), &headers);
        (code, body)
    }

    /// Asks, and checks the answer against the document. Returns the status.
    fn check(&self, method: &str, path: &str, line: &str) -> u16 {
        let more: &[&str] = if method == "get" { &[] } else { &["Content-Length: 0"] };
        let (code, body) = self.ask(method, line, more);
        check_answer(&self.document, method, path, (code, &body));
        code
    }

    fn reads(&self) {
        for path in READ.iter().chain(&OPEN) {
            let described = path.split('?').next().unwrap_or(path).replace("/office", "/{group}");
            self.check("get", &described, path);
        }
        for (path, line, code) in [
            ("/api/clients", "/api/clients?limit=0", 400),
            ("/api/groups/{group}", "/api/groups/nowhere", 404),
            ("/api/groups/{group}", "/api/groups/%ff", 400),
            ("/api/explain", "/api/explain?ip=x", 400),
            ("/api/explain", "/api/explain?ip=127.0.0.1&command=GET%20x", 200),
            ("/api/explain", "/api/explain?ip=127.0.0.1&listener=x", 404),
        ] {
            assert_eq!(self.check("get", path, line), code, "{line}");
        }
    }

    /// Sends changes. Without a token each of them must be refused.
    fn changes(&self, token: bool) {
        let expected = |code| if token { code } else { 403 };
        for (path, line, code) in [
            ("/api/clients/{id}/close", "/api/clients/999/close", 404),
            ("/api/sources/unblock", "/api/sources/unblock", 415),
            ("/api/groups/{group}/entries", "/api/groups/office/entries", 415),
            ("/api/groups/{group}/entries/remove", "/api/groups/office/entries/remove", 415),
            ("/api/reload", "/api/reload", 200),
            ("/api/session", "/api/session", 415),
        ] {
            assert_eq!(self.check("post", path, line), expected(code), "{line}");
        }
        assert_eq!(self.check("delete", "/api/session", "/api/session"), expected(200));
        for (path, body, code) in [
            ("/api/groups/{group}/entries", json!({"cidr": "192.0.2.9", "dry_run": true}), 200),
            ("/api/groups/{group}/entries", json!({"cidr": "192.0.2.9/8", "dry_run": true}), 400),
            ("/api/groups/{group}/entries", json!({"cidr": "192.0.2.1", "dry_run": true}), 409),
            ("/api/groups/{group}/entries", json!({"cidr": "192.0.2.9"}), 200),
            ("/api/groups/{group}/entries/remove", json!({"cidr": "192.0.2.9"}), 200),
        ] {
            let line = path.replace("{group}", "office");
            let answer = http::post_json(self.gate.admin(), &line, TOKEN, &body).expect("an answer");
            assert_eq!(answer.0, expected(code), "{path} {body}: {}", answer.1);
            check_answer(&self.document, "post", path, (answer.0, &answer.1));
        }
    }
}

#[test]
fn every_answer_has_the_form_that_the_document_gives() {
    let redis = Redis::plain();
    let shadow = "allow: [office], shadow: {deny: [127.0.0.1]}, acl: '@public'";
    let yaml = edit(&with_token(), "allow: [office]", shadow);
    let entries = "office: [127.0.0.1, {cidr: 192.0.2.1, note: soon, until: 2999-01-01T00:00:00Z}]";
    let yaml = edit(&yaml, "office: [127.0.0.1]", entries);
    let open = edit(&edit(BASE, "allow: [office]", shadow), "office: [127.0.0.1]", entries);
    for (yaml, token) in [(yaml, true), (open, false)] {
        let asked = Asked::start(&redis, &yaml, token);
        let mut client = assert_admits(&asked.gate, "127.0.0.1");
        assert!(client.call("CONFIG GET x").is_error());
        crate::reload::assert_refuses(&asked.gate, "127.0.0.2");
        asked.changes(token);
        asked.reads();
    }
}

/// Paths and methods that do not exist answer in JSON too.
#[test]
fn errors_are_json() {
    let redis = Redis::plain();
    let gate = before(&redis, &with_token()).start();
    for (line, headers, code, word) in [
        ("GET /api/nonexistent", vec![bearer()], 404, "path"),
        ("PUT /api/status", vec![bearer(), "Content-Length: 0".to_owned()], 405, "method"),
        ("GET /api/status", vec![], 401, "token"),
        ("GET /api/status", vec!["Host: evil.example".to_owned()], 403, "host"),
        ("POST /api/reload", vec![bearer(), "Origin: http://evil.example".to_owned()], 403, "origin"),
        ("GET /api/explain?ip=127.0.0.1&ip=127.0.0.2", vec![bearer()], 400, "query"),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let (found, head, body) = asked(&gate, line, &headers);
        assert_eq!(found, code, "{line}: {body}");
        assert!(head.contains("content-type: application/json"), "{line}: {head}");
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{line}: {e} in {body}"));
        assert!(body["error"] == word && body["message"].is_string(), "{line}: {body}");
    }
}
