use super::*;

#[test]
fn a_word_that_is_like_it() {
    let words = ["allow", "deny", "allow_empty", "passthrough", "trust", "@public", "@public-scripts"];
    for (written, meant) in [
        ("alow", Some("allow")),
        ("lalow", Some("allow")),
        ("Allow", Some("allow")),
        ("PASSTHROUGH", Some("passthrough")),
        ("pass-through", Some("passthrough")),
        ("allow-empty", Some("allow_empty")),
        ("allowEmpty", Some("allow_empty")),
        ("@pubic", Some("@public")),
        ("@public_script", Some("@public-scripts")),
        ("dny", Some("deny")),
        ("denied", None),
        ("pass", Some("passthrough")),
        ("pas", Some("passthrough")),
        ("pa", None),
        ("upstream", None),
        ("", None),
    ] {
        assert_eq!(nearest(written, &words), meant, "{written}");
    }
    assert_eq!(nearest("ab", &["abc", "ac", "ab"]), Some("ab"));
    assert_eq!(nearest(&"a".repeat(65), &["a"]), None);
}

#[test]
fn within_a_budget() {
    assert_eq!(within("gte", ["set", "get"], 1), Some("get"));
    assert_eq!(within("gett", ["get", "getex"], 1), Some("get"));
    assert_eq!(within("teg", ["get"], 1), None);
    assert_eq!(within("get", [], 9), None);
}
