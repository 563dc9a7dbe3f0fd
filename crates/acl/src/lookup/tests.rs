use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A table of one run or of several runs, with its column and the number of its first entry.
struct Made<K> {
    column: Column<K>,
    table: Table<K>,
    first: u32,
}

fn column<K: Key>(prefixes: &[(K, u8)]) -> Column<K> {
    let mut column = Column::default();
    for (start, len) in prefixes {
        column.push(Row { start: *start, len: *len, line: 1, meta: 0 });
    }
    column.seal();
    column
}

fn made<K: Key>(prefixes: &BTreeSet<(K, u8)>) -> [Made<K>; 2] {
    // Entries before and after a run do not belong to its table, even if they would sort into it.
    let strangers = [(K::ZERO, 0), (K::MAX, 128), (K::ZERO, 0)];
    let sorted: Vec<(K, u8)> = prefixes.iter().copied().collect();
    let around = column(&[&strangers[..], &sorted, &strangers].concat());
    let (first, end) = (3, 3 + u32::try_from(sorted.len()).unwrap());
    let run = Table::new(&around, Order::AddressRun(first..end), |_| false);
    let plain = column(&sorted);
    let mixed = Table::new(&plain, Order::Mixed((0..end - first).collect()), |_| false);
    [Made { column: around, table: run, first }, Made { column: plain, table: mixed, first: 0 }]
}

fn climb<K: Key>(made: &[Made<K>; 2], addr: K) -> Vec<u32> {
    let [run, mixed] = made.each_ref().map(|made| -> Vec<u32> {
        made.table.covering(&made.column, addr).map(|(entry, _)| entry - made.first).collect()
    });
    assert_eq!(run, mixed);
    run
}

fn cut4(bits: u32, len: u8) -> (u32, u8) {
    (Ipv4Net::new(Ipv4Addr::from_bits(bits), len).unwrap().network().to_bits(), len)
}

fn cut6(bits: u128, len: u8) -> (u128, u8) {
    (Ipv6Net::new(Ipv6Addr::from_bits(bits), len).unwrap().network().to_bits(), len)
}

#[test]
fn an_empty_table_covers_nothing() {
    let empty: [Made<u32>; 2] = made(&BTreeSet::new());
    for addr in [0, 1, u32::MAX] {
        assert_eq!(climb(&empty, addr), []);
    }
}

#[test]
fn finds_prefixes_at_both_ends_of_the_space() {
    let all = made(&BTreeSet::from([(0_u32, 0), (0, 32), (u32::MAX, 32)]));
    assert_eq!(climb(&all, 0), [1, 0]);
    assert_eq!(climb(&all, 1), [0]);
    assert_eq!(climb(&all, u32::MAX - 1), [0]);
    assert_eq!(climb(&all, u32::MAX), [2, 0]);
    let last = made(&BTreeSet::from([(u128::MAX, 128)]));
    assert_eq!(climb(&last, u128::MAX), [0]);
    assert_eq!(climb(&last, u128::MAX - 1), []);
}

/// A repeated address must not make the climb longer, neither for this address nor for its neighbours.
#[test]
fn the_climb_has_only_the_last_of_equal_prefixes() {
    let mut prefixes = vec![(0_u32, 8)];
    prefixes.extend([(5, 32); 1_000]);
    prefixes.extend([(6, 32), (1 << 24, 8), (1 << 24, 8)]);
    let column = column(&prefixes);
    let table = Table::new(&column, Order::AddressRun(0..u32::try_from(prefixes.len()).unwrap()), |_| false);
    let climb = |addr| table.covering(&column, addr).map(|(entry, _)| entry).collect::<Vec<_>>();
    assert_eq!(climb(5), [1_000, 0]);
    assert_eq!(climb(6), [1_001, 0]);
    assert_eq!(climb(7), [0]);
    assert_eq!(climb(1 << 24), [1_003]);
    assert_eq!(table.iter(&column).map(|prefix| prefix.entry).collect::<Vec<_>>(), [0, 1_000, 1_001, 1_003]);
}

/// The sizes are around every boundary of blocks and levels. The greatest address equals the padding.
#[test]
fn agrees_for_every_fill_of_blocks_and_levels() {
    for count in (1..=40).chain([255, 256, 257, 258, 4095, 4096, 4097]) {
        let mut hosts: BTreeSet<(u32, u8)> = (0..count).map(|n| (n * 7 + 3, 32)).collect();
        hosts.insert((u32::MAX, 32));
        let table = made(&hosts);
        for (entry, (start, _)) in (0..).zip(&hosts) {
            assert_eq!(climb(&table, *start), [entry], "{count} {start}");
            assert_eq!(climb(&table, start.wrapping_add(1)), [], "{count} {start}");
        }
    }
}

/// Two distant hosts stretch the index so far that all other entries share a slot, so the tree decides.
#[test]
fn agrees_for_crowds_at_both_ends_of_the_space() {
    for count in [20, 100, 129, 5_000] {
        let mut hosts: BTreeSet<(u32, u8)> = (0..count).map(|n| (n * 2, 32)).collect();
        hosts.extend((0..count).map(|n| (u32::MAX - n * 2, 32)));
        let low = made(&hosts);
        let wide: BTreeSet<(u128, u8)> =
            hosts.iter().map(|(start, _)| (u128::from(*start) << 96 | u128::from(*start), 128)).collect();
        let high = made(&wide);
        for (entry, ((start, _), (wide, _))) in (0..).zip(hosts.iter().zip(&wide)) {
            assert_eq!(climb(&low, *start), [entry]);
            assert_eq!(climb(&low, start ^ 1), []);
            assert_eq!(climb(&high, *wide), [entry]);
            assert_eq!(climb(&high, wide ^ 1), []);
        }
    }
}

/// Returns addresses near the ends of the prefixes, which find more errors than random ones.
fn probes<K: Key>(prefixes: &BTreeSet<(K, u8)>, step: impl Fn(K) -> [K; 3]) -> Vec<K> {
    let edges = prefixes.iter().flat_map(|(start, len)| [Some(*start), start.after(*len)]);
    edges.flatten().flat_map(step).collect()
}

fn v4_prefixes() -> impl Strategy<Value = BTreeSet<(u32, u8)>> {
    // The addresses have few distinct bits, so that prefixes are nested and adjacent.
    let clustered = (0_u32..64, 0_u8..=32).prop_map(|(bits, len)| cut4(bits << 26 | bits << 9 | bits, len));
    let anywhere = (any::<u32>(), 0_u8..=32).prop_map(|(bits, len)| cut4(bits, len));
    vec(prop_oneof![clustered, anywhere], 0..400).prop_map(|list| list.into_iter().collect())
}

fn v6_prefixes() -> impl Strategy<Value = BTreeSet<(u128, u8)>> {
    let clustered =
        (0_u128..64, 0_u8..=128).prop_map(|(bits, len)| cut6(bits << 122 | bits << 60 | bits << 2, len));
    let anywhere = (any::<u128>(), 0_u8..=128).prop_map(|(bits, len)| cut6(bits, len));
    vec(prop_oneof![clustered, anywhere], 0..400).prop_map(|list| list.into_iter().collect())
}

proptest! {
    #[test]
    fn v4_agrees_with_a_naive_matcher_and_a_trie(prefixes in v4_prefixes(), more in vec(any::<u32>(), 64)) {
        let table = made(&prefixes);
        let trie: PrefixMap<Ipv4Net, u32> = prefixes
            .iter()
            .map(|(start, len)| Ipv4Net::new(Ipv4Addr::from_bits(*start), *len).unwrap())
            .zip(0..)
            .collect();
        let near = probes(&prefixes, |key| [key.wrapping_sub(1), key, key.wrapping_add(1)]);
        for addr in near.into_iter().chain(more) {
            let mut naive: Vec<(u8, u32)> = (0..)
                .zip(&prefixes)
                .filter(|(_, (start, len))| cut4(addr, *len).0 == *start)
                .map(|(entry, (_, len))| (*len, entry))
                .collect();
            naive.sort_unstable_by_key(|(len, _)| std::cmp::Reverse(*len));
            let naive: Vec<u32> = naive.into_iter().map(|(_, entry)| entry).collect();
            prop_assert_eq!(&climb(&table, addr), &naive);
            let host = Ipv4Net::new(Ipv4Addr::from_bits(addr), 32).unwrap();
            prop_assert_eq!(naive.first().copied(), trie.get_lpm(&host).map(|(_, entry)| *entry));
        }
    }

    #[test]
    fn v6_agrees_with_a_naive_matcher_and_a_trie(prefixes in v6_prefixes(), more in vec(any::<u128>(), 64)) {
        let table = made(&prefixes);
        let trie: PrefixMap<Ipv6Net, u32> = prefixes
            .iter()
            .map(|(start, len)| Ipv6Net::new(Ipv6Addr::from_bits(*start), *len).unwrap())
            .zip(0..)
            .collect();
        let near = probes(&prefixes, |key| [key.wrapping_sub(1), key, key.wrapping_add(1)]);
        for addr in near.into_iter().chain(more) {
            let mut naive: Vec<(u8, u32)> = (0..)
                .zip(&prefixes)
                .filter(|(_, (start, len))| cut6(addr, *len).0 == *start)
                .map(|(entry, (_, len))| (*len, entry))
                .collect();
            naive.sort_unstable_by_key(|(len, _)| std::cmp::Reverse(*len));
            let naive: Vec<u32> = naive.into_iter().map(|(_, entry)| entry).collect();
            prop_assert_eq!(&climb(&table, addr), &naive);
            let host = Ipv6Net::new(Ipv6Addr::from_bits(addr), 128).unwrap();
            prop_assert_eq!(naive.first().copied(), trie.get_lpm(&host).map(|(_, entry)| *entry));
        }
    }
}
