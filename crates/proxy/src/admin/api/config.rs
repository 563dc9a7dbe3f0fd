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
    Acl, AuditPath, Config, Credentials, Limits, Listener, LogFormat, Overflow, Refusal, Reload, Upstream,
    User,
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
        "admin": Value::Null,
        "audit": {
            "on_overflow": match config.audit().on_overflow() { Overflow::Drop => "drop", Overflow::Block => "block" },
            "path": match config.audit().path() {
                AuditPath::Unset | AuditPath::Stdout => "stdout".to_owned(),
                AuditPath::Stderr => "stderr".to_owned(),
                AuditPath::File(path) => path.display().to_string(),
            },
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

fn upstream(upstream: &Upstream, access: Access) -> Value {
    let mut facts = json!({
        "name": upstream.name(),
        "connections": upstream.connections().as_str(),
        "tls": upstream.tls().is_some(),
        "connect_timeout_seconds": upstream.connect_timeout().as_secs_f64(),
        "response_timeout_seconds": seconds(upstream.response_timeout()),
        "resolve_every_seconds": upstream.resolve_every().as_secs_f64(),
        "credentials": upstream.credentials().map(|credentials| masked(credentials, access)),
    });
    if access.is_operator() {
        let addresses: Vec<String> = upstream.addresses().iter().map(ToString::to_string).collect();
        facts["addresses"] = addresses.into();
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
