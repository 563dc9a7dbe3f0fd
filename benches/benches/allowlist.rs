//! Measures the allowlist: one decision with 1 k to 1 M entries, compiling a million entries, and comparing two such
//! policies.
//!
//! About half of the addresses match an entry. For comparison, `prefix-trie` decides the same addresses with the same
//! entries.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_acl::{Access, Cidr, ClientAddr, Entry, Meta, Policy, PolicyBuilder, UnixSeconds};
use prefix_trie::joint::JointPrefixMap;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// The number of addresses in a round, large enough that the branch predictor cannot learn the sequence.
const QUESTIONS: usize = 1 << 13;

/// The generator xorshift64*, which returns the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % end
    }

    fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::try_from(self.next() >> 32).unwrap())
    }

    /// Returns an address in 2000::/8. The addresses are spread over it as real allocations are.
    fn v6(&mut self) -> Ipv6Addr {
        Ipv6Addr::from_bits(0x20 << 120 | u128::from(self.next() >> 8) << 64 | u128::from(self.next()))
    }
}

/// Returns random prefixes like those in real lists, mostly single addresses and small networks.
fn networks(count: usize, v6: bool) -> Vec<IpNet> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut network = || {
        let pick = random.below(8);
        if v6 {
            let len = [48, 56, 64, 64, 64, 128, 128, 128][pick];
            IpNet::V6(Ipv6Net::new(random.v6(), len).unwrap().trunc())
        } else {
            let len = [20, 24, 24, 28, 32, 32, 32, 32][pick];
            IpNet::V4(Ipv4Net::new(random.v4(), len).unwrap().trunc())
        }
    };
    (0..count).map(|_| network()).collect()
}

fn compile<'t>(entries: impl Iterator<Item = &'t String>) -> Policy {
    let mut builder = PolicyBuilder::new();
    let source = builder.source("bench").unwrap();
    let group = builder.group(Some("all"), Meta::default()).unwrap();
    for (line, entry) in (1..).zip(entries) {
        let cidr: Cidr = entry.parse().unwrap();
        builder.entry(group, source, Entry { cidr, line, meta: Meta::default() }).unwrap();
    }
    builder.listener(Access { allow: vec![group], ..Access::default() });
    builder.build()
}

fn questions(networks: &[IpNet], v6: bool) -> Vec<IpAddr> {
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let mut question = |number: usize| -> IpAddr {
        match (number.is_multiple_of(2), v6) {
            (true, _) => networks[random.below(networks.len())].addr(),
            (false, true) => random.v6().into(),
            (false, false) => random.v4().into(),
        }
    };
    (0..QUESTIONS).map(&mut question).collect()
}

fn judge(c: &mut Criterion, v6: bool) {
    let mut group = c.benchmark_group(if v6 { "judge_v6" } else { "judge_v4" });
    group.measurement_time(Duration::from_secs(3));
    for size in SIZES {
        let networks = networks(size, v6);
        let text: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let policy = compile(text.iter());
        let asked = questions(&networks, v6);
        let clients: Vec<ClientAddr> =
            asked.iter().map(|ip| ClientAddr::from_socket(SocketAddr::new(*ip, 1))).collect();
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("portcullis", size), |b| {
            b.iter(|| {
                turn = (turn + 1) % QUESTIONS;
                black_box(policy.judge(0, &clients[turn], NOW))
            });
        });
        let trie: JointPrefixMap<IpNet, u32> = networks.iter().copied().zip(1..).collect();
        let hosts: Vec<IpNet> = asked.iter().map(|ip| IpNet::from(*ip)).collect();
        group.bench_function(BenchmarkId::new("prefix-trie", size), |b| {
            b.iter(|| {
                turn = (turn + 1) % QUESTIONS;
                black_box(trie.get_lpm(&hosts[turn]))
            });
        });
    }
    group.finish();
}

fn judge_v4(c: &mut Criterion) {
    judge(c, false);
}

fn judge_v6(c: &mut Criterion) {
    judge(c, true);
}

fn compile_a_million(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    let text: Vec<String> = networks(1_000_000, false).iter().map(ToString::to_string).collect();
    group.bench_function("parse and build 1000000", |b| b.iter(|| black_box(compile(text.iter()))));
    group.finish();
}

/// Measures the comparison of two policies of a million entries, after a reload that replaces a thousand of them.
fn changes_of_a_million(c: &mut Criterion) {
    let mut group = c.benchmark_group("changes");
    group.sample_size(10);
    let networks: Vec<String> = networks(1_001_000, false).iter().map(ToString::to_string).collect();
    let (old, new) = (compile(networks[..1_000_000].iter()), compile(networks[1_000..].iter()));
    group.bench_function("of 1000000", |b| b.iter(|| black_box(new.changes_since(&old, 20))));
    group.finish();
}

criterion_group!(benches, judge_v4, judge_v6, compile_a_million, changes_of_a_million);
criterion_main!(benches);
