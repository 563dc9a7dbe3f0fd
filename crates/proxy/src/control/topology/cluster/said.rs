//! The log lines about the nodes of a cluster. Each state is logged once, and so is its end.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_config::{Address, Upstream};
use portcullis_session::cluster::{Kept, Map, Node, Role, ServerFacts};

use super::line::NoAnswer;
use crate::metrics::UpstreamErrorKind;
use crate::upstream::cluster::survey::{Outcome, Reason};
use crate::upstream::health::fault::{Fault, Subject};

/// Rounds in a row without a decision before that is logged. After a failover the nodes need a moment.
const PATIENCE: u32 = 5;

/// The most addresses whose states are remembered. An address that left is forgotten with the others.
const MAX_REMEMBERED: usize = 8192;

/// The log lines that were written about one cluster.
#[derive(Debug)]
pub(super) struct Said {
    upstream: String,
    subject: Subject,
    /// The kind of the fault of each address that was logged. A node that hangs fails in several words.
    faults: HashMap<Address, UpstreamErrorKind>,
    /// The names that could not be looked up.
    unresolved: HashMap<Box<str>, Arc<str>>,
    /// The reason why the last rounds were not used, and how many these are.
    kept: Option<(Reason, u32)>,
    map: Option<Arc<Map>>,
    /// The number of commands that were learned from the nodes.
    learned: usize,
}

impl Said {
    pub(super) fn new(upstream: &Upstream) -> Self {
        Self {
            upstream: upstream.name().to_owned(),
            subject: Subject::servers_of(upstream),
            faults: HashMap::new(),
            unresolved: HashMap::new(),
            kept: None,
            map: None,
            learned: 0,
        }
    }

    /// Logs a question that was not answered, and the end of that.
    pub(super) fn answered(&mut self, node: &Address, failed: Option<&NoAnswer>) {
        let key = format!("upstreams.{}", self.upstream);
        let text = failed.map(|failed| match failed {
            NoAnswer::Fault(fault) => self.fault(node, fault),
            NoAnswer::NoCluster => {
                format!("{node} is no node of a cluster: {failed}; set {key}.address in place of {key}.cluster")
            }
            NoAnswer::Forbidden => {
                format!("cannot ask {node}: {failed}; add +cluster|slots +cluster|nodes +cluster|info to its ACL")
            }
            NoAnswer::Useless(_) => {
                format!("the answer of {node} is not used: {failed}; check the version and the state of that server")
            }
        });
        self.told(node, text.zip(failed.map(NoAnswer::kind)));
    }

    /// Logs a probe that failed, and the end of that.
    pub(super) fn probed(&mut self, node: &Address, failed: Option<&Fault>) {
        // A probe that succeeds does not end what a question has found.
        if let Some(fault) = failed {
            self.told(node, Some((self.fault(node, fault), fault.kind())));
        }
    }

    /// Logs a name that cannot be looked up, and the end of that.
    pub(super) fn found(&mut self, host: &str, failed: Option<&Arc<str>>) {
        let upstream = &self.upstream;
        match failed {
            Some(error) if self.unresolved.get(host) != Some(error) => {
                tracing::warn!(%upstream, "cannot resolve {host}: {error}; its last addresses, if any, are used");
                self.unresolved.insert(host.into(), Arc::clone(error));
            }
            None if self.unresolved.remove(host).is_some() => {
                tracing::info!(%upstream, "{host} resolves again");
            }
            Some(_) | None => {}
        }
    }

    /// Logs that nodes have commands which the proxy knows only from them.
    pub(super) fn learned(&mut self, server: &ServerFacts) {
        if server.len() > self.learned {
            let commands = server.len();
            tracing::info!(upstream = %self.upstream, commands, "learned the keys of commands from the nodes");
        }
        self.learned = server.len();
    }

    /// Logs a node whose commands fail from now on.
    pub(super) fn is_down(&self, node: &str) {
        let known = self.map.as_ref().and_then(|map| map.with_id(node).map(|node| node.address.to_string()));
        let at = known.unwrap_or_else(|| node.to_owned());
        tracing::warn!(upstream = %self.upstream, "node {at} is down: commands for its keys fail until it answers");
    }

    /// Logs a node that answers again.
    pub(super) fn is_up(&self, at: &Address) {
        tracing::info!(upstream = %self.upstream, "node {at} is up");
    }

    /// Logs the result of a round.
    pub(super) fn judged(&mut self, outcome: &Outcome, map: Option<&Arc<Map>>) {
        let upstream = &self.upstream;
        match outcome {
            Outcome::Changed => {
                let Some(map) = map else { return };
                self.log_map(map);
                self.map = Some(Arc::clone(map));
                self.kept = None;
            }
            Outcome::Confirmed => {
                if self.kept.take().is_some_and(|(reason, rounds)| rounds >= patience(reason)) {
                    tracing::info!(%upstream, "the nodes of the cluster agree with its map again");
                }
            }
            Outcome::Kept(reason) => {
                let rounds = match self.kept {
                    Some((known, rounds)) if known == *reason => rounds.saturating_add(1),
                    _ => 1,
                };
                self.kept = Some((*reason, rounds));
                if rounds == patience(*reason) {
                    tracing::warn!(%upstream, "the map of the cluster stays as it is: {reason}; {}", advice(*reason));
                }
            }
        }
    }

    fn fault(&self, node: &Address, fault: &Fault) -> String {
        format!("cannot ask node {node}: {fault}; {}", fault.advice_about(&self.subject))
    }

    fn told(&mut self, node: &Address, fault: Option<(String, UpstreamErrorKind)>) {
        let upstream = &self.upstream;
        match fault {
            Some((text, kind)) if self.faults.get(node) != Some(&kind) => {
                tracing::warn!(%upstream, %kind, "{text}");
                if self.faults.len() >= MAX_REMEMBERED {
                    self.faults.clear();
                }
                self.faults.insert(node.clone(), kind);
            }
            None if self.faults.remove(node).is_some() => {
                tracing::info!(%upstream, "node {node} answers again");
            }
            Some(_) | None => {}
        }
    }

    /// Logs what is new in a map. Slots that move alone are no news: there may be thousands of them.
    fn log_map(&self, map: &Map) {
        let upstream = &self.upstream;
        let count = |role: Role| map.nodes().iter().filter(|node| node.role == role).count();
        let (masters, replicas, uncovered) = (count(Role::Master), count(Role::Replica), map.uncovered());
        let nodes = |map: &Map| {
            let mut nodes: Vec<(Box<str>, Role)> =
                map.nodes().iter().map(|node: &Node| (node.id().into(), node.role)).collect();
            nodes.sort_by(|one, other| one.0.cmp(&other.0));
            nodes
        };
        let former = self.map.as_deref();
        if former.is_none_or(|former| nodes(former) != nodes(map) || former.uncovered() != uncovered) {
            tracing::info!(
                %upstream,
                epoch = map.epoch(),
                "the cluster has {masters} masters and {replicas} replicas; {uncovered} slots have no owner"
            );
        } else {
            tracing::debug!(%upstream, epoch = map.epoch(), "slots or addresses of the cluster have changed");
        }
    }
}

/// Returns the rounds after which a reason is logged. Two clusters do not become one by waiting.
const fn patience(reason: Reason) -> u32 {
    match reason {
        Reason::TwoClusters | Reason::Kept(Kept::OtherCluster | Kept::Fault(_)) => 1,
        Reason::Kept(Kept::NoAnswer | Kept::StateFail | Kept::LowerEpoch) => PATIENCE,
    }
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::TwoClusters => "keep the nodes of one cluster in cluster.nodes",
        Reason::Kept(Kept::OtherCluster) => {
            "name a node of that cluster in cluster.nodes if this upstream has moved there"
        }
        Reason::Kept(Kept::NoAnswer) => "see the lines about its nodes in this log",
        Reason::Kept(Kept::StateFail) => "run redis-cli --cluster check on one of its nodes",
        Reason::Kept(Kept::LowerEpoch) => "the nodes that know the cluster better do not answer: check them",
        Reason::Kept(Kept::Fault(_)) => "run CLUSTER NODES on one of its nodes",
    }
}
