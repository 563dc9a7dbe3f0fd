//! Runs one case a given number of times, while callgrind counts instructions (see run.sh): `count CASE TIMES`.

use std::hint::black_box;
use std::process::ExitCode;

use benches::{array_reply, bulk_reply, get, mget, nested_map, pipeline, set, set_of};
use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Reply, ReplyScanner, Request, RequestScanner};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(case), Some(times)) = (args.next(), args.next().and_then(|times| times.parse().ok())) else {
        return ExitCode::from(64);
    };
    match case.as_str() {
        "set-64B" => requests(&set(), times),
        "get" => requests(&get(), times),
        "pipeline-64" => requests(&pipeline(64), times),
        "mget-100" => requests(&mget(100), times),
        "set-1MiB" => requests(&set_of(1024 * 1024), times),
        "bulk-64B" => replies(&bulk_reply(), times),
        "integer" => replies(b":12345\r\n", times),
        "array-100" => replies(&array_reply(100), times),
        "nested-map" => replies(&nested_map(), times),
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

fn requests(input: &[u8], times: u64) {
    let mut scanner = RequestScanner::new(RequestLimits::default());
    for _ in 0..times {
        let mut rest = black_box(input);
        while !rest.is_empty()
            && let Ok(Request::Command { len, name, .. }) = scanner.next(rest)
        {
            black_box(lookup(name.of(rest)).unwrap_or(CommandId::UNKNOWN));
            rest = &rest[len..];
        }
    }
}

fn replies(input: &[u8], times: u64) {
    let mut scanner = ReplyScanner::new();
    for _ in 0..times {
        let mut rest = black_box(input);
        while !rest.is_empty()
            && let Ok(Reply::Whole { len, head }) = scanner.next(rest)
        {
            black_box(head);
            rest = &rest[len..];
        }
    }
}
