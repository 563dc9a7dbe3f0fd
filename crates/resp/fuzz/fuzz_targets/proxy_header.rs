//! Any bytes: a header has the same meaning however many of its bytes have arrived, and the bytes after it do not
//! matter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_resp::proxy_header::{MAX_V2, Parsed, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    if let Ok(Parsed::Header { len, .. }) = whole {
        assert!(len <= data.len() && len <= MAX_V2);
        assert_eq!(parse(&data[..len]), whole, "the bytes after the header do not matter");
    }
    for cut in 0..data.len().min(300) {
        match (parse(&data[..cut]), whole) {
            (Ok(Parsed::Need { at_least }), Ok(Parsed::Header { len, .. })) => {
                assert!(cut < len && cut < at_least && at_least <= len);
            }
            (Ok(Parsed::Need { at_least }), Ok(Parsed::Need { at_least: later })) => {
                assert!(cut < at_least && at_least <= later.max(data.len() + 1));
            }
            (Ok(Parsed::Need { .. }), Err(_)) => {}
            (part, whole) => assert_eq!(part, whole, "decided on {cut} bytes"),
        }
    }
});
