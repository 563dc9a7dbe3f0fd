use proptest::prelude::*;

use super::*;
use crate::error::RequestError as Error;
use crate::scan::arguments;

fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut out = b"before".to_vec();
    let count = canonicalise(line, &mut out);
    let frame = out.strip_prefix(b"before").unwrap();
    let args: Vec<_> = arguments(frame).map(<[u8]>::to_vec).collect();
    assert_eq!(count.unwrap_or(0), u64::try_from(args.len()).unwrap());
    assert_eq!(args.is_empty(), frame.is_empty(), "an empty list appends nothing");
    count.map(|_| args)
}

fn words(line: &str) -> Vec<String> {
    split(line.as_bytes()).unwrap().into_iter().map(|word| word.escape_ascii().to_string()).collect()
}

#[test]
fn splits_words_at_blanks() {
    assert_eq!(words("PING\r\n"), ["PING"]);
    assert_eq!(words("  SET\tk  v \r\n"), ["SET", "k", "v"]);
    assert_eq!(words("GET k\n"), ["GET", "k"]);
    assert_eq!(words("GET k"), ["GET", "k"]);
    assert_eq!(words("a\rb\r\r\n"), ["a", "b"], "a CR ends a word");
    for blank in ["", "\n", "\r\n", "  \t \x0b \x0c \r\n"] {
        assert_eq!(words(blank), [""; 0], "{blank:?}");
    }
}

#[test]
fn vertical_tab_and_form_feed_only_lead() {
    assert_eq!(words("ECHO\x0bhi"), ["ECHO\\x0bhi"]);
    assert_eq!(words("\x0b\x0cECHO hi"), ["ECHO", "hi"]);
    assert_eq!(words("\"a\"\x0bb"), ["a", "b"], "a closing quote is followed by any blank");
}

#[test]
fn decodes_escapes_in_double_quotes() {
    assert_eq!(words(r#""PI\x4eG""#), ["PING"]);
    assert_eq!(words(r#"ECHO "\n\r\t\b\a\\\"\q""#), ["ECHO", r#"\n\r\t\x08\x07\\\"q"#]);
    assert_eq!(words(r#"GET "x\x4""#), ["GET", "xx4"]);
    assert_eq!(words(r#"ECHO "\xzz""#), ["ECHO", "xzz"]);
    assert_eq!(words(r#"foo"bar baz""#), ["foobar baz"], "quotes may open within a word");
    assert_eq!(words(r#""""#), [""]);
    assert_eq!(words(r#""" '' x"#), ["", "", "x"]);
    assert_eq!(split(b"PING \"ax\xff\"").unwrap(), [b"PING".to_vec(), b"ax\xff".to_vec()]);
}

#[test]
fn decodes_one_escape_in_single_quotes() {
    assert_eq!(words(r"'PING'"), ["PING"]);
    assert_eq!(words(r"ECHO 'it\'s \n'"), ["ECHO", r"it\'s \\n"]);
}

#[test]
fn refuses_unbalanced_quotes() {
    for line in [
        r#"""#,
        "'",
        r#""foo"#,
        "'foo",
        r#""foo"bar"#,
        "'foo'bar",
        r#""foo\""#,
        r"'foo\'",
        r#""a"'b'"#,
        r#""\"#,
    ] {
        assert_eq!(split(line.as_bytes()), Err(Error::UnbalancedQuotes), "{line}");
        assert_eq!(split(format!("SET k {line}").as_bytes()), Err(Error::UnbalancedQuotes), "{line}");
    }
}

#[test]
fn refuses_a_nul() {
    assert_eq!(split(b"PI\0NG"), Err(Error::InvalidFraming));
    assert_eq!(split(b"\"\0\""), Err(Error::InvalidFraming));
    assert_eq!(
        split(br#"ECHO "\x00""#).unwrap(),
        [b"ECHO".to_vec(), b"\0".to_vec()],
        "an escaped NUL is accepted"
    );
}

proptest! {
    #[test]
    fn decodes_quoted_words(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..5)) {
        let mut line = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            line.extend_from_slice(if i == 0 { b"\"" } else { b" \"" });
            for byte in arg {
                line.extend(format!("\\x{byte:02X}").bytes());
            }
            line.push(b'"');
        }
        prop_assert_eq!(split(&line).unwrap(), args);
    }

    #[test]
    fn splits_or_refuses_any_line(line in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = split(&line);
    }
}
