use std::path::{Path, PathBuf};

use portcullis_acl::UnixSeconds;
use proptest::prelude::*;

use super::*;
use crate::address::Address;

#[test]
fn durations() {
    for (text, millis) in
        [("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)]
    {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in [
        "",
        "s",
        "10",
        "10 s",
        "1.5s",
        "-1s",
        "+1s",
        "010s",
        "1e3s",
        "10S",
        "1w",
        "99999999999999999999s",
        "18446744073709551615d",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn durations_in_words_are_understood() {
    for (text, meant) in [
        ("5 minutes", "write 5m"),
        ("5 m", "write 5m"),
        ("1 hour", "write 1h"),
        ("90 Sec.", "write 90s"),
        ("2 weeks", "write 14d"),
        ("250 milliseconds", "write 250ms"),
        ("5min", "write 5m"),
    ] {
        assert_eq!(parse_duration(text), Err(meant.into()), "{text}");
        let shown = Masked::of(text).to_string();
        assert!(shown == text || text.contains('.'), "{shown}");
    }
    for (text, meant) in [
        ("50/s", Some((50, 1, "s"))),
        ("50 per second", Some((50, 1, "s"))),
        ("10 / minute", Some((10, 1, "m"))),
        ("10/5 minutes", Some((10, 5, "m"))),
        ("0/s", None),
        ("s/50", None),
        ("50", None),
    ] {
        assert_eq!(rate_meant(text), meant, "{text}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("1", 1),
        ("512B", 512),
        ("64KiB", 65_536),
        ("16MiB", 16 << 20),
        ("1GiB", 1 << 30),
        ("1TiB", 1 << 40),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for (text, hint) in
        [("10MB", "write 10MiB"), ("10k", "write 10KiB"), ("1gb", "write 1GiB"), ("10 MB", "write 10MiB")]
    {
        assert_eq!(parse_size(text), Err(hint.into()));
    }
    for text in ["", "KiB", "1.5MiB", "064KiB", "-1", "1 MiB", "18446744073709551615KiB", "1PiB"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    assert_eq!(show_size(512 << 20), "512MiB".into());
    assert_eq!(show_size(1_000), "1000".into());
}

#[test]
fn names() {
    for name in ["a", "office", "load_balancers", "b-2", "x9"] {
        assert_eq!(bad_name("group", name), None, "{name}");
    }
    for name in ["", "Office", "9x", "-a", "_a", "a.b", "a b", "é", "no", "on", "null", &"x".repeat(64)] {
        assert!(bad_name("group", name).is_some(), "{name}");
    }
}

#[test]
fn date_times() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-12-31T18:00:00Z", 1_798_740_000),
        ("2026-12-31T18:00:00+02:00", 1_798_732_800),
        ("2026-12-31t18:00:00.999z", 1_798_740_000),
        ("2024-02-29T23:59:60-00:30", 1_709_252_999),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ] {
        assert_eq!(time::parse(text), Ok(UnixSeconds(seconds)), "{text}");
    }
    for text in [
        "",
        "2026-12-31",
        "2026-12-31T18:00:00",
        "2026-12-31 18:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+2:00",
        "2026-01-01T00:00:00+0200",
        "2026-01-01T00:00:00+24:00",
        "+026-01-01T00:00:00Z",
        "2026-01-01T00:00:00ZZ",
        "２026-01-01T00:00:00Z",
    ] {
        assert!(time::parse(text).is_err(), "{text}");
    }
}

#[test]
fn addresses_to_connect_to() {
    let remote = |text: &str| socket::remote(text, Path::new("/etc/portcullis"));
    for text in ["redis:6379", "redis.internal.:6379", "10.0.0.7:1", "[2001:db8::7]:65535", "my_redis-1:6379"]
    {
        assert_eq!(remote(text).unwrap().to_string(), text);
    }
    assert_eq!(remote("unix:redis.sock"), Ok(Address::Unix(PathBuf::from("/etc/portcullis/redis.sock"))));
    assert_eq!(remote("unix:/run/redis.sock"), Ok(Address::Unix(PathBuf::from("/run/redis.sock"))));
    for text in [
        "",
        "redis",
        "redis:",
        "redis:0",
        "redis:+1",
        "redis:06379",
        "redis:65536",
        ":6379",
        "a b:6379",
        "[redis]:1",
        "[::1]",
        "[fe80::1%eth0]:1",
        "010.0.0.1:1",
        "10.1:1",
        "1:1",
        "redis://h:1",
        "-.-..:1",
        "unix:",
        "unix:/run/",
        "h\n:1",
    ] {
        assert!(remote(text).is_err(), "{text}");
    }
    assert!(remote(&format!("unix:/{}", "x".repeat(120))).is_err());
    assert!(remote(&format!("{}:1", "x".repeat(64))).is_err());
}

proptest! {
    /// The calendar itself is checked below, day by day.
    #[test]
    fn date_times_print_as_themselves(seconds in -62_135_596_800_i64..253_402_300_799) {
        prop_assert_eq!(time::parse(&time::show(UnixSeconds(seconds))), Ok(UnixSeconds(seconds)));
    }

    #[test]
    fn any_text_is_no_panic(text in any::<String>()) {
        let _ = (time::parse(&text), parse_duration(&text), parse_size(&text), bad_name("group", &text));
        let _ = (socket::local(&text, Path::new("/")), socket::remote(&text, Path::new("/")));
    }
}

#[test]
fn the_calendar_counts_every_day() {
    let mut days = 0;
    for year in 1970..2200 {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for (month, length) in
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].iter().enumerate()
        {
            for day in 1..=*length {
                let text = format!("{year}-{:02}-{day:02}T00:00:00Z", month + 1);
                assert_eq!(time::parse(&text), Ok(UnixSeconds(days * 86_400)), "{text}");
                assert_eq!(time::show(UnixSeconds(days * 86_400)), text);
                days += 1;
            }
        }
    }
}
