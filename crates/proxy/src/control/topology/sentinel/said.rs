//! The log lines about the sentinels of an upstream. Each state is logged once, and so is its end.

use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{Address, Sentinel, Upstream};

use super::node::Line;
use crate::upstream::health::fault::{Fault, Subject};
use crate::upstream::sentinel::answer::{Answer, Event};
use crate::upstream::sentinel::follow::Outcome;
use crate::upstream::sentinel::round::{Master, Round};
use crate::upstream::view::Place;

/// The rounds in a row in which the sentinels disagree before that is logged. After a failover they need a moment.
const PATIENCE: u32 = 5;

/// What was logged about the sentinels of one upstream.
#[derive(Debug)]
pub(super) struct Said {
    upstream: String,
    sentinel: Arc<Sentinel>,
    subject: Subject,
    /// The fault of each sentinel that was logged, of both connections.
    faults: Vec<Faults>,
    /// The rounds in a row without a decision.
    undecided: u32,
    /// Whether too few sentinels answered the last round.
    too_few: bool,
}

#[derive(Clone, Debug, Default)]
struct Faults {
    asking: Option<String>,
    subscribed: Option<String>,
    /// Failures in a row of each connection.
    unasked: u32,
    unsubscribed: u32,
}

/// The failures in a row after which the subscribed connection is news. While the other connection works, few mean that
/// the sentinel has just come or is about to go.
const ATTEMPTS: u32 = 5;

/// The connections in a row that end by themselves, after which that is news. A sentinel that restarts ends one.
const ENDS: u32 = 3;

impl Said {
    pub(super) fn new(upstream: &Upstream, sentinel: &Arc<Sentinel>) -> Self {
        Self {
            upstream: upstream.name().to_owned(),
            sentinel: Arc::clone(sentinel),
            subject: Subject::sentinels_of(upstream),
            faults: vec![Faults::default(); sentinel.nodes().len()],
            undecided: 0,
            too_few: false,
        }
    }

    /// Logs an answer that is no use, and the end of that.
    pub(super) fn answered(&mut self, node: usize, answer: &Answer) {
        let (Some(at), Some(faults)) = (self.sentinel.nodes().get(node), self.faults.get_mut(node)) else {
            return;
        };
        let (upstream, name) = (&self.upstream, self.sentinel.master());
        let key = format!("upstreams.{upstream}.sentinel");
        let fault = match answer {
            Answer::Names(_) => None,
            Answer::UnknownMaster => Some(format!(
                "sentinel {at} monitors no master named '{name}'; correct {key}.master: SENTINEL MASTERS lists the names \
                 that it knows"
            )),
            Answer::NotSentinel => {
                Some(format!("{at} is a Redis server and not a sentinel; set {key}.nodes to sentinels"))
            }
            Answer::Refused => Some(format!(
                "sentinel {at} wants a login, or another user; set {key}.credentials to a user who may run SENTINEL, \
                 SUBSCRIBE, PSUBSCRIBE and PING"
            )),
            Answer::Garbage => Some(format!(
                "sentinel {at} gives an answer that makes no sense; set {key}.nodes to sentinels"
            )),
        };
        faults.unasked = 0;
        if faults.asking == fault {
            return;
        }
        match &fault {
            Some(text) => tracing::error!(%upstream, "{text}"),
            None => tracing::info!(%upstream, "sentinel {at} answers again"),
        }
        faults.asking = fault;
    }

    /// Logs the failure of a connection. One that ends is no news: whether another can be made decides.
    pub(super) fn failed(&mut self, node: usize, line: Line, fault: &Fault) {
        let (Some(at), Some(faults)) = (self.sentinel.nodes().get(node), self.faults.get_mut(node)) else {
            return;
        };
        let (upstream, advice) = (&self.upstream, fault.advice_about(&self.subject));
        let (text, slot) = match line {
            Line::Asking => {
                faults.unasked = faults.unasked.saturating_add(1);
                if matches!(fault, Fault::Lost(_) | Fault::Tls { alert: false }) && faults.unasked < ENDS {
                    return;
                }
                (format!("cannot ask sentinel {at}: {fault}; {advice}"), &mut faults.asking)
            }
            Line::Subscribed => {
                faults.unsubscribed = faults.unsubscribed.saturating_add(1);
                if faults.asking.is_some() || faults.unsubscribed < ATTEMPTS {
                    return;
                }
                let text = format!("cannot subscribe to the messages of sentinel {at}: {fault}; {advice}");
                (text, &mut faults.subscribed)
            }
        };
        if slot.as_ref() != Some(&text) {
            tracing::warn!(%upstream, kind = %fault.kind(), "{text}");
            *slot = Some(text);
        }
    }

    pub(super) fn subscribed(&mut self, node: usize) {
        let (Some(at), Some(faults)) = (self.sentinel.nodes().get(node), self.faults.get_mut(node)) else {
            return;
        };
        faults.unsubscribed = 0;
        if faults.subscribed.take().is_some() {
            tracing::info!(upstream = %self.upstream, "the messages of sentinel {at} arrive again");
        }
    }

    pub(super) fn published(&self, node: usize, event: &Event) {
        if let Some(at) = self.sentinel.nodes().get(node) {
            tracing::debug!(upstream = %self.upstream, "sentinel {at}: {event:?}");
        }
    }

    /// Logs that the sentinels disagree, or that too few answer, and the end of each.
    pub(super) fn judged(
        &mut self,
        answers: &[Option<Answer>],
        round: &Round,
        outcome: &Outcome,
        master: Option<&Master>,
    ) {
        let upstream = &self.upstream;
        let kept = master
            .map_or_else(|| "no master is known".to_owned(), |master| format!("{} stays", master.address));
        let too_few = !round.has_half();
        if too_few != self.too_few {
            self.too_few = too_few;
            if too_few {
                tracing::warn!(%upstream, "fewer than half of the sentinels name the master; {kept}");
            } else {
                tracing::info!(%upstream, "at least half of the sentinels name the master again");
            }
        }
        let was_told = self.undecided >= PATIENCE;
        self.undecided = match outcome {
            Outcome::Undecided if !too_few => self.undecided.saturating_add(1),
            _ => 0,
        };
        let is_told = self.undecided >= PATIENCE;
        if is_told && !was_told {
            let claims = self.claims(answers);
            if round.agrees() {
                tracing::warn!(%upstream, "the server that the sentinels name says that it is a replica, or cannot be \
                    followed yet; {kept}; {claims}");
            } else {
                tracing::warn!(%upstream, "the sentinels disagree; {kept}; {claims}");
            }
        } else if was_told && !is_told {
            tracing::info!(%upstream, "the sentinels agree again; {kept}");
        }
    }

    /// Logs a master.
    pub(super) fn moved(
        &self,
        answers: &[Option<Answer>],
        master: &Master,
        from: Option<&Address>,
        place: &Place,
    ) {
        let Master { address, epoch } = master;
        let was = from.map(|from| format!(" (was {from})")).unwrap_or_default();
        let reached =
            if place.address == *address { String::new() } else { format!(", reached at {}", place.address) };
        let is_named = |answer: &Option<Answer>| matches!(answer, Some(Answer::Names(claim)) if claim.address.is_same_host(address));
        let named = answers.iter().zip(self.sentinel.nodes()).filter(|(answer, _)| is_named(answer));
        let by: Vec<String> = named.map(|(_, node)| node.to_string()).collect();
        tracing::info!(upstream = %self.upstream, epoch, "the master is {address}{was}{reached}, as named by {}", by.join(", "));
    }

    pub(super) fn paused(&self) {
        tracing::info!(upstream = %self.upstream, "a failover is in progress: commands are held");
    }

    pub(super) fn resumed(&self, time: Duration) {
        let milliseconds = time.as_millis();
        tracing::info!(upstream = %self.upstream, milliseconds, "commands are sent again");
    }

    fn claims(&self, answers: &[Option<Answer>]) -> String {
        let claims = answers.iter().zip(self.sentinel.nodes()).filter_map(|(answer, node)| match answer {
            Some(Answer::Names(claim)) => {
                Some(format!("{node} names {} at epoch {}", claim.address, claim.epoch))
            }
            _ => None,
        });
        claims.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests;
