//! Any bytes in any pieces give the same requests, and keys that do not depend on how the arguments are read.
//!
//! Input: number of piece sizes, the piece sizes, the size from which frames are streamed, then the bytes of the
//! client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_resp::command::keys::{Frame, keys};
use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::drive::{self, Pace, Sent};
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::arguments;

fuzz_target!(|data: &[u8]| {
    let Some((&sizes, rest)) = data.split_first() else { return };
    let Some((sizes, rest)) = rest.split_at_checked(usize::from(sizes % 8)) else { return };
    let Some((&stream_from, input)) = rest.split_first() else { return };
    let chunks: Vec<usize> = sizes.iter().map(|&size| usize::from(size)).collect();
    let stream_from = (stream_from < 128).then_some(usize::from(stream_from));
    let pace = Pace { chunks: &chunks, stream_from };
    for limits in [RequestLimits::default(), RequestLimits::default().unauthenticated()] {
        let whole = drive::requests(input, limits, Pace::WHOLE);
        assert_eq!(drive::requests(input, limits, pace), whole);
        for sent in whole.0 {
            if let Sent::Command(frame) = sent {
                check_keys(&frame);
            }
        }
    }
    assert!(arguments(input).count() <= input.len());
});

fn check_keys(frame: &[u8]) {
    let args: Vec<&[u8]> = arguments(frame).collect();
    let id = lookup(args[0]).unwrap_or(CommandId::UNKNOWN);
    let (mut listed, mut in_place) = (Vec::new(), Vec::new());
    let known = keys(id, &args, |key| listed.push((key.index, key.key)));
    let view = Frame::new(frame, u64::try_from(args.len()).unwrap());
    assert_eq!(keys(id, &view, |key| in_place.push((key.index, key.key))), known);
    assert_eq!(in_place, listed);
    assert!(listed.iter().all(|&(index, key)| args[index] == key));
}
