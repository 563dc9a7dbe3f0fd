use std::fmt::Write as _;

use portcullis_session::cluster::{NodeIndex, Replies};

use super::*;
use crate::process::hints::Hints;

const LIMIT: Duration = Duration::from_secs(2);

/// What a node says: the owner of each third of the slots, by port. 0: nobody.
#[derive(Clone, Debug)]
struct Opinion {
    /// The first letter of all ids of the cluster.
    cluster: char,
    epoch: u64,
    is_ok: bool,
    owners: [u16; 3],
}

impl Opinion {
    const fn new(epoch: u64, owners: [u16; 3]) -> Self {
        Self { cluster: 'a', epoch, is_ok: true, owners }
    }

    /// Returns the answer of the node at a port. Each node knows the ports 7000 to 7004.
    fn answer(&self, port: u16) -> Answer {
        const THIRDS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];
        let owned: Vec<_> = THIRDS.iter().zip(self.owners).filter(|(_, owner)| *owner != 0).collect();
        let mut slots = format!("*{}\r\n", owned.len());
        for ((start, end), owner) in owned {
            let id = id(self.cluster, owner);
            let entry = format!("*4\r\n$9\r\n127.0.0.1\r\n:{owner}\r\n$40\r\n{id}\r\n*0\r\n");
            write!(slots, "*3\r\n:{start}\r\n:{end}\r\n{entry}").expect("a string takes all");
        }
        let mut nodes = String::new();
        for known in 7000..7005 {
            let flags = if known == port { "myself,master" } else { "master" };
            let id = id(self.cluster, known);
            writeln!(nodes, "{id} 127.0.0.1:{known}@1 {flags} - 0 0 1 connected")
                .expect("a string takes all");
        }
        let state = if self.is_ok { "ok" } else { "fail" };
        let info = format!("cluster_state:{state}\r\ncluster_current_epoch:{}\r\n", self.epoch);
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len()).into_bytes();
        let (nodes, info) = (bulk(&nodes), bulk(&info));
        let replies =
            Replies { asked: "127.0.0.1", slots: slots.as_bytes(), nodes: Some(&nodes), info: Some(&info) };
        Answer::read(&replies).expect("an answer")
    }
}

fn id(cluster: char, port: u16) -> String {
    format!("{cluster}{port:039}")
}

fn node(port: u16) -> Address {
    Address::Host { host: "127.0.0.1".to_owned(), port }
}

fn port(asked: &Asked) -> u16 {
    match asked.address {
        Address::Host { port, .. } => port,
        Address::Unix(_) => 0,
    }
}

/// A survey of nodes that the test answers for.
struct Scene {
    survey: Survey,
    start: Instant,
    now: Instant,
}

const SAME: [u16; 3] = [7000, 7001, 7002];

impl Scene {
    fn new(nodes: &[u16]) -> Self {
        let now = Instant::now();
        let cluster = crate::upstream::cluster::tests::cluster(
            &nodes.iter().map(|port| node(*port)).collect::<Vec<_>>(),
            "",
        );
        Self { survey: Survey::new(&cluster, None, now), start: now, now }
    }

    /// Returns a survey that has its first map.
    fn with_map() -> Self {
        let mut scene = Self::new(&[7000]);
        assert!(matches!(scene.round(|_| Some(Opinion::new(5, SAME))).1, Outcome::Changed));
        scene
    }

    /// Waits until the next round is due, and answers all questions. Returns the ports that were asked, and the result.
    fn round(&mut self, opinion: impl Fn(u16) -> Option<Opinion>) -> (Vec<u16>, Outcome) {
        self.now = self.now.max(self.survey.due(LIMIT));
        self.round_now(opinion)
    }

    fn round_now(&mut self, opinion: impl Fn(u16) -> Option<Opinion>) -> (Vec<u16>, Outcome) {
        let (number, asked) = self.survey.begin(|_| true, self.now).expect("a round is due");
        for (index, asked) in asked.iter().enumerate() {
            let port = port(asked);
            self.survey.answered(number, index, opinion(port).map(|opinion| opinion.answer(port)));
        }
        let outcome = self.survey.end(LIMIT, false, self.now).expect("all have answered");
        (asked.iter().map(port).collect(), outcome)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Returns the time to the next round.
    fn pause(&self) -> Duration {
        self.survey.due(LIMIT).saturating_duration_since(self.now)
    }

    fn index(&self, port: u16) -> NodeIndex {
        let map = self.survey.map().expect("a map");
        map.with_id(&id('a', port)).expect("the node is known").index()
    }

    fn hint(&mut self, give: impl FnOnce(&Hints)) {
        let hints = Hints::default();
        give(&hints);
        let given = futures_now(hints.taken());
        self.survey.hinted(&given, self.now);
    }

    fn moved(&mut self, slot: u16, from: u16, to: u16) {
        let from = self.index(from);
        let to = Endpoint::new("127.0.0.1", to).expect("an endpoint");
        self.hint(|hints| hints.give_moved(Moved { slot, from, to }));
    }

    fn owner(&self, slot: u16) -> Option<u16> {
        let map = self.survey.map().expect("a map");
        map.owner(slot).and_then(|index| map.node(index)).map(|node| node.address.port())
    }
}

/// Returns the result of a future that is ready.
fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

#[test]
fn the_configured_nodes_give_the_first_map() {
    let mut scene = Scene::new(&[7000, 7001]);
    assert_eq!(scene.survey.condition(), Condition::Silent);
    let (asked, outcome) = scene.round(|port| (port == 7001).then(|| Opinion::new(5, SAME)));
    assert_eq!(asked, [7000, 7001]);
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
    assert_eq!([0, 6000, 16383].map(|slot| scene.owner(slot)), [Some(7000), Some(7001), Some(7002)]);
    assert_eq!(scene.survey.condition(), Condition::Ok);
}

#[test]
fn a_cluster_that_is_well_is_asked_every_ten_seconds() {
    let mut scene = Scene::with_map();
    let mut all = Vec::new();
    for _ in 0..3 {
        let (asked, outcome) = scene.round(|_| Some(Opinion::new(5, SAME)));
        assert!(matches!(outcome, Outcome::Confirmed), "{outcome:?}");
        assert_eq!((asked.len(), scene.pause()), (ASKED, EVERY));
        all.extend(asked);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, [7000, 7001, 7002, 7003, 7004], "each node has its turn");
}

/// A storm of hints costs at most ten rounds in a second, and the last hint is followed by one.
#[test]
fn a_storm_of_redirects_is_one_round_in_100_ms() {
    let mut scene = Scene::with_map();
    let mut rounds = 0;
    for millis in 0..1000 {
        scene.now = scene.start + Duration::from_millis(millis);
        for slot in 0..50 {
            scene.moved(slot, 7000, 7003);
        }
        if scene.survey.due(LIMIT) <= scene.now {
            let (asked, _) = scene.round_now(|_| Some(Opinion::new(5, SAME)));
            assert_eq!(asked[..2], [7000, 7003], "the node that redirected, and the one that it named");
            assert_eq!(asked.len(), ASKED);
            rounds += 1;
        }
    }
    assert!((9..=10).contains(&rounds), "{rounds}");
    assert!(scene.pause() <= APART, "a hint came after the begin of the last round");
}

#[test]
fn a_hint_during_a_round_begins_another_one() {
    let mut scene = Scene::with_map();
    scene.wait(EVERY);
    let (number, asked) = scene.survey.begin(|_| true, scene.now).expect("it is due");
    scene.wait(Duration::from_millis(20));
    scene.moved(0, 7000, 7003);
    for (index, asked) in asked.iter().enumerate() {
        scene.survey.answered(number, index, Some(Opinion::new(5, SAME).answer(port(asked))));
    }
    assert!(scene.survey.end(LIMIT, false, scene.now).is_some());
    assert_eq!(scene.pause(), Duration::from_millis(80));
    let (_, outcome) = scene.round(|_| Some(Opinion::new(6, [7003, 7001, 7002])));
    assert!(matches!(outcome, Outcome::Changed));
    assert_eq!((scene.owner(0), scene.pause()), (Some(7003), EVERY), "the map explains the redirect");
}

#[test]
fn a_redirect_that_the_map_does_not_explain_is_asked_about_again() {
    let mut scene = Scene::with_map();
    scene.wait(APART);
    scene.moved(0, 7000, 7003);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        scene.round(|_| Some(Opinion::new(5, SAME)));
        pauses.push(scene.pause().as_millis());
    }
    assert_eq!(pauses, [250, 500, 1000, 2000, 2000]);
    scene.wait(OPEN);
    scene.round_now(|_| Some(Opinion::new(5, SAME)));
    assert_eq!(scene.pause(), EVERY, "the redirect was wrong");
}

#[test]
fn slots_without_an_owner_and_silent_nodes_are_asked_about_again() {
    let mut scene = Scene::with_map();
    let (_, outcome) = scene.round(|_| Some(Opinion::new(6, [7000, 0, 7002])));
    assert!(matches!(outcome, Outcome::Changed));
    assert_eq!((scene.owner(6000), scene.pause()), (None, SOON));
    scene.round(|_| Some(Opinion::new(7, SAME)));
    assert_eq!(scene.pause(), EVERY);
    // A node of the map does not answer probes.
    scene.wait(EVERY);
    let (number, asked) = scene.survey.begin(|_| true, scene.now).expect("it is due");
    for (index, asked) in asked.iter().enumerate() {
        scene.survey.answered(number, index, Some(Opinion::new(7, SAME).answer(port(asked))));
    }
    assert!(scene.survey.end(LIMIT, true, scene.now).is_some());
    assert_eq!(scene.pause(), SOON);
}

#[test]
fn a_round_waits_300_ms_for_the_others_and_longer_for_the_first() {
    let mut scene = Scene::with_map();
    scene.wait(EVERY);
    let (number, _) = scene.survey.begin(|_| true, scene.now).expect("it is due");
    assert_eq!(scene.pause(), LIMIT);
    scene.survey.answered(number, 0, Some(Opinion::new(5, SAME).answer(7000)));
    assert_eq!(scene.pause(), ROUND);
    assert!(scene.survey.end(LIMIT, false, scene.now).is_none());
    scene.wait(ROUND);
    let outcome = scene.survey.end(LIMIT, false, scene.now);
    assert!(matches!(outcome, Some(Outcome::Confirmed)), "{outcome:?}");
    scene.survey.answered(number, 1, Some(Opinion::new(9, [0, 0, 0]).answer(7001)));
    assert_eq!(scene.owner(0), Some(7000), "a late answer does not count");
}

#[test]
fn the_map_stays_when_no_node_answers_or_all_see_a_failure() {
    let mut scene = Scene::with_map();
    let (_, outcome) = scene.round(|_| None);
    assert!(matches!(outcome, Outcome::Kept(Reason::Kept(Kept::NoAnswer))), "{outcome:?}");
    assert_eq!(scene.survey.condition(), Condition::Ok, "one round is no proof");
    let (asked, _) = scene.round(|_| None);
    assert_eq!((asked.len(), scene.survey.condition()), (ASKED, Condition::Silent));
    let fails = Opinion { is_ok: false, ..Opinion::new(99, [7001, 7001, 7001]) };
    let (asked, outcome) = scene.round(|_| Some(fails.clone()));
    assert_eq!(asked.len(), ASKED + 1, "a configured node is asked too");
    assert!(matches!(outcome, Outcome::Kept(Reason::Kept(Kept::StateFail))), "{outcome:?}");
    assert_eq!((scene.survey.condition(), scene.owner(0)), (Condition::Fails, Some(7000)));
    scene.round(|port| Some(if port == 7000 { fails.clone() } else { Opinion::new(6, SAME) }));
    assert_eq!((scene.survey.condition(), scene.owner(0)), (Condition::Ok, Some(7000)));
}

#[test]
fn nodes_of_two_clusters_make_no_map() {
    let other = Opinion { cluster: 'b', ..Opinion::new(5, SAME) };
    let mut scene = Scene::new(&[7000, 7001]);
    let of_both = |port| Some(if port == 7000 { Opinion::new(5, SAME) } else { other.clone() });
    let (_, outcome) = scene.round(of_both);
    assert!(matches!(outcome, Outcome::Kept(Reason::TwoClusters)), "{outcome:?}");
    assert!(scene.survey.map().is_none());
    // With a map, only the nodes of its cluster count, although the other one is configured and has a higher epoch.
    scene.round(|port| (port == 7000).then(|| Opinion::new(5, SAME)));
    let other = Opinion { epoch: 50, ..other };
    let (_, outcome) =
        scene.round(|port| Some(if port == 7001 { other.clone() } else { Opinion::new(5, SAME) }));
    assert!(matches!(outcome, Outcome::Confirmed), "{outcome:?}");
    assert!(scene.survey.map().is_some_and(|map| map.with_id(&id('a', 7000)).is_some()));
}

/// An address that a former node had may belong to another cluster now, unless the configuration names it.
#[test]
fn another_cluster_is_taken_from_configured_nodes_only() {
    let other = Opinion { cluster: 'b', ..Opinion::new(50, SAME) };
    let mut scene = Scene::with_map();
    let (_, outcome) = scene.round(|port| (port != 7000).then(|| other.clone()));
    assert!(matches!(outcome, Outcome::Kept(Reason::Kept(Kept::OtherCluster))), "{outcome:?}");
    let mut answered = false;
    for _ in 0..4 {
        let (asked, outcome) = scene.round(|_| Some(other.clone()));
        answered |= asked.contains(&7000);
        assert_eq!(matches!(outcome, Outcome::Changed), asked.contains(&7000), "{asked:?} {outcome:?}");
        if answered {
            break;
        }
    }
    assert!(answered);
}

#[test]
fn translate_may_name_any_address_of_a_node() {
    let announced = Endpoint::new("node.example", 7000).expect("an endpoint");
    let inner = Endpoint::new("10.0.0.1", 7000).expect("an endpoint");
    let nodes = [portcullis_session::cluster::Announced {
        id: "a".into(),
        address: Some(announced.clone()),
        names: vec![announced, inner],
        role: Role::Master,
        migrating: Vec::new(),
        master: None,
    }];
    let map = Map::make(None, 1, &nodes, |_| Some(0)).expect("a map");
    let cluster = |translate: &str| crate::upstream::cluster::tests::cluster(&[node(7000)], translate);
    let at = |translate: &str| reachable(&cluster(translate), &map.nodes()[0]).to_string();
    assert_eq!(at(""), "node.example:7000");
    assert_eq!(at("'10.0.0.1:7000': 'gate.example:7001'"), "gate.example:7001");
    assert_eq!(
        at("'node.example:7000': '192.0.2.1:7002', '10.0.0.1:7000': 'gate.example:7001'"),
        "192.0.2.1:7002"
    );
    assert_eq!(at("'10.0.0.1:7001': 'gate.example:7001'"), "node.example:7000");
}
