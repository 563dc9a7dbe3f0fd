use portcullis_session::cluster::Replies;

use super::*;
use crate::process::hints::Hints;
use crate::upstream::cluster::tests::cluster;
use crate::upstream::view::Condition;

const ID: &str = "07c37dfeb235213a872192d90877d0cd55635b91";
const OTHER: &str = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";
const LIMIT: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(30);

fn address(text: &str) -> Address {
    let (host, port) = text.rsplit_once(':').expect("a port");
    Address::Host { host: host.to_owned(), port: port.parse().expect("a number") }
}

/// Returns the answer of two masters, the first of which is announced at `first` and has the metadata host name `named`.
fn answer(first: &str, named: &str) -> Answer {
    let (host, port) = first.rsplit_once(':').expect("a port");
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let metadata = match named {
        "" => "*0\r\n".to_owned(),
        named => format!("*2\r\n{}{}", bulk("hostname"), bulk(named)),
    };
    let slots = format!(
        "*2\r\n*3\r\n:0\r\n:8191\r\n*4\r\n{}:{port}\r\n{}{metadata}*3\r\n:8192\r\n:16383\r\n*4\r\n{}:7001\r\n{}*0\r\n",
        bulk(host),
        bulk(ID),
        bulk("192.0.2.2"),
        bulk(OTHER)
    );
    let info = bulk("cluster_state:ok\r\ncluster_current_epoch:3\r\n");
    let replies =
        Replies { asked: "asked.example", slots: slots.as_bytes(), nodes: None, info: Some(info.as_bytes()) };
    Answer::read(&replies).expect("an answer")
}

/// A follower that has its first map.
struct Scene {
    follower: Follower,
    now: Instant,
}

impl Scene {
    fn new(nodes: &[&str], translate: &str, first: Answer) -> Self {
        let now = Instant::now();
        let nodes: Vec<Address> = nodes.iter().map(|node| address(node)).collect();
        let mut follower = Follower::new(&cluster(&nodes, translate), None, (EVERY, LIMIT), now);
        let work = follower.proceed(now);
        assert_eq!(work.ask.len(), nodes.len());
        let (asked, _) = &work.ask[0];
        follower.answered((work.round, 0), asked, Said::Answer(Box::new(first)), now);
        for (index, (asked, _)) in work.ask.iter().enumerate().skip(1) {
            follower.answered((work.round, index), asked, Said::Nothing, now);
        }
        let outcome = follower.proceed(now).outcome;
        assert!(matches!(outcome, Some(Outcome::Changed)), "{outcome:?}");
        Self { follower, now }
    }

    /// Returns the place of the first node in the next view.
    fn place(&mut self) -> (String, Sockets) {
        let view = self.follower.take_view().expect("a view");
        let index = view.map().with_id(ID).expect("the node").index();
        let place = view.place(index).expect("a place");
        (place.address.to_string(), place.sockets.clone())
    }

    fn is_down(&mut self) -> Option<bool> {
        let view = self.follower.take_view()?;
        let index = view.map().with_id(ID).expect("the node").index();
        Some(view.is_down(index))
    }
}

fn tcp(text: &str) -> Sockets {
    Sockets::Tcp(Box::new([text.parse().expect("a socket")]))
}

#[test]
fn the_view_follows_from_the_map() {
    let mut scene = Scene::new(&["192.0.2.1:7000"], "", answer("192.0.2.1:7000", ""));
    assert_eq!(scene.place(), ("192.0.2.1:7000".to_owned(), tcp("192.0.2.1:7000")));
    assert!(scene.follower.take_view().is_none(), "nothing has changed");
    let facts = scene.follower.facts(|_| "ok");
    assert_eq!(facts.len(), 2);
    let first = facts.iter().find(|facts| facts.id == ID).expect("the node");
    assert_eq!((first.role, first.health, first.slots.as_slice()), ("master", "up", [(0, 8191)].as_slice()));
}

#[test]
fn names_are_looked_up_after_translation() {
    let translate = "'192.0.2.1:7000': 'gate.example:9000'";
    let mut scene = Scene::new(&["192.0.2.9:7000"], translate, answer("192.0.2.1:7000", ""));
    assert_eq!(scene.place(), ("gate.example:9000".to_owned(), Sockets::Unknown));
    scene.follower.found("gate.example", Ok(vec!["198.51.100.1:0".parse().expect("an address")]));
    assert_eq!(scene.place(), ("gate.example:9000".to_owned(), tcp("198.51.100.1:9000")));
}

/// The order is: the name that the node announces, the configured one that leads to it, its address.
#[test]
fn the_name_for_the_certificate() {
    let mut scene = Scene::new(&["n.example:7000"], "", answer("192.0.2.1:7000", "node.example"));
    assert_eq!(scene.place(), ("node.example:7000".to_owned(), tcp("192.0.2.1:7000")));
    let mut scene = Scene::new(&["n.example:7000"], "", answer("192.0.2.1:7000", ""));
    assert_eq!(scene.place().0, "192.0.2.1:7000");
    scene.follower.found("n.example", Ok(vec!["192.0.2.1:0".parse().expect("an address")]));
    assert_eq!(scene.place().0, "n.example:7000");
}

#[test]
fn a_node_that_refuses_a_session_is_probed_and_then_down() {
    let mut scene = Scene::new(&["192.0.2.1:7000"], "", answer("192.0.2.1:7000", ""));
    assert_eq!(scene.is_down(), Some(false));
    let index = scene.follower.map().and_then(|map| map.with_id(ID)).expect("the node").index();
    let hints = Hints::default();
    hints.give_about(index, Hint::Refused);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let given = runtime.block_on(hints.taken());
    scene.follower.hinted(&given, scene.now);
    let probed = scene.follower.proceed(scene.now).probe;
    assert_eq!(probed.iter().map(|probe| &*probe.node).collect::<Vec<_>>(), [ID]);
    assert_eq!(scene.is_down(), None, "not yet");
    scene.now += Duration::from_secs(1);
    assert_eq!(scene.follower.proceed(scene.now).down, [Box::from(ID)]);
    assert_eq!(scene.is_down(), Some(true));
    assert!(scene.follower.probed(ID, &address("192.0.2.1:7000"), true, scene.now));
    assert_eq!(scene.is_down(), Some(false));
    let view = {
        scene.follower.is_changed = true;
        scene.follower.take_view().expect("a view")
    };
    assert_eq!(view.condition(), Condition::Ok);
}

/// A node that says what makes no sense is not silent.
#[test]
fn a_useless_answer_is_an_answer() {
    let mut scene = Scene::new(&["192.0.2.1:7000"], "", answer("192.0.2.1:7000", ""));
    scene.now += EVERY;
    let work = scene.follower.proceed(scene.now);
    assert!(!work.ask.is_empty());
    let (asked, place) = &work.ask[0];
    assert_eq!(place.address, asked.address);
    let node = asked.node.clone().expect("it is in the map");
    scene.follower.answered((work.round, 0), asked, Said::Useless, scene.now);
    assert_eq!(scene.follower.health.of(&node), NodeHealth::Up);
    scene.follower.answered((work.round, 0), asked, Said::Nothing, scene.now);
    assert_eq!(scene.follower.health.of(&node), NodeHealth::Failing);
}

/// The watcher sleeps until [`Follower::next`], so that it must be later than what was just done.
#[test]
fn the_watcher_never_spins() {
    let now = Instant::now();
    let mut follower = Follower::new(&cluster(&[address("192.0.2.1:7000")], ""), None, (EVERY, LIMIT), now);
    let later = now + EVERY;
    follower.proceed(now);
    follower.proceed(later);
    assert!(follower.next() > later, "without a map");
    let mut scene = Scene::new(&["192.0.2.1:7000"], "", answer("192.0.2.1:7000", ""));
    scene.follower.probed("a node that has left", &address("192.0.2.8:7000"), false, scene.now);
    for _ in 0..3 {
        scene.now += EVERY;
        scene.follower.proceed(scene.now);
        assert!(scene.follower.next() > scene.now);
        scene.follower.probed(ID, &address("192.0.2.1:7000"), false, scene.now);
    }
}

/// Sessions may still have connections to the place that the node has lost.
#[test]
fn a_place_that_a_node_has_lost_is_probed_and_then_silent() {
    let mut scene = Scene::new(&["192.0.2.1:7000"], "", answer("192.0.2.1:7000", ""));
    let index = scene.follower.map().and_then(|map| map.with_id(ID)).expect("the node").index();
    scene.now += EVERY;
    let work = scene.follower.proceed(scene.now);
    for (place, (asked, _)) in work.ask.iter().enumerate() {
        let said = Said::Answer(Box::new(answer("192.0.2.9:7000", "")));
        scene.follower.answered((work.round, place), asked, said, scene.now);
    }
    let probe = scene.follower.proceed(scene.now).probe;
    assert!(probe.iter().any(|probe| probe.address == address("192.0.2.1:7000")), "{probe:?}");
    let socket = "192.0.2.1:7000".parse().expect("a socket");
    let is_silent = |view: &ClusterView| view.is_silent(index, socket);
    assert!(!is_silent(&scene.follower.take_view().expect("a view")));
    scene.follower.probed(ID, &address("192.0.2.9:7000"), true, scene.now);
    scene.now += Duration::from_millis(250);
    scene.follower.proceed(scene.now);
    let view = scene.follower.take_view().expect("a view");
    assert!(is_silent(&view) && !view.is_down(index), "it answers at the other place");
    assert!(!view.is_silent(index, "192.0.2.9:7000".parse().expect("a socket")));
}
