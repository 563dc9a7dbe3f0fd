//! Measures the lookup of command names, the extraction of keys, and command rules.

use std::hint::black_box;
use std::sync::Arc;

use benches::{get, mget, set};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis_acl::{CommandPlan, CommandRules};
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

/// Measures how command rules judge GET, SET and MGET, starting from the frame.
fn judgements(c: &mut Criterion) {
    let mut group = c.benchmark_group("judgement");
    for text in
        ["+@all ~user:*", "+@all ~a:* ~b:* ~c:* ~user:*", "+@all ~*ser:*", "@public ~user:* (+get ~x)"]
    {
        let rules = CommandRules::parse(text).map(Arc::new).ok();
        let plan = CommandPlan::new(rules.as_ref(), None);
        for (name, id, frame, arguments) in
            [("get", id::GET, get(), 2), ("set", id::SET, set(), 3), ("mget-10", id::MGET, mget(10), 11)]
        {
            group.bench_with_input(BenchmarkId::new(name, text), &frame, |b, frame| {
                b.iter(|| plan.judge(id, &Frame::new(black_box(frame), arguments), true));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, names, keys_of, judgements);
criterion_main!(benches);
