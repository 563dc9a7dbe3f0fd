use super::*;
use crate::testing::config_of;

/// `a` is looked up every minute and kept for an hour; `b` is in two groups with different settings.
fn hosts() -> Vec<Host> {
    let yaml = "\
listeners: [{name: public, bind: '127.0.0.1:19', upstream: main, allow: [one, two]}]
upstreams: {main: {address: '127.0.0.1:1'}}
groups:
  one: [{host: a.example, refresh: 1m, keep: 1h}, {host: b.example, refresh: 2m, keep: 10m}]
  two: [{host: b.example, refresh: 5m, keep: 20m, private: true}]
";
    config_of(yaml).hosts().to_vec()
}

struct Clock {
    table: NameTable,
    hosts: Vec<Host>,
    start: Instant,
}

impl Clock {
    fn new() -> Self {
        let (table, hosts, start) = (NameTable::default(), hosts(), Instant::now());
        table.follow(&hosts, start);
        Self { table, hosts, start }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// The names whose lookups start at that second.
    fn starts(&self, seconds: u64) -> Vec<String> {
        std::iter::from_fn(|| self.table.start(self.at(seconds))).map(|name| name.to_string()).collect()
    }

    fn finish(&self, name: &str, result: Result<&[&str], NameError>, seconds: u64) -> (bool, Option<News>) {
        let host = self.hosts.iter().find(|host| host.name().as_str() == name).unwrap();
        let result = result.map(|ips| ips.iter().map(|ip| ip.parse().unwrap()).collect());
        self.table.finish(host.name(), result, (self.at(seconds), SystemTime::UNIX_EPOCH))
    }

    /// The addresses of the entries of that name, at that second.
    fn admitted(&self, name: &str, seconds: u64) -> Vec<Vec<String>> {
        let hosts = self.hosts.iter().filter(|host| host.name().as_str() == name);
        let admitted = hosts.map(|host| self.table.facts(host, self.at(seconds)).admitted.addresses);
        admitted.map(|list| list.iter().map(IpAddr::to_string).collect()).collect()
    }

    fn states(&self, seconds: u64) -> Vec<NameState> {
        self.hosts.iter().map(|host| self.table.facts(host, self.at(seconds)).state).collect()
    }

    fn next(&self, seconds: u64) -> Option<u64> {
        let next = self.table.next(&self.hosts, self.at(seconds))?;
        Some(next.duration_since(self.start).as_secs())
    }
}

fn refused() -> NameError {
    NameError::Lookup(LookupError::System("refused".to_owned()))
}

#[test]
fn each_name_is_looked_up_once_and_again_after_refresh() {
    let clock = Clock::new();
    assert!(clock.table.is_waiting());
    assert_eq!(clock.starts(0), ["a.example", "b.example"]);
    assert_eq!(clock.starts(1), [""; 0]);
    assert_eq!(clock.finish("a.example", Ok(&["203.0.113.9"]), 1), (true, None));
    assert_eq!(clock.finish("b.example", Ok(&["203.0.113.10", "10.0.0.1"]), 2), (true, None));
    assert!(!clock.table.is_waiting());
    assert_eq!(clock.admitted("b.example", 2), [vec!["203.0.113.10"], vec!["10.0.0.1", "203.0.113.10"]]);
    assert_eq!(clock.states(2), [NameState::Current; 3]);
    assert_eq!(clock.next(2), Some(61));
    assert_eq!((clock.starts(60), clock.starts(61)), (vec![], vec!["a.example".to_owned()]));
    // The shorter of two `refresh`.
    assert_eq!((clock.starts(121), clock.starts(122)), (vec![], vec!["b.example".to_owned()]));
    assert_eq!(
        clock.finish("b.example", Ok(&["10.0.0.1", "203.0.113.10"]), 123),
        (false, None),
        "another order"
    );
    assert_eq!(clock.finish("a.example", Ok(&["203.0.113.11"]), 123), (true, None));
    assert_eq!(clock.admitted("a.example", 123), [["203.0.113.11"]]);
    assert_eq!(clock.table.lookups(), (4, 0));
}

#[test]
fn the_last_good_answer_counts_for_keep_and_no_longer() {
    let clock = Clock::new();
    clock.starts(0);
    clock.finish("a.example", Ok(&["203.0.113.9"]), 0);
    clock.finish("b.example", Ok(&["203.0.113.10"]), 0);
    assert_eq!(clock.starts(60), ["a.example"]);
    assert_eq!(clock.finish("a.example", Err(refused()), 60), (false, Some(News::Fails(refused()))));
    assert_eq!(clock.states(60), [NameState::Stale, NameState::Current, NameState::Current]);
    // Retries come sooner than `refresh`, and are no news.
    assert_eq!((clock.starts(69), clock.starts(70)), (vec![], vec!["a.example".to_owned()]));
    assert_eq!(clock.finish("a.example", Err(refused()), 70), (false, None));
    assert_eq!((clock.starts(89), clock.starts(90)), (vec![], vec!["a.example".to_owned()]));
    clock.finish("a.example", Err(LookupError::NoAddress.into()), 90);
    assert_eq!(clock.admitted("a.example", 3599), [["203.0.113.9"]]);
    assert_eq!(clock.admitted("a.example", 3600), [[""; 0]]);
    assert_eq!(clock.states(3600)[0], NameState::Empty);
    assert_eq!(clock.table.left(&clock.hosts[0], clock.at(3590)), Some(Duration::from_secs(10)));
    // The same answer after that is a change.
    clock.starts(3600);
    assert_eq!(clock.finish("a.example", Ok(&["203.0.113.9"]), 3601), (true, Some(News::Answers)));
    assert_eq!(clock.admitted("a.example", 3601), [["203.0.113.9"]]);
}

#[test]
fn keep_is_that_of_each_entry() {
    let clock = Clock::new();
    clock.starts(0);
    clock.finish("a.example", Ok(&["203.0.113.9"]), 0);
    clock.finish("b.example", Ok(&["203.0.113.10"]), 0);
    clock.starts(120);
    clock.finish("b.example", Err(refused()), 120);
    assert_eq!(clock.admitted("b.example", 599), [["203.0.113.10"], ["203.0.113.10"]]);
    assert_eq!(clock.admitted("b.example", 600), [vec![], vec!["203.0.113.10"]]);
    assert_eq!(clock.admitted("b.example", 1200), [[""; 0], [""; 0]]);
}

#[test]
fn a_lookup_that_hangs_is_a_failure() {
    let clock = Clock::new();
    clock.starts(0);
    assert_eq!(clock.next(0), Some(10));
    assert_eq!(clock.table.tick(clock.at(9)), []);
    assert_eq!(clock.table.tick(clock.at(10)).len(), 2);
    assert_eq!(clock.table.tick(clock.at(11)), [], "told once");
    assert!(!clock.table.is_waiting());
    assert_eq!(clock.starts(100), [""; 0], "it still runs");
    // A late answer counts; a late failure is not another one.
    assert_eq!(clock.finish("a.example", Ok(&["203.0.113.9"]), 100), (true, Some(News::Answers)));
    assert_eq!(clock.finish("b.example", Err(refused()), 100), (false, None));
    assert_eq!(clock.table.facts(&clock.hosts[1], clock.at(100)).failures, 1);
    assert_eq!((clock.starts(109), clock.starts(110)), (vec![], vec!["b.example".to_owned()]));
    // It hangs again: the answer of `a` is too old an hour after it came.
    clock.starts(160);
    clock.table.tick(clock.at(170));
    assert_eq!(clock.next(180), Some(100 + 3600));
    assert_eq!(clock.admitted("a.example", 3699), [["203.0.113.9"]]);
    assert_eq!(clock.admitted("a.example", 3700), [[""; 0]]);
}

#[test]
fn a_lookup_that_gets_no_thread_is_a_failure() {
    let clock = Clock::new();
    assert_eq!(clock.table.start(clock.at(0)).unwrap().as_str(), "a.example");
    clock.finish("a.example", Ok(&["203.0.113.9"]), 0);
    assert_eq!(clock.table.tick(clock.at(10)).len(), 1);
    assert_eq!(clock.table.facts(&clock.hosts[1], clock.at(10)).error, Some(NameError::Late));
    assert_eq!(clock.next(10), Some(60), "the thread's end is waited for, not the time");
}

#[test]
fn a_reload_keeps_what_is_known_of_names_that_stay() {
    let clock = Clock::new();
    clock.starts(0);
    clock.finish("a.example", Ok(&["203.0.113.9"]), 0);
    clock.finish("b.example", Ok(&["203.0.113.10"]), 0);
    clock.table.follow(&clock.hosts[..1], clock.at(5));
    assert_eq!(clock.admitted("a.example", 5), [["203.0.113.9"]]);
    assert_eq!(clock.admitted("b.example", 5), [[""; 0], [""; 0]]);
    assert_eq!(clock.finish("b.example", Ok(&["203.0.113.10"]), 6), (false, None), "nothing waits for it");
    clock.table.follow(&clock.hosts, clock.at(7));
    assert_eq!(clock.starts(7), ["b.example"], "it is new");
    assert_eq!(clock.starts(59), [""; 0]);
    assert_eq!(clock.starts(60), ["a.example"]);
}

#[test]
fn a_long_answer_is_cut() {
    let many: Vec<IpAddr> = (0..=u16::MAX)
        .rev()
        .map(|n| IpAddr::from(0xcb00_7100_u32.wrapping_add(n.into()).to_be_bytes()))
        .collect();
    let kept = sorted(many);
    assert_eq!(kept.len(), KEPT);
    assert_eq!(kept[0], IpAddr::from([203, 0, 113, 0]));
}
