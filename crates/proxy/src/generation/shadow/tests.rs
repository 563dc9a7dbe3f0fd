use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn source(number: u32) -> ClientAddr {
    ClientAddr::from_socket((std::net::Ipv4Addr::from(0x0a00_0000 + number), 1).into())
}

#[test]
fn counts_by_address() {
    let shadow = Shadow::default();
    shadow.note(source(2), at(0));
    shadow.note(source(1), at(1));
    shadow.note(source(2), at(5));
    shadow.note(ClientAddr::unix(), at(6));
    let (list, truncated) = shadow.sources(at(7));
    assert!(!truncated);
    assert_eq!(list.len(), 3);
    assert_eq!(list[0].0, None);
    assert_eq!(list[1].0, source(1).ip());
    assert_eq!(list[2], (source(2).ip(), Seen { count: 2, first: at(0), last: at(5) }));
}

#[test]
fn a_day_later_a_source_is_forgotten() {
    let shadow = Shadow::default();
    shadow.note(source(1), at(0));
    shadow.note(source(2), at(3600));
    let (list, _) = shadow.sources(at(KEEP.as_secs()));
    assert_eq!(list.iter().map(|(ip, _)| *ip).collect::<Vec<_>>(), [source(2).ip()]);
}

#[test]
fn says_when_there_were_too_many() {
    let shadow = Shadow::default();
    for number in 0..=u32::try_from(MAX_SOURCES).unwrap() {
        shadow.note(source(number), at(0));
    }
    let (list, truncated) = shadow.sources(at(1));
    assert_eq!((list.len(), truncated), (MAX_SOURCES, true));
    shadow.note(source(77), at(2));
    assert_eq!(shadow.sources(at(2)).0[77].1.count, 2, "who is known is still counted");
    shadow.note(source(1 << 20), at(KEEP.as_secs() + 1));
    let (list, truncated) = shadow.sources(at(KEEP.as_secs() + 3));
    assert_eq!((list.len(), truncated), (1, false));
}
