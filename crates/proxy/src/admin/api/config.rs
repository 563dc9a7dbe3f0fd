//! `/api/config`: the configuration in force, with its defaults and without secrets.
//!
//! The answer is made from the values that the proxy works with, not from the files, which may have changed since.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use portcullis_acl::List;
use portcullis_acl::rate::{Rate, SourceLimits};
use portcullis_config::{
    Acl, Address, Cluster, Config, Credentials, Limits, Listener, LogFormat, Observe, Presentation, Refusal,
    Reload, Sentinel, Upstream, User,
};
use serde_json::{Value, json};

use crate::admin::AdminState;
use crate::admin::answers::answer;
use crate::admin::guard::Access;
use crate::run_on_thread::run_on_thread;

/// The text in place of a secret.
const MASK: &str = "***";

pub(in crate::admin) async fn config(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
) -> Response {
    let made = run_on_thread("page", move || {
        let generation = state.process.store.current();
        let mut facts = facts(generation.config(), access);
        facts["generation"] = generation.number().into();
        facts["workers"] = generation.workers().into();
        facts["path"] = generation.config().path().display().to_string().into();
        facts["files"] = state.reloads().files().into();
        facts
    });
    answer(made.await)
}

/// Returns the configuration. What only an operator sees is left out for others: addresses of upstreams, user names at
/// upstreams, the endpoint's own address, and command rules, which have patterns of keys.
fn facts(config: &Config, access: Access) -> Value {
    let listeners = config.listeners().iter().map(|one| listener(config, one, access));
    let mut facts = json!({
        "listeners": listeners.collect::<Vec<_>>(),
        "upstreams": config.upstreams().iter().map(|one| upstream(one, access)).collect::<Vec<_>>(),
        "users": config.users().iter().map(|one| user(config, one, access)).collect::<Vec<_>>(),
        "limits": limits(config.limits()),
        "log": {
            "format": match config.log().format() { LogFormat::Text => "text", LogFormat::Json => "json" },
            "level": config.log().level().as_str(),
        },
        "reload": match config.reload() { Reload::Watch => "watch", Reload::Signal => "signal" },
        "observe": observe(config.observe()),
        "admin": Value::Null,
        "audit": {
            "path": config.audit().path().to_string(),
            "commands": config.audit().commands().as_str(),
            "keys": config.audit().keys().as_str(),
            "on_overflow": config.audit().on_overflow().as_str(),
        },
    });
    if let Some(admin) = config.admin() {
        facts["admin"] = json!({"token": admin.token().map(|_| MASK)});
        if access.is_operator() {
            facts["admin"]["bind"] = admin.bind().to_string().into();
        }
    }
    facts
}

fn listener(config: &Config, listener: &Listener, access: Access) -> Value {
    let list = |list: List| config.policy().listed(listener.index(), list);
    let shadow = config
        .policy()
        .has_shadow(listener.index())
        .then(|| json!({"allow": list(List::ShadowAllow), "deny": list(List::ShadowDeny)}));
    let proxy_protocol = listener
        .proxy_protocol()
        .map(|proxy_protocol| json!({"from": list(List::Senders), "only": proxy_protocol.only()}));
    let mut facts = json!({
        "name": listener.name(),
        "binds": listener.binds().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "upstream": listener.upstream().name(),
        "allow": list(List::Allow),
        "allow_entries": config.policy().allowed_entries(listener.index()),
        "deny": list(List::Deny),
        "shadow": shadow,
        "refusal": refusal(listener.refusal()),
        "auth": listener.auth().as_str(),
        "users": listener.users(),
        "inline_commands": listener.inline_commands(),
        "present_as": presented(listener.presentation()),
        "announce": listener.presentation().announce().map(|to| {
            Address::Host { host: to.host().to_owned(), port: to.port() }.to_string()
        }),
        "announce_master": listener.presentation().masters(),
        "proxy_protocol": proxy_protocol,
        "tls": listener.tls().is_some(),
        "limits": limits(listener.limits()),
    });
    if access.is_operator() {
        facts["acl"] = json!(listener.acl().map(Acl::text));
    }
    facts
}

fn refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied => "denied",
        Refusal::IllegalAddress => "illegal_address",
        Refusal::Close => "close",
        Refusal::Reset => "reset",
    }
}

/// Returns the words of `present_as`.
fn presented(presentation: &Presentation) -> Vec<&'static str> {
    let kinds = [
        ("standalone", presentation.is_standalone()),
        ("sentinel", presentation.is_sentinel()),
        ("cluster", presentation.is_cluster()),
    ];
    kinds.iter().filter(|(_, is_set)| *is_set).map(|(word, _)| *word).collect()
}

fn observe(observe: &Observe) -> Value {
    json!({
        "slow_seconds": seconds(observe.slow()),
        "large_bytes": observe.large(),
        "hot": if observe.hot() { "on" } else { "off" },
        "keys": observe.keys().as_str(),
    })
}

fn sentinel(sentinel: &Sentinel, access: Access) -> Value {
    let mut facts = json!({
        "tls": sentinel.tls().is_some(),
        "pause_seconds": seconds(sentinel.pause()),
        "credentials": sentinel.credentials().map(|credentials| masked(credentials, access)),
    });
    if access.is_operator() {
        facts["master"] = sentinel.master().into();
        facts["nodes"] = texts(sentinel.nodes());
    }
    facts
}

fn cluster(cluster: &Cluster, access: Access) -> Value {
    let mut facts = json!({"read_from": cluster.read_from().as_str()});
    if access.is_operator() {
        facts["nodes"] = texts(cluster.nodes());
    }
    facts
}

fn texts(addresses: &[Address]) -> Value {
    addresses.iter().map(ToString::to_string).collect()
}

/// Returns the reachable address for each announced one.
fn translations<'a>(pairs: impl Iterator<Item = (&'a Address, &'a Address)>) -> Value {
    Value::Object(pairs.map(|(from, to)| (from.to_string(), to.to_string().into())).collect())
}

fn upstream(upstream: &Upstream, access: Access) -> Value {
    let mut facts = json!({
        "name": upstream.name(),
        "connections": upstream.connections().as_str(),
        "tls": upstream.tls().is_some(),
        "connect_timeout_seconds": upstream.connect_timeout().as_secs_f64(),
        "response_timeout_seconds": seconds(upstream.response_timeout()),
        "resolve_every_seconds": upstream.resolve_every().as_secs_f64(),
        "failover_wait_seconds": seconds(upstream.failover_wait()),
        "sentinel": upstream.sentinel().map(|servers| sentinel(servers, access)),
        "cluster": upstream.cluster().map(|nodes| cluster(nodes, access)),
        "credentials": upstream.credentials().map(|credentials| masked(credentials, access)),
    });
    if access.is_operator() {
        facts["addresses"] = texts(upstream.addresses());
        let of_sentinel = upstream.sentinel().into_iter().flat_map(|servers| servers.translations());
        let of_cluster = upstream.cluster().into_iter().flat_map(|nodes| nodes.translations());
        facts["translate"] = translations(of_sentinel.chain(of_cluster));
    }
    facts
}

fn masked(credentials: &Credentials, access: Access) -> Value {
    if access.is_operator() {
        json!({"username": credentials.username(), "password": MASK})
    } else {
        json!({"password": MASK})
    }
}

fn user(config: &Config, user: &User, access: Access) -> Value {
    let from = user.from().map(|list| config.policy().listed_for_user(list));
    let mut facts = json!({
        "name": user.name(),
        "password": vec![MASK; user.secrets().len()],
        "from": from,
    });
    if access.is_operator() {
        let upstreams = config.upstreams().iter().map(|upstream| upstream.name());
        let own: Vec<&str> = upstreams.filter(|name| user.upstream_credentials(name).is_some()).collect();
        facts["acl"] = json!(user.acl().map(Acl::text));
        facts["upstream_credentials"] = own.into();
    }
    facts
}

fn limits(limits: &Limits) -> Value {
    let SourceLimits { clients, connects, auth_failures, block_for } = *limits.per_source();
    let rate =
        |rate: Option<Rate>| rate.map(|rate| format!("{}/{}s", rate.count(), rate.per().as_secs_f64()));
    let (timeouts, tcp) = (limits.timeouts(), limits.tcp());
    json!({
        "clients": limits.clients(),
        "per_source": {
            "clients": clients,
            "connects": rate(connects),
            "auth_failures": rate(auth_failures),
            "block_for_seconds": block_for.as_secs_f64(),
        },
        "bulk_bytes": limits.bulk(),
        "arguments": limits.arguments(),
        "inline_bytes": limits.inline(),
        "held_command_bytes": limits.held_command(),
        "client_output_buffer_bytes": limits.client_output_buffer(),
        "pattern_bytes": limits.costs().pattern,
        "count": limits.costs().count,
        "subscriptions": limits.costs().subscriptions,
        "buffers_bytes": limits.buffers(),
        "timeouts_seconds": {
            "proxy_header": timeouts.proxy_header().as_secs_f64(),
            "tls": timeouts.tls().as_secs_f64(),
            "login": seconds(timeouts.login()),
            "frame": seconds(timeouts.frame()),
            "idle": seconds(timeouts.idle()),
            "write": seconds(timeouts.write()),
            "drain": timeouts.drain().as_secs_f64(),
        },
        "tcp_seconds": {"keepalive": seconds(tcp.keepalive()), "user_timeout": seconds(tcp.user_timeout())},
    })
}

/// Returns the seconds; null stands for `off`.
fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

#[cfg(test)]
mod tests;
