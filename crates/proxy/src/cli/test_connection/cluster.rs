//! The test of a cluster: each configured node, what it says of the cluster, and each node that the cluster has.

use std::sync::Arc;

use portcullis_config::{Address, Cluster, Credentials};
use portcullis_resp::slot::SLOTS;
use portcullis_resp::value::{Value, decode};
use portcullis_session::cluster::{Answer, AnswerFault, Map, Node, NodeIndex, Replies, Role};

use super::conversation::{Conversation, timed};
use super::dial::{Dialed, socket_of};
use super::report::{PartKind, Report};
use super::step::{Finding, Severity, Step, StepName, Trouble};
use super::upstream::{UpstreamTest, user_of};
use crate::upstream::cluster::facts::{count, ranges, role_word, text};
use crate::upstream::cluster::survey::reachable;
use crate::upstream::health::fault::{Fault, unasked};
use crate::upstream::view::Place;

/// The most nodes that are connected to, each on a line of its own.
const MOST_NODES: usize = 256;

/// A cluster under test.
pub(super) struct ClusterTest<'t, 'c> {
    pub(super) test: &'t UpstreamTest<'c>,
    pub(super) cluster: &'t Arc<Cluster>,
}

impl ClusterTest<'_, '_> {
    /// Tests the configured nodes, and then all nodes of the cluster. The upstream works if a node says that the cluster
    /// is well, all slots have an owner, and each owner serves the proxy.
    pub(super) async fn run(&self, report: &mut Report) {
        report.begin(PartKind::Upstream, self.test.upstream().name(), "cluster");
        let mut answers = Vec::new();
        for address in self.cluster.nodes() {
            answers.extend(self.configured(address, report).await);
        }
        // The first one counts among equals.
        let best = answers.iter().rev().max_by_key(|answer| (answer.is_ok(), answer.epoch()));
        let works = match best {
            Some(answer) => self.nodes(answer, report).await && answer.is_ok(),
            None => false,
        };
        report.end(works);
    }

    /// Tests a configured node. Returns what it says of the cluster.
    async fn configured(&self, address: &Address, report: &mut Report) -> Option<Answer> {
        let explain = |error| self.test.explain_configured(error);
        let address = self.cluster.reachable(address);
        for place in self.test.dial().resolve(address, &explain, report).await {
            match self.test.dial().dial(&place, &explain, report).await {
                Dialed::Connected(stream) => {
                    return self.ask(self.test.conversation(stream), address, report).await;
                }
                Dialed::Refused => {}
                Dialed::Insecure => return None,
            }
        }
        None
    }

    /// Logs in, sends PING, and asks for the state of the cluster.
    async fn ask(&self, mut node: Conversation, at: &Address, report: &mut Report) -> Option<Answer> {
        if let Some(credentials) = self.test.upstream().credentials() {
            let (result, took) = timed(node.log_in(credentials)).await;
            let step = Step::new(StepName::Auth, None, took);
            let name = user_of(credentials);
            if let Err(fault) = result {
                let step = Step { target: Some(format!("as {name}")), ..step };
                report.add(step.with(self.test.trouble(&fault)));
                return None;
            }
            report.add(step.found(Finding::User { name, behalf_of: None }));
        }
        let (reply, took) = timed(node.call("PING", &[b"PING"])).await;
        let step = self.test.ping(Step::new(StepName::Ping, None, took), reply);
        let answered = !step.failed();
        report.add(step);
        if !answered {
            return None;
        }
        let (answer, took) = timed(self.state(&mut node, at)).await;
        let step = Step::new(StepName::Cluster, None, took);
        match answer {
            Ok(answer) => {
                let finding = Finding::Cluster {
                    is_ok: answer.is_ok(),
                    epoch: answer.epoch(),
                    nodes: answer.nodes().len(),
                };
                report.add(step.found(finding).with((!answer.is_ok()).then(fails)));
                Some(answer)
            }
            Err(trouble) => {
                report.add(step.with(trouble));
                None
            }
        }
    }

    async fn state(&self, node: &mut Conversation, at: &Address) -> Result<Answer, Trouble> {
        let mut frames = Vec::new();
        for question in ["SLOTS", "NODES", "INFO"] {
            let frame = node.frame("CLUSTER", &[b"CLUSTER", question.as_bytes()]).await;
            frames.push(frame.map_err(|fault| self.test.trouble(&fault))?);
        }
        let [slots, nodes, info] = frames.as_slice() else { return Err(useless(AnswerFault::Refused)) };
        if let Ok(Value::Error(line)) = decode(slots) {
            return Err(self.refused(&line));
        }
        let asked = match at {
            Address::Host { host, .. } => host.as_str(),
            Address::Unix(_) => "",
        };
        Answer::read(&Replies { asked, slots, nodes: Some(nodes), info: Some(info) }).map_err(useless)
    }

    /// Explains an error reply to CLUSTER SLOTS.
    fn refused(&self, line: &[u8]) -> Trouble {
        let key = format!("upstreams.{}", self.test.upstream().name());
        if let Some(answer) = unasked(line) {
            return self.test.trouble(&Fault::Answer(answer));
        }
        if line.starts_with(b"NOAUTH") {
            let advice = format!("set {key}.credentials");
            return Trouble::failure("auth", "it requires a password, but none is configured", advice);
        }
        if line.starts_with(b"NOPERM") {
            let lacks = self.test.lacks_right("CLUSTER SLOTS", "+cluster|slots +cluster|nodes +cluster|info");
            return Trouble { severity: Severity::Failure, ..lacks };
        }
        let disabled = b"cluster support disabled";
        if line.windows(disabled.len()).any(|part| part == disabled) {
            let advice =
                format!("set {key}.address in place of cluster, or cluster-enabled yes in that Redis");
            return Trouble::failure("no_cluster", "it is no node of a cluster", advice);
        }
        useless(AnswerFault::Refused)
    }

    /// Tests each node that the cluster has, and the logins of users at the first owner of slots.
    async fn nodes(&self, answer: &Answer, report: &mut Report) -> bool {
        let owner = |slot| answer.owner(slot);
        let map = match Map::make(None, answer.epoch(), answer.nodes(), owner) {
            Ok(map) => map,
            Err(fault) => {
                let advice = "run CLUSTER NODES on one of the nodes: no node has an address";
                let step = Step::new(StepName::Slots, None, std::time::Duration::ZERO);
                report.add(step.with(Trouble::failure("protocol", fault.to_string(), advice)));
                return false;
            }
        };
        let slots = ranges(&map);
        let of = |node: &Node| slots.get(&node.index()).map(Vec::as_slice).unwrap_or_default();
        let mut works = true;
        let mut first: Option<Place> = None;
        for node in map.nodes().iter().take(MOST_NODES) {
            let own = of(node);
            let (reached, took) = timed(self.reach(node)).await;
            let step = Step::new(StepName::Node, node.address.to_string(), took);
            match reached {
                Ok(place) => {
                    let reached_at = socket_of(&place);
                    let finding = Finding::Node {
                        id: node.id().to_owned(),
                        role: role_word(node.role),
                        slots: text(own),
                        count: count(own),
                        reached_at,
                    };
                    report.add(step.found(finding));
                    if !own.is_empty() && first.is_none() {
                        first = Some(place);
                    }
                }
                Err(trouble) => {
                    // The keys of its slots cannot be reached. A replica has none.
                    works &= own.is_empty() && node.role == Role::Replica;
                    report.add(step.with(trouble));
                }
            }
        }
        report.add(uncovered(&map));
        works &= map.uncovered() == 0;
        match first {
            Some(place) => self.test.test_users(&place, report).await && works,
            None => false,
        }
    }

    /// Connects to a node as a session does, and logs in. Returns its place.
    async fn reach(&self, node: &Node) -> Result<Place, Trouble> {
        let address = reachable(self.cluster, node);
        let place = self.test.dial().place(&address).await;
        let stream = self.test.dial().quietly(&place).await.map_err(|error| self.test.explain(error))?;
        let mut talk = self.test.conversation(stream);
        if let Some(credentials) = self.test.upstream().credentials() {
            self.log_in(&mut talk, credentials).await?;
        }
        match talk.call("PING", &[b"PING"]).await {
            Ok(Value::Error(line)) => match unasked(&line) {
                Some(answer) => Err(self.test.trouble(&Fault::Answer(answer))),
                None => Ok(place),
            },
            Ok(_) => Ok(place),
            Err(fault) => Err(self.test.trouble(&fault)),
        }
    }

    async fn log_in(&self, talk: &mut Conversation, credentials: &Credentials) -> Result<(), Trouble> {
        talk.log_in(credentials).await.map_err(|fault| self.test.trouble(&fault))
    }
}

/// Returns the step about slots without an owner.
fn uncovered(map: &Map) -> Step {
    let mut missing: Vec<(u16, u16)> = Vec::new();
    for slot in (0..SLOTS).filter(|slot| map.owner(*slot).is_none()) {
        match missing.last_mut() {
            Some((_, end)) if *end + 1 == slot => *end = slot,
            _ => missing.push((slot, slot)),
        }
    }
    let owners: std::collections::HashSet<NodeIndex> =
        (0..SLOTS).filter_map(|slot| map.owner(slot)).collect();
    let step = Step::new(StepName::Slots, None, std::time::Duration::ZERO);
    let finding = Finding::Slots {
        covered: usize::from(SLOTS) - map.uncovered(),
        owners: owners.len(),
        missing: text(&missing),
    };
    let trouble = (!missing.is_empty()).then(|| {
        Trouble::failure(
            "uncovered",
            format!("{} slots have no owner: {}", map.uncovered(), shortened(&text(&missing))),
            "run redis-cli --cluster check on one of the nodes, and --cluster fix to give them an owner",
        )
    });
    step.found(finding).with(trouble)
}

/// Returns the beginning of a list that may be long.
fn shortened(list: &str) -> String {
    const SHOWN: usize = 200;
    match list.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", list.get(..at).unwrap_or_default()),
        None => list.to_owned(),
    }
}

fn fails() -> Trouble {
    Trouble::failure(
        "cluster_state",
        "this node says cluster_state:fail",
        "run redis-cli --cluster check on it: a slot has no master, or it does not see a majority of the masters",
    )
}

fn useless(fault: AnswerFault) -> Trouble {
    Trouble::failure("protocol", fault.to_string(), "check the version and the state of that server")
}
