use super::name::{LONGEST_NAME, sanitised, unique};
use super::yaml::scalar;

#[test]
fn names_are_names() {
    for (written, name) in [
        ("redis_in", "redis_in"),
        ("Redis.Main", "redis-main"),
        ("10net", "x-10net"),
        ("on", "x-on"),
        ("-a-", "a"),
        ("büro", "b-ro"),
        ("", "x"),
        ("---", "x"),
    ] {
        assert_eq!(sanitised(written), name);
    }
    assert_eq!(sanitised(&"a".repeat(100)).len(), LONGEST_NAME);
}

#[test]
fn names_are_unique() {
    assert_eq!(unique("a", &["b"]), "a");
    assert_eq!(unique("a", &["a", "a-2"]), "a-3");
    let long = "a".repeat(LONGEST_NAME);
    assert_eq!(unique(&long, &[&long]).len(), LONGEST_NAME);
}

#[test]
fn scalars_are_quoted_where_yaml_needs_it() {
    for plain in ["10.0.0.0/8", "0.0.0.0:6379", "redis.internal:6379", "203.0.113.9"] {
        assert_eq!(scalar(plain), plain);
    }
    for (text, quoted) in [
        ("::/0", "\"::/0\""),
        ("[::]:6379", "\"[::]:6379\""),
        ("redis:6379", "\"redis:6379\""),
        ("unix:/a b", "\"unix:/a b\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\""),
    ] {
        assert_eq!(scalar(text), quoted);
    }
}
