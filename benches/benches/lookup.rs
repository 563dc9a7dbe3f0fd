//! Names to command ids, and keys of commands.

use std::hint::black_box;

use benches::{mget, set};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis_resp::command::keys::{Frame, keys};
use portcullis_resp::command::{id, lookup};
use portcullis_resp::slot::slot;

fn names(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    for name in [
        "GET",
        "set",
        "hgetall",
        "ZRANGEBYSCORE",
        "zremrangebyscore",
        "GEORADIUSBYMEMBER_RO",
        "nosuchcommand",
    ] {
        group.bench_with_input(BenchmarkId::from_parameter(name), name.as_bytes(), |b, name| {
            b.iter(|| lookup(black_box(name)));
        });
    }
    group.finish();
}

fn keys_of(c: &mut Criterion) {
    let mut group = c.benchmark_group("keys");
    for (name, id, frame, arguments) in [("set", id::SET, set(), 3), ("mget-100", id::MGET, mget(100), 101)] {
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::from_parameter(name), &frame, |b, frame| {
            b.iter(|| {
                let mut sum = 0;
                let known = keys(id, &Frame::new(black_box(frame), arguments), |key| sum += key.key.len());
                black_box((known.is_ok(), sum))
            });
        });
    }
    group.bench_function("slot", |b| b.iter(|| slot(black_box(b"user:1000:name"))));
    group.finish();
}

criterion_group!(benches, names, keys_of);
criterion_main!(benches);
