use super::*;

fn doubt(changed: Option<SystemTime>, shrank: Option<(usize, usize)>) -> Doubt {
    let loss = shrank.map(|(before, after)| Loss::Entries { before, after });
    Doubt { path: "list.txt".into(), changed, loss }
}

#[test]
fn a_shrunken_list_is_waited_for_until_it_is_old_enough() {
    let (writers, now) = (Writers::default(), SystemTime::now());
    let old = doubt(now.checked_sub(STILL_FOR), Some((1000, 480)));
    assert_eq!(Unfinished::new().look(&[old], &writers), Look::Whole);
    let fresh = doubt(Some(now), Some((1000, 480)));
    let mut unfinished = Unfinished::new();
    for _ in 0..2 {
        let look = unfinished.look(std::slice::from_ref(&fresh), &writers);
        assert!(matches!(&look, Look::Wait(_, left, Until::Still) if *left > STILL_FOR / 2), "{look:?}");
    }
    assert_eq!(unfinished.told, [fresh], "told once");
}

#[test]
fn a_file_that_lost_a_setting_is_waited_for() {
    let loss = Some(Loss::Setting("listeners.public.deny".to_owned()));
    let fresh = Doubt { loss, ..doubt(Some(SystemTime::now()), None) };
    let look = Unfinished::new().look(&[fresh], &Writers::default());
    assert!(matches!(look, Look::Wait(_, _, Until::Still)), "{look:?}");
}

#[test]
fn a_file_whose_time_is_in_the_future_is_waited_for_by_the_own_clock() {
    let writers = Writers::default();
    let ahead = doubt(SystemTime::now().checked_add(Duration::from_secs(3600)), Some((10, 4)));
    let mut unfinished = Unfinished::new();
    assert!(matches!(unfinished.look(std::slice::from_ref(&ahead), &writers), Look::Wait(..)));
    let began = Instant::now().checked_sub(STILL_FOR).unwrap();
    unfinished.seen.insert(ahead.path.clone(), (ahead.clone(), began));
    assert_eq!(unfinished.look(&[ahead], &writers), Look::Whole);
}

#[test]
fn a_list_that_keeps_changing_is_given_up() {
    let writers = Writers::default();
    let mut unfinished = Unfinished::new();
    unfinished.began = Instant::now().checked_sub(LONGEST_WAIT).unwrap();
    let fresh = doubt(Some(SystemTime::now()), Some((1000, 480)));
    assert_eq!(unfinished.look(&[fresh], &writers), Look::TooLong("list.txt".into()));
    let closed = doubt(Some(SystemTime::now()), None);
    assert_eq!(unfinished.look(&[closed], &writers), Look::Whole);
}

#[test]
fn numbers_have_a_comma_between_thousands() {
    for (number, text) in
        [(0, "0"), (480, "480"), (1000, "1,000"), (65_536, "65,536"), (1_234_567, "1,234,567")]
    {
        assert_eq!(grouped(number), text);
    }
}
