use super::*;

#[test]
fn what_is_no_secret_is_shown() {
    for text in [
        "10.1.2.3/8",
        "010.0.0.1",
        "10.1/16",
        "10.0.0.0/255.0.0.0",
        "10.0.0.1 ",
        "::ffff:10.0.0.0/104",
        "2001:db8:1::/48",
        "[::ffff:10.0.0.1]:6379",
        "::1:6379",
        "*:6379",
        "localhost:6379",
        "6379",
        "0777",
        "1e6",
        "0x10",
        "1.5s",
        "10 s",
        "512MB",
        "50/1s",
        "1:20",
        "xml",
    ] {
        assert_eq!(Masked::of(text).to_string(), text);
    }
    assert_eq!(Masked::date_time("2026-13-01T00:00:00Z").to_string(), "2026-13-01T00:00:00Z");
    assert_eq!(Masked::of("fe80::1%eth0").to_string(), "fe80::1%***");
}

#[test]
fn the_rest_is_a_shape() {
    for (text, shape) in [
        ("hunter2", "***"),
        ("correct horse", "***"),
        ("redis://:hunter2@10.0.0.5", "redis://***@host"),
        ("REDISS://app:hunter2@redis.internal:6379/0", "rediss://***@host"),
        ("redis://app:hunter2@redis.internal:6379", "redis://***@host:port"),
        ("redis://hunter2", "redis://host"),
        ("hunter2://hunter3", "***://host"),
        ("hunter2@redis:6379", "***@host:port"),
        ("hunter2:6379", "host:port"),
        (">hunter2", ">***"),
        ("#5e884898da28047151d0e56f8dc62927", "#***"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2", "-----BEGIN ***"),
        ("123456", "***"),
        ("2008ford", "***"),
        ("12-34-56", "***"),
        ("1990-05-12", "***"),
        ("12:34:hunter", "***"),
        ("dead:beef:cafe1:1", "host:port"),
        ("dead:beef:cafe1:x", "***"),
        ("p\u{1b}[31m", "***"),
        ("", "***"),
    ] {
        assert_eq!(Masked::of(text).to_string(), shape, "{text}");
    }
}

#[test]
fn words_are_shown_where_they_are_close_to_one_that_is_meant() {
    let words = ["passthrough", "trust", "users"];
    for (text, shown) in
        [("trsut", "trsut"), ("Trust", "Trust"), ("user", "user"), ("hunter2", "***"), ("none", "***")]
    {
        assert_eq!(Masked::near(text, &words).to_string(), shown, "{text}");
    }
    let long = format!("trust{}", "x".repeat(5000));
    assert_eq!(Masked::near(&long, &words).to_string(), "***");
}

#[test]
fn names_of_files_and_variables_are_shown_but_no_content() {
    for path in [
        "/run/secrets/redis",
        "groups/office 1.txt",
        "/var/lib/kubelet/pods/6c84fb90-12c4-11e1-840d-7b25c5ee775a/..2026_11_29.1234/pw",
    ] {
        assert_eq!(Masked::path(Path::new(path)).to_string(), path);
    }
    for (path, shape) in [
        ("/etc/-----BEGIN PRIVATE KEY-----\nMC4CAQ\n", "-----BEGIN ***"),
        ("/etc/MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp-K06", "***"),
        ("/etc/redis://:hunter2@host", "***://***@host"),
        ("/etc/hunter2=", "***"),
    ] {
        assert_eq!(Masked::path(Path::new(path)).to_string(), shape);
    }
    assert_eq!(Masked::variable("REDIS_PASSWORD").to_string(), "REDIS_PASSWORD");
    assert_eq!(Masked::variable("redis://:hunter2@host").to_string(), "redis://***@host");
}

#[test]
fn of_a_foreign_line_the_known_words_are_shown() {
    let known = |word: &str| ["tcp-check", "send", "server"].contains(&word) || is_harmless(word);
    let line = |text: &str| Masked::line(text, known, |word| word == "send").to_string();
    assert_eq!(line("send tcp-check server=abc"), "send ***");
    assert_eq!(line("server server=abc"), "server server=***");
    assert_eq!(line("tcp-check send AUTH hunter2\\r\\n"), "tcp-check send ***");
    assert_eq!(line("server abc 10.0.0.5:6379 hunter2 3s"), "server *** 10.0.0.5:6379 *** 3s");
    assert_eq!(line(&"1s ".repeat(1000)).split(' ').count(), MOST_WORDS + 1);
}
