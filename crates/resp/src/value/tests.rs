use super::*;

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

#[test]
fn decodes_every_type() {
    let cases = [
        ("+OK\r\n", Value::Status(b"OK".to_vec())),
        ("-ERR x\r\n", Value::Error(b"ERR x".to_vec())),
        ("!5\r\nERR x\r\n", Value::Error(b"ERR x".to_vec())),
        (":-7\r\n", Value::Integer(-7)),
        ("$2\r\n\r\n\r\n", bulk("\r\n")),
        ("$-1\r\n", Value::Null),
        ("*-1\r\n", Value::Null),
        ("_\r\n", Value::Null),
        ("#t\r\n", Value::Boolean(true)),
        (",1.5e3\r\n", Value::Double(1500.0)),
        (",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        ("(123456789012345678901\r\n", Value::BigNumber(b"123456789012345678901".to_vec())),
        ("=6\r\nraw:ab\r\n", bulk("ab")),
        ("$?\r\n;1\r\na\r\n;2\r\nbc\r\n;0\r\n", bulk("abc")),
        ("~1\r\n:1\r\n", Value::Set(vec![Value::Integer(1)])),
        (">1\r\n:1\r\n", Value::Push(vec![Value::Integer(1)])),
        ("*2\r\n*0\r\n$-1\r\n", Value::Array(vec![Value::Array(vec![]), Value::Null])),
        ("|1\r\n+a\r\n+b\r\n:1\r\n", Value::Integer(1)),
        ("*?\r\n:1\r\n.\r\n", Value::Array(vec![Value::Integer(1)])),
    ];
    for (frame, value) in cases {
        assert_eq!(decode(frame.as_bytes()), Ok(value), "{frame:?}");
    }
}

#[test]
fn maps_keep_their_order_and_repeated_keys() {
    let pairs = vec![
        (bulk("b"), Value::Integer(1)),
        (bulk("a"), Value::Null),
        (bulk("b"), Value::Integer(2)),
        (Value::Array(vec![]), Value::Map(vec![])),
    ];
    for frame in [
        "%4\r\n$1\r\nb\r\n:1\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n:2\r\n*0\r\n%0\r\n",
        "%?\r\n$1\r\nb\r\n:1\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n:2\r\n*0\r\n%?\r\n.\r\n.\r\n",
    ] {
        let value = decode(frame.as_bytes()).unwrap();
        assert_eq!(value, Value::Map(pairs.clone()));
        assert_eq!(value.field("b"), Some(&Value::Integer(1)));
        assert_eq!(value.field("c"), None);
    }
    let flat = decode(b"*4\r\n$4\r\nmode\r\n$7\r\ncluster\r\n$5\r\nproto\r\n:2\r\n").unwrap();
    assert_eq!(flat.field("mode").and_then(Value::as_str), Some("cluster"));
    assert_eq!(flat.field("proto").and_then(Value::as_integer), Some(2));
}

#[test]
fn accepts_exactly_one_whole_shallow_reply() {
    assert_eq!(decode(b""), Err(ValueError::NotWhole));
    assert_eq!(decode(b"*2\r\n:1\r\n"), Err(ValueError::NotWhole));
    assert_eq!(decode(b":1\r\n:2\r\n"), Err(ValueError::NotWhole));
    for double in ["", "1.2.3", "e", "-"] {
        let frame = format!(",{double}\r\n");
        assert_eq!(
            decode(frame.as_bytes()),
            Err(ValueError::Invalid(ReplyError::InvalidNumber)),
            "{frame:?}"
        );
    }
    assert_eq!(decode(b"PING\r\n"), Err(ValueError::Invalid(ReplyError::UnknownType(b'P'))));
    let nested = |levels: usize| ["*1\r\n".repeat(levels).as_bytes(), b":1\r\n"].concat();
    assert!(decode(&nested(MAX_VALUE_DEPTH)).is_ok());
    assert_eq!(decode(&nested(MAX_VALUE_DEPTH + 1)), Err(ValueError::TooDeep));
    assert_eq!(decode(&nested(100_000)), Err(ValueError::Invalid(ReplyError::TooDeep)));
    let decorated = ["|0\r\n".repeat(100_000).as_bytes(), b":1\r\n"].concat();
    assert_eq!(decode(&decorated), Ok(Value::Integer(1)));
}
