//! Any line is refused, or becomes one canonical frame whose size the line bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_resp::inline::canonicalise;
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Request, RequestScanner, arguments};

fuzz_target!(|line: &[u8]| {
    let mut out = b"before".to_vec();
    let result = canonicalise(line, &mut out);
    let frame = out.strip_prefix(b"before").unwrap();
    // The shortest words are one byte and a blank, and become seven more bytes.
    assert!(frame.len() <= line.len() * 4 + 32);
    match result {
        Ok(0) | Err(_) => assert!(frame.is_empty()),
        Ok(count) => {
            let whole = RequestScanner::new(RequestLimits::default()).next(frame);
            let Ok(Request::Command { len, arguments: found, .. }) = whole else { panic!("{whole:?}") };
            assert_eq!((len, found), (frame.len(), count));
            let total: usize = arguments(frame).map(<[u8]>::len).sum();
            assert!(total <= line.len());
        }
    }
});
