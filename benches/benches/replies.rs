//! Scans server output for replies, beside `redis-protocol` on the same bytes in the same run.

use std::hint::black_box;

use benches::{array_reply, bulk_reply, nested_map};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis_resp::scan::{Reply, ReplyScanner};
use redis_protocol::{resp2, resp3};

fn replies(c: &mut Criterion) {
    let inputs = [
        ("bulk-64B", bulk_reply(), 1),
        ("bulk-64B-x64", bulk_reply().repeat(64), 64),
        ("integer", b":12345\r\n".to_vec(), 1),
        ("status", b"+OK\r\n".to_vec(), 1),
        ("null", b"$-1\r\n".to_vec(), 1),
        ("array-100", array_reply(100), 1),
        ("nested-map", nested_map(), 1),
    ];
    let mut group = c.benchmark_group("replies");
    for (name, input, frames) in inputs {
        group.throughput(Throughput::Elements(frames));
        group.bench_with_input(BenchmarkId::new("portcullis", name), &input, |b, input| {
            let mut scanner = ReplyScanner::new();
            b.iter(|| {
                let mut rest = black_box(&input[..]);
                while !rest.is_empty()
                    && let Ok(Reply::Whole { len, head }) = scanner.next(rest)
                {
                    black_box(head);
                    rest = &rest[len..];
                }
                assert!(rest.is_empty());
            });
        });
        group.bench_with_input(BenchmarkId::new("redis-protocol", name), &input, |b, input| {
            b.iter(|| theirs(black_box(input)));
        });
    }
    group.finish();
}

/// Decodes the input with `redis-protocol`. RESP2 input is decoded as RESP2, because the RESP3 decoder is slower.
fn theirs(input: &[u8]) {
    let mut rest = input;
    while !rest.is_empty() {
        let len = if input.first() == Some(&b'%') {
            resp3::decode::complete::decode_range(rest)
                .ok()
                .flatten()
                .map(|(frame, len)| (black_box(frame), len).1)
        } else {
            resp2::decode::decode_range(rest).ok().flatten().map(|(frame, len)| (black_box(frame), len).1)
        };
        let Some(len) = len else { panic!("not decoded") };
        rest = &rest[len..];
    }
}

criterion_group!(benches, replies);
criterion_main!(benches);
