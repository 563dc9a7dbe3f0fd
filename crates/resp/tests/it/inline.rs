//! Inline commands: the decoder against Redis.

use portcullis_resp::error::RequestError;
use portcullis_resp::inline;
use portcullis_resp::scan::arguments;
use portcullis_resp::value::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::server::Server;

/// A line of bytes that quoting uses, and of other bytes except NUL and LF.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let quoting = prop::sample::select(b"\"\"\"''\\\\\\xnrtba04fFgG \t\r\x0b\x0c".to_vec());
    let other = any::<u8>().prop_filter("ends the line", |byte| !matches!(byte, 0 | b'\n'));
    vec(prop_oneof![6 => quoting, 1 => b'a'..=b'e', 1 => other], 0..24)
}

/// An unknown command repeats its arguments in the error. Its name is unique, so that the line has no other meaning.
#[test]
fn splits_lines_as_redis_does() {
    let server = Server::start(&[]);
    let config = ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&line(), |line| {
            let line = [b"eval 'return ARGV' 0 ", &line[..], b"\n"].concat();
            let mut frame = Vec::new();
            let ours = inline::canonicalise(&line, &mut frame);
            let said = server.connect().send_until_closed(&line);
            match ours {
                Ok(_) => {
                    let args = arguments(&frame).skip(3).map(|arg| Value::Bulk(arg.to_vec())).collect();
                    prop_assert_eq!(portcullis_resp::value::decode(&said), Ok(Value::Array(args)));
                }
                Err(error) => {
                    prop_assert_eq!(error, RequestError::UnbalancedQuotes);
                    prop_assert_eq!(said, b"-ERR Protocol error: unbalanced quotes in request\r\n");
                }
            }
            Ok(())
        })
        .unwrap();
}
