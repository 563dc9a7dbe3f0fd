use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use portcullis_config::{LoadOptions, Tcp, load};
use portcullis_resp::encode;

use super::*;
use crate::metrics::{Direction, ListenerCounts, Metrics, Names, UpstreamCounts};
use crate::upstream::view::Sockets;

const PASSWORD: &str = "canary-probe-77aa";

/// Loads a configuration with the upstream `main`.
fn config(dir: &Path, address: &str, auth: &str, credentials: &str) -> Config {
    std::fs::write(dir.join("password"), PASSWORD).unwrap();
    let yaml = format!(
        "listeners:\n  - {{name: public, bind: '127.0.0.1:6379', upstream: main, allow: [127.0.0.1], auth: {auth}}}\n\
         upstreams:\n  main:\n    address: {address}\n    connect_timeout: 300ms\n{credentials}"
    );
    let path = dir.join("portcullis.yaml");
    std::fs::write(&path, yaml).unwrap();
    load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}")).config
}

const CREDENTIALS: &str = "    credentials: {username: probe, password: {file: password}}\n";

/// A server with one script for each connection in turn. All later connections get the last script.
struct Server {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone, Copy)]
enum Script {
    /// Answers each read of the connection with this text.
    Answer(&'static [u8]),
    /// Writes this text at once, before it reads anything, and closes.
    Greet(&'static [u8]),
    /// Closes when the first bytes arrive.
    Close,
    /// Answers the first read with this text, then closes.
    Once(&'static [u8]),
    Silence,
}

impl Server {
    fn start(scripts: &'static [Script]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server =
            Self { addr: listener.local_addr().unwrap(), accepted: Arc::default(), asked: Arc::default() };
        let (accepted, asked) = (Arc::clone(&server.accepted), Arc::clone(&server.asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let index = accepted.fetch_add(1, Ordering::SeqCst).min(scripts.len() - 1);
                let asked = Arc::clone(&asked);
                thread::spawn(move || scripts[index].play(stream.unwrap(), &asked));
            }
        });
        server
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Script {
    fn play(self, mut stream: std::net::TcpStream, asked: &Mutex<Vec<u8>>) {
        if let Self::Greet(text) = self {
            let _ = stream.write_all(text);
            return;
        }
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            asked.lock().unwrap().extend_from_slice(&chunk[..n]);
            match self {
                Self::Answer(text) => stream.write_all(text).unwrap(),
                Self::Once(text) => return stream.write_all(text).unwrap(),
                Self::Close | Self::Greet(_) => return,
                Self::Silence => {}
            }
        }
    }
}

fn prober(config: &Config, login_required: bool) -> Prober {
    let upstream = config.upstreams()[0].clone();
    let view = ViewCell::of(&upstream);
    if !view.current().places().iter().all(|place| place.sockets != Sockets::Unknown) {
        let unresolved = Sockets::Unresolved("the name is unknown".into());
        view.set(Arc::new(view.current().next(vec![(0, unresolved)]).expect("a change")));
    }
    Prober::new(Target { upstream, tcp: Tcp::default(), login_required }, view)
}

fn series(metrics: &Arc<Metrics>) -> Series {
    let names =
        Names { listeners: vec!["public".into()], upstreams: vec!["main".into()], ..Names::default() };
    metrics.series(&names)
}

fn views(config: &Config) -> Vec<WatchedView> {
    config.upstreams().iter().map(|upstream| WatchedView::of(upstream, Arc::default())).collect()
}

/// Starts the probes of this configuration's upstreams, as the proxy does.
fn watched(config: &Config) -> (Arc<Metrics>, Arc<Health>, Probes) {
    let metrics = Metrics::new(1, Vec::new());
    let health = Arc::new(Health::default());
    let mut probes = Probes::new(Arc::clone(&health));
    probes.follow(config, &series(&metrics), &views(config));
    (metrics, health, probes)
}

/// Probes a server with this script once. Returns the kind of the failure, and its text with the advice.
async fn probe_once(
    script: &'static [Script],
    auth: &str,
    credentials: &str,
) -> Result<(), (UpstreamErrorKind, String)> {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(script);
    let config = config(dir.path(), &server.addr.to_string(), auth, credentials);
    let result = prober(&config, auth == "trust").probe().await;
    let subject = Subject::servers_of(&config.upstreams()[0]);
    result.map_err(|fault| (fault.kind(), format!("{fault}; {}", fault.advice_about(&subject))))
}

/// The `auth` modes, the credentials, the server's script, the expected kind of failure and a part of the expected
/// text.
type Row = (&'static str, &'static str, &'static [Script], Option<UpstreamErrorKind>, &'static str);

const BOTH: &str = "passthrough trust";

const ROWS: [Row; 19] = [
    (BOTH, "", &[Script::Answer(b"+PONG\r\n")], None, ""),
    (BOTH, CREDENTIALS, &[Script::Answer(b"+OK\r\n+PONG\r\n")], None, ""),
    ("passthrough", "", &[Script::Answer(b"-NOAUTH Authentication required.\r\n")], None, ""),
    (
        "trust",
        "",
        &[Script::Answer(b"-NOAUTH Authentication required.\r\n")],
        Some(UpstreamErrorKind::Auth),
        "set upstreams.main.credentials",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Answer(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n-NOAUTH x\r\n")],
        Some(UpstreamErrorKind::Auth),
        "correct upstreams.main.credentials",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Answer(b"-ERR invalid password\r\n-NOAUTH x\r\n")],
        Some(UpstreamErrorKind::Auth),
        "correct",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Answer(
            b"-ERR AUTH <password> called without any password configured for the default user.\r\n+PONG\r\n",
        )],
        Some(UpstreamErrorKind::Auth),
        "remove upstreams.main.credentials",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Answer(b"-ERR unknown command `AUTH`\r\n+PONG\r\n")],
        Some(UpstreamErrorKind::Auth),
        "right ones",
    ),
    (
        BOTH,
        "",
        &[Script::Answer(b"-LOADING Redis is loading the dataset in memory\r\n")],
        Some(UpstreamErrorKind::Loading),
        "wait",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Answer(b"+OK\r\n-LOADING Redis is\r\n")],
        Some(UpstreamErrorKind::Loading),
        "wait",
    ),
    (
        BOTH,
        "",
        &[Script::Greet(b"-ERR max number of clients reached\r\n")],
        Some(UpstreamErrorKind::Limit),
        "maxclients",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Greet(b"-ERR max number of clients reached\r\n")],
        Some(UpstreamErrorKind::Limit),
        "maxclients",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Greet(b"-DENIED Redis is running in protected mode because\r\n")],
        Some(UpstreamErrorKind::Refused),
        "protected-mode",
    ),
    (
        BOTH,
        "",
        &[Script::Answer(b"\x15\x03\x03\x00\x02\x02\x46")],
        Some(UpstreamErrorKind::Tls),
        "without TLS",
    ),
    (
        BOTH,
        "",
        &[Script::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")],
        Some(UpstreamErrorKind::Protocol),
        "speaks HTTP, not the Redis protocol; set upstreams.main.address to a Redis server",
    ),
    (
        BOTH,
        CREDENTIALS,
        &[Script::Greet(b"SSH-2.0-OpenSSH_9.2\r\n")],
        Some(UpstreamErrorKind::Protocol),
        "speaks SSH, not the Redis protocol",
    ),
    (BOTH, "", &[Script::Answer(b":1\r\n")], Some(UpstreamErrorKind::Protocol), "Redis server"),
    (BOTH, "", &[Script::Answer(b"+PONG\r\n+PONG\r\n")], Some(UpstreamErrorKind::Protocol), "Redis server"),
    (BOTH, "", &[Script::Answer(b"-BUSY Redis is busy running a script.\r\n")], None, ""),
];

#[tokio::test]
async fn what_redis_answers_decides() {
    for (auths, credentials, script, expected, advice) in ROWS {
        for auth in auths.split(' ') {
            let found = probe_once(script, auth, credentials).await;
            match (&found, expected) {
                (Ok(()), None) => {}
                (Err((kind, text)), Some(expected)) => {
                    assert!(*kind == expected && text.contains(advice), "{text}");
                    assert!(!text.contains(PASSWORD), "{text}");
                }
                _ => panic!("{expected:?}: {found:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_without_a_word_may_want_tls() {
    let (kind, advice) = probe_once(&[Script::Close], "trust", CREDENTIALS).await.unwrap_err();
    assert_eq!(kind, UpstreamErrorKind::Tls, "{advice}");
    // A server that restarts closes only one connection without a reply.
    static RESTARTING: [Script; 2] = [Script::Close, Script::Answer(b"-LOADING wait\r\n")];
    let (kind, advice) = probe_once(&RESTARTING, "trust", "").await.unwrap_err();
    assert_eq!(kind, UpstreamErrorKind::Loading, "{advice}");
}

#[tokio::test]
async fn silence_is_bounded_in_time_and_a_reply_in_size() {
    let started = Instant::now();
    let (kind, advice) = probe_once(&[Script::Silence], "trust", "").await.unwrap_err();
    assert_eq!(kind, UpstreamErrorKind::Timeout, "{advice}");
    assert!(advice.contains("upstreams.main.connect_timeout"), "{advice}");
    assert!((300..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

    static LONG: [u8; 100_000] = {
        let mut text = [b'x'; 100_000];
        text[0] = b'+';
        text
    };
    static SCRIPT: [Script; 1] = [Script::Answer(&LONG)];
    let (kind, advice) = probe_once(&SCRIPT, "trust", "").await.unwrap_err();
    assert_eq!(kind, UpstreamErrorKind::Protocol, "{advice}");
}

#[tokio::test]
async fn what_cannot_be_reached_says_which_key_to_correct() {
    let dir = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, kind, advice) in [
        (
            closed.to_string(),
            UpstreamErrorKind::Refused,
            "start Redis there, or correct upstreams.main.address",
        ),
        ("no-such-host.invalid:6379".into(), UpstreamErrorKind::Resolve, "correct upstreams.main.address"),
    ] {
        let config = config(dir.path(), &address, "trust", "");
        let fault = prober(&config, true).probe().await.unwrap_err();
        assert_eq!(fault.kind(), kind, "{fault}");
        let subject = Subject::servers_of(&config.upstreams()[0]);
        assert!(fault.advice_about(&subject).contains(advice), "{fault}");
    }
}

#[tokio::test]
async fn the_first_address_that_answers_is_taken_unix_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[Script::Answer(b"+PONG\r\n")]);
    let address = format!("['unix:{}/none.sock', '{}']", dir.path().display(), server.addr);
    let config = config(dir.path(), &address, "trust", "");
    assert!(prober(&config, true).probe().await.is_ok());
}

#[tokio::test]
async fn one_connection_is_kept_and_the_credentials_are_tried_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[Script::Answer(b"+OK\r\n+PONG\r\n")]);
    let config = config(dir.path(), &server.addr.to_string(), "trust", CREDENTIALS);
    let mut prober = prober(&config, true);
    for _ in 0..3 {
        prober.probe().await.unwrap();
    }
    assert_eq!(server.accepted(), 1);
    let mut once = Vec::new();
    encode::command(&mut once, &[b"AUTH", b"probe", PASSWORD.as_bytes()]);
    encode::command(&mut once, &[b"PING"]);
    assert_eq!(*server.asked.lock().unwrap(), once.repeat(3));
    assert!(!format!("{prober:?}").contains(PASSWORD));
}

#[tokio::test]
async fn a_kept_connection_that_is_gone_is_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[Script::Once(b"+PONG\r\n"), Script::Answer(b"+PONG\r\n")]);
    let config = config(dir.path(), &server.addr.to_string(), "trust", "");
    let mut prober = prober(&config, true);
    for _ in 0..3 {
        prober.probe().await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test(flavor = "local")]
async fn probes_feed_state_and_metrics_and_notice_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[Script::Greet(b"-LOADING wait\r\n"), Script::Answer(b"+PONG\r\n")]);
    let config = config(dir.path(), &server.addr.to_string(), "trust", "");
    let (metrics, health, probes) = watched(&config);
    assert_eq!(health.upstreams(), [("main".to_owned(), true, UpstreamHealth::Unknown)]);

    let state = || health.upstreams()[0].2;
    let until = async |wanted: fn(UpstreamHealth) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !wanted(state()) {
            assert!(Instant::now() < deadline, "{:?}", state());
            sleep(Duration::from_millis(10)).await;
        }
    };
    until(|state| matches!(state, UpstreamHealth::Down { kind: UpstreamErrorKind::Loading, .. })).await;
    assert!(metrics.render().contains("portcullis_upstream_up{upstream=\"main\"} 0\n"));
    until(|state| matches!(state, UpstreamHealth::Up { .. })).await;
    let page = metrics.render();
    assert!(page.contains("portcullis_upstream_up{upstream=\"main\"} 1\n"), "{page}");
    assert!(
        page.contains("portcullis_upstream_errors_total{upstream=\"main\",kind=\"loading\"} 1\n"),
        "{page}"
    );
    drop(probes);
}

#[tokio::test(flavor = "local")]
async fn what_clients_meet_with_brings_the_next_probe_forward() {
    let dir = tempfile::tempdir().unwrap();
    let server =
        Server::start(&[Script::Answer(b"+OK\r\n+PONG\r\n"), Script::Answer(b"-WRONGPASS no\r\n+PONG\r\n")]);
    let config = config(dir.path(), &server.addr.to_string(), "trust", CREDENTIALS);
    let (metrics, health, probes) = watched(&config);
    let counts = UpstreamCounts::new(Arc::clone(&series(&metrics).upstreams[0]), 0);
    let state = || health.upstreams()[0].2;
    while !matches!(state(), UpstreamHealth::Up { .. }) {
        sleep(Duration::from_millis(5)).await;
    }
    let started = Instant::now();
    counts.error(UpstreamErrorKind::Auth);
    while matches!(state(), UpstreamHealth::Up { .. }) {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    // A failure of a known kind does not bring the next probe forward.
    let known = server.accepted();
    counts.error(UpstreamErrorKind::Auth);
    sleep(Duration::from_millis(400)).await;
    assert_eq!(server.accepted(), known);
    drop(probes);
}

#[test]
fn the_time_of_a_state_is_when_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let health = Health::default();
    let watched = health.follow(&config(dir.path(), "127.0.0.1:1", "trust", "")).remove(0);
    let since = |health: &Health| match health.upstreams()[0].2 {
        UpstreamHealth::Up { since } | UpstreamHealth::Down { since, .. } => since,
        UpstreamHealth::Unknown => panic!("known by now"),
    };
    let pause = || thread::sleep(Duration::from_millis(2));
    assert_eq!(watched.found(Err(UpstreamErrorKind::Refused)), None);
    let down = since(&health);
    pause();
    let outage = watched.found(Err(UpstreamErrorKind::Auth)).expect("it was down before");
    assert_eq!(since(&health), down, "down all the time, whatever the reason");
    assert!(outage >= Duration::from_millis(2) && watched.found(Ok(())) >= Some(outage));
    let up = since(&health);
    assert!(up > down);
    pause();
    assert_eq!(watched.found(Ok(())), None);
    assert_eq!(since(&health), up);
}

#[test]
fn only_news_is_logged_and_another_advice_is_news() {
    let (start, seconds) = (tokio::time::Instant::now(), Duration::from_secs);
    let wrong = || Err(Fault::Answer(fault::Answer::WrongPassword));
    let dir = tempfile::tempdir().unwrap();
    let upstream = Arc::clone(&config(dir.path(), "127.0.0.1:1", "trust", "").upstreams()[0]);
    let lines = crate::log::captured(|| {
        let mut news = News::default();
        news.tell(&upstream, &wrong(), None, start);
        for second in [1, 59, 60, 61, 119, 120] {
            news.tell(&upstream, &wrong(), Some(seconds(second)), start + seconds(second));
        }
        let none = Err(Fault::Answer(fault::Answer::NoPasswordSet));
        news.tell(&upstream, &none, Some(seconds(121)), start + seconds(121));
        news.tell(&upstream, &Ok(()), Some(seconds(122)), start + seconds(122));
        for second in 123..200 {
            news.tell(&upstream, &Ok(()), None, start + seconds(second));
        }
    });
    let lines: Vec<_> = lines.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "ERROR upstream is down: Redis refused the user name or password; correct \
             upstreams.main.credentials upstream=main kind=auth",
            "ERROR upstream is down: Redis refused the user name or password; correct \
             upstreams.main.credentials upstream=main kind=auth down_seconds=60",
            "ERROR upstream is down: Redis refused the user name or password; correct \
             upstreams.main.credentials upstream=main kind=auth down_seconds=120",
            "ERROR upstream is down: a password is configured, but Redis has none for that user; remove \
             upstreams.main.credentials, or set a password (requirepass) in Redis upstream=main kind=auth \
             down_seconds=121",
            " INFO upstream is up upstream=main down_seconds=122",
        ]
    );
}

/// A Redis that runs a slow command for one client may leave a probe without an answer.
#[tokio::test(flavor = "local")]
async fn a_silent_probe_does_not_count_while_clients_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[Script::Once(b"+PONG\r\n"), Script::Silence]);
    let config = config(dir.path(), &server.addr.to_string(), "trust", "");
    let (metrics, health, probes) = watched(&config);
    let answered = ListenerCounts::new(Arc::clone(&series(&metrics).listeners[0]), 0);
    let state = || health.upstreams()[0].2;
    while !matches!(state(), UpstreamHealth::Up { .. }) {
        sleep(Duration::from_millis(5)).await;
    }
    // Enough for three silent probes, each of which takes the rest of its second and 300 ms.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        answered.bytes(Direction::FromUpstream, 5);
        assert!(matches!(state(), UpstreamHealth::Up { .. }), "clients are answered");
        sleep(Duration::from_millis(50)).await;
    }
    let errors = metrics.render();
    assert!(
        !errors.contains("portcullis_upstream_errors_total{upstream=\"main\",kind=\"timeout\"} 0\n"),
        "{errors}"
    );
    while !matches!(state(), UpstreamHealth::Down { kind: UpstreamErrorKind::Timeout, .. }) {
        sleep(Duration::from_millis(50)).await;
    }
    drop(probes);
}

#[tokio::test(flavor = "local")]
async fn what_suggests_that_the_upstream_has_moved_asks_for_a_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[Script::Answer(b"+PONG\r\n")]);
    let config = config(dir.path(), &server.addr.to_string(), "trust", "");
    let metrics = Metrics::new(1, Vec::new());
    let health = Arc::new(Health::default());
    let mut probes = Probes::new(Arc::clone(&health));
    let views = views(&config);
    probes.follow(&config, &series(&metrics), &views);
    while !matches!(health.upstreams()[0].2, UpstreamHealth::Up { .. }) {
        sleep(Duration::from_millis(5)).await;
    }
    let asked = || tokio::time::timeout(Duration::from_secs(10), views[0].hints.taken());
    let counts = UpstreamCounts::new(Arc::clone(&series(&metrics).upstreams[0]), 0);
    counts.error_reply(b"-WRONGTYPE Operation against a key\r\n");
    let wrong = tokio::time::timeout(Duration::from_millis(300), views[0].hints.taken());
    assert!(wrong.await.is_err(), "no reason to look again");
    counts.error_reply(b"-READONLY You can't write against a read only replica.\r\n");
    assert!(asked().await.is_ok_and(|given| given.has(Hint::Readonly)), "a replica");
    counts.error(UpstreamErrorKind::Refused);
    assert!(asked().await.is_ok(), "refused");
    drop(probes);
}

#[tokio::test(flavor = "local")]
async fn probes_of_an_upstream_that_stays_go_on_and_others_end() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) =
        (Server::start(&[Script::Answer(b"+PONG\r\n")]), Server::start(&[Script::Answer(b"+PONG\r\n")]));
    let first = config(dir.path(), &one.addr.to_string(), "trust", "");
    let metrics = Metrics::new(1, Vec::new());
    let health = Arc::new(Health::default());
    let mut probes = Probes::new(Arc::clone(&health));
    let views_of_first = views(&first);
    probes.follow(&first, &series(&metrics), &views_of_first);
    let up = async || {
        while !matches!(health.upstreams()[0].2, UpstreamHealth::Up { .. }) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    up().await;
    probes.follow(&first, &series(&metrics), &views_of_first);
    assert!(matches!(health.upstreams()[0].2, UpstreamHealth::Up { .. }), "what is known stays known");
    assert_eq!(one.accepted(), 1, "its connection too");
    let second = config(dir.path(), &other.addr.to_string(), "trust", "");
    probes.follow(&second, &series(&metrics), &views(&second));
    let deadline = Instant::now() + Duration::from_secs(10);
    while other.accepted() == 0 {
        assert!(Instant::now() < deadline, "nobody asks the new address");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(probes.running.len(), 1);
}
