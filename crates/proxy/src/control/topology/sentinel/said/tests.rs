use portcullis_config::{LoadOptions, load};

use super::*;
use crate::upstream::sentinel::answer::Claim;

/// Returns what is said of an upstream with two sentinels.
fn said() -> Said {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let yaml = "listeners:\n  - {name: public, bind: '127.0.0.1:6379', upstream: main, allow: [127.0.0.1]}\n\
                upstreams: {main: {sentinel: {master: mymaster, nodes: ['127.0.0.1:1', '127.0.0.1:2']}}}\n";
    let path = directory.path().join("portcullis.yaml");
    std::fs::write(&path, yaml).expect("the scratch directory is writable");
    let loaded = load(&path, &LoadOptions::new()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let upstream = &loaded.config.upstreams()[0];
    Said::new(upstream, upstream.sentinel().expect("sentinels"))
}

fn names(host: &str, epoch: u64) -> Answer {
    Answer::Names(Claim { address: Address::Host { host: host.to_owned(), port: 6379 }, epoch })
}

/// Returns the log lines without their times.
fn lines(log: impl FnOnce()) -> Vec<String> {
    let lines = crate::log::captured(log);
    lines.lines().map(|line| line.split_once("Z ").expect("a time").1.trim_start().to_owned()).collect()
}

#[test]
fn each_state_of_a_sentinel_is_logged_once() {
    let lines = lines(|| {
        let mut said = said();
        for _ in 0..3 {
            said.answered(0, &Answer::UnknownMaster);
        }
        for _ in 0..3 {
            said.answered(0, &names("192.0.2.1", 1));
        }
        for _ in 1..ENDS {
            // A connection that ends is no news.
            said.failed(0, Line::Asking, &Fault::Lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        for _ in 0..3 {
            said.failed(
                0,
                Line::Asking,
                &Fault::Silent { command: "SENTINEL", limit: Duration::from_secs(2) },
            );
            said.failed(
                0,
                Line::Subscribed,
                &Fault::Silent { command: "PING", limit: Duration::from_secs(2) },
            );
        }
        said.answered(0, &names("192.0.2.1", 1));
        said.subscribed(0);
        for _ in 0..9 {
            said.failed(
                1,
                Line::Subscribed,
                &Fault::Silent { command: "PING", limit: Duration::from_secs(2) },
            );
        }
        said.subscribed(1);
    });
    let advice = "check whether the sentinel hangs or is overloaded, or raise upstreams.main.connect_timeout \
                  upstream=main kind=timeout";
    assert_eq!(
        lines,
        [
            "ERROR sentinel 127.0.0.1:1 monitors no master named 'mymaster'; correct upstreams.main.sentinel.master: \
             SENTINEL MASTERS lists the names that it knows upstream=main",
            "INFO sentinel 127.0.0.1:1 answers again upstream=main",
            &format!(
                "WARN cannot ask sentinel 127.0.0.1:1: connected, but no answer to SENTINEL within 2s; {advice}"
            ),
            "INFO sentinel 127.0.0.1:1 answers again upstream=main",
            &format!(
                "WARN cannot subscribe to the messages of sentinel 127.0.0.1:2: connected, but no answer to PING within \
                 2s; {advice}"
            ),
            "INFO the messages of sentinel 127.0.0.1:2 arrive again upstream=main",
        ]
    );
}

#[test]
fn a_disagreement_that_lasts_is_logged_and_so_is_its_end() {
    let lines = lines(|| {
        let mut said = said();
        let answers = [Some(names("192.0.2.1", 7)), Some(names("192.0.2.2", 8))];
        let claims = answers.iter().flatten().filter_map(|answer| match answer {
            Answer::Names(claim) => Some(claim.clone()),
            _ => None,
        });
        let round = Round::new(2, claims.collect());
        let master = Master { address: Address::Host { host: "192.0.2.1".to_owned(), port: 6379 }, epoch: 7 };
        for _ in 0..PATIENCE * 2 {
            said.judged(&answers, &round, &Outcome::Undecided, Some(&master));
        }
        said.judged(&answers, &round, &Outcome::Confirmed, Some(&master));
        said.judged(&[None, None], &Round::new(2, Vec::new()), &Outcome::Undecided, None);
    });
    assert_eq!(
        lines,
        [
            "WARN the sentinels disagree; 192.0.2.1:6379 stays; 127.0.0.1:1 names 192.0.2.1:6379 at epoch 7, 127.0.0.1:2 \
             names 192.0.2.2:6379 at epoch 8 upstream=main",
            "INFO the sentinels agree again; 192.0.2.1:6379 stays upstream=main",
            "WARN fewer than half of the sentinels name the master; no master is known upstream=main",
        ]
    );
}

#[test]
fn a_switch_says_from_where_to_where_and_by_which_sentinels() {
    let lines = lines(|| {
        let host = |host: &str, port| Address::Host { host: host.to_owned(), port };
        let answers = [Some(names("192.0.2.2", 8)), Some(names("192.0.2.1", 7))];
        let master = Master { address: host("192.0.2.2", 6379), epoch: 8 };
        let place = Place::before_lookup(&host("redis-2.example", 7002));
        said().moved(&answers, &master, Some(&host("192.0.2.1", 6379)), &place);
    });
    assert_eq!(
        lines,
        [
            "INFO the master is 192.0.2.2:6379 (was 192.0.2.1:6379), reached at redis-2.example:7002, as named by 127.0.0.1:1 \
          upstream=main epoch=8"
        ]
    );
}
