//! Any bytes in any pieces give the same replies, and the decoder accepts every reply that the scanner accepts.
//!
//! Input: number of piece sizes, the piece sizes, the size from which frames are streamed, then the bytes of the
//! server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_resp::drive::{self, Pace};
use portcullis_resp::error::ReplyError;
use portcullis_resp::scan::first_element;
use portcullis_resp::value::{self, ValueError};

fuzz_target!(|data: &[u8]| {
    let Some((&sizes, rest)) = data.split_first() else { return };
    let Some((sizes, rest)) = rest.split_at_checked(usize::from(sizes % 8)) else { return };
    let Some((&stream_from, input)) = rest.split_first() else { return };
    let chunks: Vec<usize> = sizes.iter().map(|&size| usize::from(size)).collect();
    let stream_from = (stream_from < 128).then_some(usize::from(stream_from));
    let (answers, error) = drive::replies(input, Pace::WHOLE);
    assert_eq!(drive::replies(input, Pace { chunks: &chunks, stream_from }), (answers.clone(), error));
    for (_, frame, _) in answers {
        match value::decode(&frame) {
            Ok(_) | Err(ValueError::TooDeep) => {}
            Err(ValueError::Invalid(ReplyError::InvalidNumber)) => {
                assert!(frame.contains(&b','), "only an invalid double is refused")
            }
            Err(error) => panic!("{error}: {}", frame.escape_ascii()),
        }
        let _ = first_element(&frame);
    }
    let _ = first_element(input);
});
