//! Scans client input for commands, beside `redis-protocol` on the same bytes in the same run.

use std::hint::black_box;

use benches::{get, mget, pipeline, rpush, set, set_of};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis_resp::command::{CommandId, lookup};
use portcullis_resp::limits::RequestLimits;
use portcullis_resp::scan::{Request, RequestScanner};
use redis_protocol::resp2::decode::decode_range;

/// The number of bytes that one read returns.
const READ: usize = 16 * 1024;

fn whole(c: &mut Criterion) {
    let inputs = [
        ("set-64B", set(), 1),
        ("get", get(), 1),
        ("pipeline-64", pipeline(64), 64),
        ("mget-100", mget(100), 1),
        ("set-1MiB", set_of(1024 * 1024), 1),
    ];
    let mut group = c.benchmark_group("requests");
    for (name, input, commands) in inputs {
        group.throughput(Throughput::Elements(commands));
        group.bench_with_input(BenchmarkId::new("portcullis", name), &input, |b, input| {
            let mut scanner = RequestScanner::new(RequestLimits::default());
            b.iter(|| scan(&mut scanner, black_box(input), |_| {}));
        });
        group.bench_with_input(BenchmarkId::new("portcullis-with-lookup", name), &input, |b, input| {
            let mut scanner = RequestScanner::new(RequestLimits::default());
            b.iter(|| {
                scan(&mut scanner, black_box(input), |name| {
                    black_box(lookup(name).unwrap_or(CommandId::UNKNOWN));
                });
            });
        });
        group.bench_with_input(BenchmarkId::new("redis-protocol", name), &input, |b, input| {
            b.iter(|| {
                let mut rest = black_box(&input[..]);
                while let Ok(Some((frame, len))) = decode_range(rest) {
                    black_box(frame);
                    rest = &rest[len..];
                    if rest.is_empty() {
                        break;
                    }
                }
            });
        });
    }
    group.finish();
}

/// Measures a long array that arrives in pieces. The time must be linear in the number of bytes.
fn in_pieces(c: &mut Criterion) {
    let mut group = c.benchmark_group("requests-16KiB-reads");
    group.sample_size(10);
    for elements in [1_000_usize, 10_000, 100_000] {
        let input = rpush(elements);
        group.throughput(Throughput::Bytes(u64::try_from(input.len()).unwrap_or(0)));
        group.bench_with_input(BenchmarkId::new("portcullis-held", elements), &input, |b, input| {
            b.iter(|| held(black_box(input)));
        });
        group.bench_with_input(BenchmarkId::new("portcullis-streamed", elements), &input, |b, input| {
            b.iter(|| streamed(black_box(input)));
        });
        group.bench_with_input(BenchmarkId::new("redis-protocol", elements), &input, |b, input| {
            b.iter(|| {
                let mut end = 0;
                loop {
                    end = input.len().min(end + READ);
                    if let Ok(Some(frame)) = decode_range(black_box(&input[..end])) {
                        break black_box(frame).1;
                    }
                }
            });
        });
    }
    group.finish();
}

fn scan(scanner: &mut RequestScanner, input: &[u8], mut each: impl FnMut(&[u8])) {
    let mut rest = input;
    while !rest.is_empty()
        && let Ok(Request::Command { len, name, .. }) = scanner.next(rest)
    {
        each(name.of(rest));
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
}

fn held(input: &[u8]) -> usize {
    let mut scanner = RequestScanner::new(RequestLimits::default());
    let mut end = 0;
    loop {
        end = input.len().min(end + READ);
        if let Ok(Request::Command { len, .. }) = scanner.next(&input[..end]) {
            return len;
        }
    }
}

fn streamed(input: &[u8]) -> usize {
    let mut scanner = RequestScanner::new(RequestLimits::default());
    let (mut begin, mut end) = (0, input.len().min(READ));
    let first = scanner.next(&input[..end]);
    if let Ok(Request::Command { len, .. }) = first {
        return len;
    }
    while let Ok(streamed) = scanner.stream(&input[begin..end]) {
        begin += streamed.len;
        if streamed.done {
            break;
        }
        end = input.len().min(end + READ);
    }
    assert_eq!(begin, input.len());
    begin
}

criterion_group!(benches, whole, in_pieces);
criterion_main!(benches);
