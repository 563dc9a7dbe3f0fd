//! `/api/status`: the current state of the proxy.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::groups::host_facts;
use crate::admin::AdminState;
use crate::admin::answers::answer;
use crate::admin::guard::Access;
use crate::audit::RefusedSource;
use crate::generation::listener::{Listener, ListenerState};
use crate::generation::store::Generation;
use crate::log::Timestamp;
use crate::metrics::{RefusedReason, Sample, UpstreamErrorKind, UpstreamState};
use crate::run_on_thread::run_on_thread;
use crate::upstream::cluster::facts::{NodeFacts, count, text};
use crate::upstream::health::UpstreamHealth;

pub(in crate::admin) async fn status(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
) -> Response {
    answer(run_on_thread("page", move || state.status(access)).await)
}

/// `/api/upstreams`: the upstreams, with the nodes of clusters.
pub(in crate::admin) async fn upstreams(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
) -> Response {
    let facts = move || {
        let (generation, sample) = (state.process.store.current(), state.process.metrics.sample());
        json!({ "upstreams": all_upstreams(&state, &generation, access, &sample) })
    };
    answer(run_on_thread("page", facts).await)
}

impl AdminState {
    fn status(&self, access: Access) -> Value {
        let generation = self.process.store.current();
        let sample = self.process.metrics.sample();
        let listeners: Vec<Value> =
            generation.listeners().iter().map(|one| listener_facts(one, &generation, &sample)).collect();
        let hosts: Vec<Value> =
            generation.config().hosts().iter().map(|host| host_facts(&self.names, host)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "access": if access.is_operator() { "full" } else { "read" },
            "token": self.guard.load().has_token(),
            "started": Timestamp(self.started).to_string(),
            "uptime_seconds": self.started.elapsed().unwrap_or_default().as_secs(),
            "generation": generation.number(),
            "config": generation.config().path().display().to_string(),
            "workers": generation.workers(),
            "draining": self.is_draining(),
            "clients": self.process.seats.taken(),
            "limit_clients": generation.clients(),
            "listeners": listeners,
            "hosts": hosts,
            "upstreams": all_upstreams(self, &generation, access, &sample),
            "refused_sources": refused_sources(&self.process.audit.refused_last()),
            "refused_commands": refused_commands(self),
            "history": self.history().json(),
            "reloads": self.reloads().json(access),
        })
    }
}

fn listener_facts(listener: &Listener, generation: &Generation, sample: &Sample) -> Value {
    let (settings, state) = (listener.settings(), listener.state());
    let binds: Vec<String> = settings.binds().iter().map(ToString::to_string).collect();
    let counts = sample.listeners.iter().find(|counts| *counts.name == **listener.name());
    let refused: Map<String, Value> = RefusedReason::ALL
        .iter()
        .zip(counts.map(|counts| counts.refused.as_slice()).unwrap_or_default())
        .map(|(reason, n)| (reason.as_str().to_owned(), (*n).into()))
        .collect();
    json!({
        "name": **listener.name(),
        "binds": binds,
        "upstream": listener.upstream().name(),
        "auth": settings.auth().as_str(),
        "tls": settings.tls().is_some(),
        "clients": state.seat().taken(),
        "limit_clients": settings.limits().clients().min(generation.clients()),
        "accepted_total": counts.map_or(0, |counts| counts.accepted),
        "refused_total": counts.map_or(0, |counts| counts.refused_total()),
        "refused": refused,
        "auth_failures_total": counts.map_or(0, |counts| counts.auth_failures),
        "commands_total": counts.map_or(0, |counts| counts.work.commands),
        "denied_total": counts.map_or(0, |counts| counts.work.denied),
        "shadow": shadow(state, listener.has_shadow()),
    })
}

/// Returns null where the listener has no shadow lists, and no counts of earlier ones.
fn shadow(listener: &ListenerState, has_one: bool) -> Value {
    let denied = listener.series().shadow_denied_total();
    if !has_one && denied == 0 {
        return Value::Null;
    }
    let (sources, truncated) = listener.shadow().sources(SystemTime::now());
    let sources: Vec<Value> = sources
        .into_iter()
        .map(|(ip, seen)| {
            json!({
                "source": ip.map_or_else(|| "unix".to_owned(), |ip| ip.to_string()),
                "count": seen.count,
                "first_seen": Timestamp(seen.first).to_string(),
                "last_seen": Timestamp(seen.last).to_string(),
            })
        })
        .collect();
    json!({
        "denied_total": denied,
        "sources": sources,
        "sources_truncated": truncated,
    })
}

/// Returns the health, the connections and the errors of each upstream. Their addresses are for operators.
fn all_upstreams(state: &AdminState, generation: &Generation, access: Access, sample: &Sample) -> Vec<Value> {
    let mut upstreams = upstream_facts(state, sample);
    for facts in &mut upstreams {
        let mut configured = generation.config().upstreams().iter();
        let Some(upstream) = configured.find(|upstream| facts["name"] == upstream.name()) else { continue };
        facts["connections"]["kind"] = upstream.connections().as_str().into();
        facts["tls"] = upstream.tls().is_some().into();
        if upstream.is_cluster() {
            let nodes = state.health.nodes(upstream.name());
            facts["nodes"] =
                nodes.iter().flat_map(|nodes| nodes.iter()).map(|node| node_facts(node, access)).collect();
        }
        if access.is_operator() {
            let addresses: Vec<String> = upstream.addresses().iter().map(ToString::to_string).collect();
            facts["addresses"] = addresses.into();
            if upstream.is_sentinel() {
                facts["master"] = state.health.address(upstream.name()).into();
            }
        }
    }
    upstreams
}

/// Returns the facts of a node of a cluster. Its addresses are for operators.
fn node_facts(node: &NodeFacts, access: Access) -> Value {
    let mut facts = json!({
        "role": node.role,
        "slots": text(&node.slots),
        "slot_count": count(&node.slots),
        "health": node.health,
        "link": node.link,
    });
    if access.is_operator() {
        facts["id"] = node.id.clone().into();
        facts["address"] = node.address.clone().into();
        facts["reached_at"] = node.reached_at.clone().into();
    }
    facts
}

/// Returns the health, the connections and the errors of each upstream, without addresses.
pub(in crate::admin) fn upstream_facts(state: &AdminState, sample: &Sample) -> Vec<Value> {
    let shown = |(name, used, found): (String, bool, UpstreamHealth)| {
        let (up, kind, since) = match found {
            UpstreamHealth::Unknown => (None, None, None),
            UpstreamHealth::Up { since } => (Some(true), None, Some(since)),
            UpstreamHealth::Down { kind, since } => (Some(false), Some(kind.as_str()), Some(since)),
        };
        let counts = sample.upstreams.iter().find(|counts| counts.name == name);
        let connections: Map<String, Value> = UpstreamState::ALL
            .iter()
            .zip(counts.map(|counts| counts.connections.as_slice()).unwrap_or_default())
            .map(|(state, n)| (state.as_str().to_owned(), (*n).into()))
            .collect();
        let errors: Map<String, Value> = UpstreamErrorKind::ALL
            .iter()
            .zip(counts.map(|counts| counts.errors.as_slice()).unwrap_or_default())
            .map(|(kind, n)| (kind.as_str().to_owned(), (*n).into()))
            .collect();
        json!({
            "name": name, "used": used, "up": up, "kind": kind,
            "since": since.map(|since| Timestamp(since).to_string()),
            "connections": connections,
            "errors": errors,
            "failovers": state.failovers(&name),
            "sentinels": state.sentinels(&name).map(|sentinels| {
                json!({
                    "naming": sentinels.naming,
                    "configured": sentinels.configured,
                    "failovers": sentinels.failovers,
                })
            }),
        })
    };
    state.health.upstreams().into_iter().map(shown).collect()
}

/// Returns the sources that were refused last. `entry` is the entry that would admit the source: null where another
/// reason than the lists refused it.
fn refused_sources(refused: &[RefusedSource]) -> Vec<Value> {
    let shown = |source: &RefusedSource| {
        let address = source.ip.map_or_else(|| "unix".to_owned(), |ip| ip.to_string());
        let listed = matches!(source.reason, RefusedReason::NotAllowed | RefusedReason::Expired);
        json!({
            "source": address,
            "listener": *source.listener,
            "reason": source.reason.as_str(),
            "count": source.count,
            "first_seen": Timestamp(source.first).to_string(),
            "last_seen": Timestamp(source.last).to_string(),
            "entry": (listed && source.ip.is_some()).then_some(address),
        })
    };
    refused.iter().map(shown).collect()
}

fn refused_commands(state: &AdminState) -> Vec<Value> {
    let shown = state.process.metrics.denied_commands();
    let facts = shown.iter().map(|denied| {
        json!({
            "listener": denied.listener,
            "command": denied.command,
            "reason": denied.reason.as_str(),
            "count": denied.count,
        })
    });
    facts.collect()
}
