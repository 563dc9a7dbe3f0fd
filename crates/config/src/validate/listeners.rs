//! The `listeners` list, with `listener_defaults` below each.

mod binds;
mod clusters;
mod openness;
mod presentation;
mod scripts;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_acl::{Access, PolicyBuilder};

use self::settings::Settings;
use super::bind;
use super::groups::{Closed, Groups};
use super::loops;
use super::upstreams::Upstreams;
use super::users::Users;
use crate::address::{AdminBind, Bind};
use crate::fields::Fields;
use crate::limits::Limits;
use crate::message::{Masked, message};
use crate::model::{Auth, Listener, ProxyProtocol, Refusal, Upstream};
use crate::problem::Position;
use crate::raw::{Node, Value};
use crate::scope::Scope;
use crate::value;
use crate::value::socket::Local;

/// The listeners that were read. A faulty one does not stop the check of the others.
pub(super) struct Listeners<'n> {
    list: Vec<Option<Read<'n>>>,
}

struct Read<'n> {
    /// Index in the policy.
    index: usize,
    name: &'n str,
    place: &'n Position,
    binds: Vec<(Local, Position)>,
    settings: Settings,
    limits: Limits,
    bound: Option<Vec<Bind>>,
}

pub(super) fn read<'n>(
    fields: &mut Fields<'n>,
    limits: &Limits,
    admin: Option<&AdminBind>,
    mut parts: Parts<'_, '_, '_, '_>,
) -> Listeners<'n> {
    let defaults = fields.take("listener_defaults").map(|node| parts.defaults(node)).unwrap_or_default();
    let mut listeners = Listeners { list: Vec::new() };
    let example =
        "add listeners: [{name: public, bind: \"127.0.0.1:6380\", upstream: main, allow: [office]}]";
    if let Some(node) = fields.need("listeners", example, &mut parts.scope.problems) {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => {
                let message = message!("listeners must be a list, not {}", node.kind());
                let is_mapping = matches!(node.value, Value::Map(_));
                let hint = if is_mapping {
                    "begin each listener with '- ', as in '- name: public'"
                } else {
                    example
                };
                parts.scope.problems.error(&node.place, message, hint);
                &[]
            }
        };
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            parts.scope.problems.error(&node.place, "no listeners", example);
        }
        for (index, node) in items.iter().enumerate() {
            let listener = parts.listener(index, node, &defaults, limits);
            listeners.list.push(listener);
        }
    }
    listeners.check_names(parts.scope);
    listeners.bind(admin, parts.scope);
    loops::report(admin, parts.scope);
    listeners.meet_presentations(parts.scope);
    listeners
}

/// The state that reading one listener needs.
pub(super) struct Parts<'p, 'g, 'u, 's> {
    pub(super) upstreams: &'p Upstreams<'u>,
    pub(super) users: &'p mut Users<'s>,
    pub(super) groups: &'p mut Groups<'g>,
    pub(super) policy: &'p mut PolicyBuilder,
    pub(super) scope: &'p mut Scope,
}

impl Parts<'_, '_, '_, '_> {
    fn defaults(&mut self, node: &Node) -> Settings {
        let Some(mut fields) = Fields::of(node, "listener_defaults", &mut self.scope.problems) else {
            return Settings::default();
        };
        for own in ["name", "bind"] {
            if let Some((place, _)) = fields.take_with_key(own) {
                let message = message!("'{}' cannot be a default", own);
                self.scope.problems.error(place, message, "set it in each listener");
            }
        }
        let settings = self.settings(&mut fields);
        fields.finish(&mut self.scope.problems);
        settings
    }

    fn listener<'n>(
        &mut self,
        index: usize,
        node: &'n Node,
        defaults: &Settings,
        limits: &Limits,
    ) -> Option<Read<'n>> {
        let Some(mut fields) = Fields::of(node, "listener", &mut self.scope.problems) else {
            self.policy.listener(Access::default());
            return None;
        };
        let name = self.name(&mut fields);
        let binds = fields
            .need("bind", "write bind: 127.0.0.1:6380", &mut self.scope.problems)
            .map(|node| self.binds(node))
            .unwrap_or_default();
        let settings = self.settings(&mut fields).over(defaults);
        fields.finish(&mut self.scope.problems);
        if settings.upstream.is_none() && !settings.broken {
            self.scope.problems.error(&node.place, "the listener has no 'upstream'", "write upstream: main");
        }
        let access = Access {
            name: name.unwrap_or_default().to_owned(),
            allow: settings.allow.as_ref().map(|(groups, _)| groups.clone()).unwrap_or_default(),
            deny: settings.deny.clone().unwrap_or_default(),
            shadow: settings.shadow.clone(),
            senders: settings.proxy_protocol.iter().flat_map(|(from, _)| from.clone()).collect(),
        };
        self.groups.denied(&access.deny);
        let shadow_deny = access.shadow.as_ref().and_then(|shadow| shadow.deny.as_deref());
        self.groups.close_to_hosts(&access.deny, Closed::Deny);
        self.groups.close_to_hosts(shadow_deny.unwrap_or_default(), Closed::ShadowDeny);
        self.groups.close_to_hosts(&access.senders, Closed::Senders);
        self.policy.listener(access);
        let limits = settings.limits.iter().fold(limits.clone(), |below, patch| patch.over(&below));
        Some(Read { index, name: name?, place: &node.place, binds, settings, limits, bound: None })
    }

    fn name<'n>(&mut self, fields: &mut Fields<'n>) -> Option<&'n str> {
        let node = fields.need("name", "write name: public", &mut self.scope.problems)?;
        let name = value::text(node, "name", &mut self.scope.problems)?;
        if let Some((message, hint)) = value::bad_name("listener", name) {
            self.scope.problems.error(&node.place, message, hint);
        }
        Some(name)
    }

    fn binds(&mut self, node: &Node) -> Vec<(Local, Position)> {
        let mut binds = Vec::new();
        for item in value::list(node) {
            if let Some(bind) = bind::read(item, self.scope) {
                binds.push((bind, item.place.clone()));
            }
        }
        if value::list(node).is_empty() {
            self.scope.problems.error(&node.place, "bind has no value", "write bind: 127.0.0.1:6380");
        }
        binds
    }
}

impl Listeners<'_> {
    pub(super) fn finish(self, upstreams: &[Arc<Upstream>]) -> Option<Vec<Arc<Listener>>> {
        self.list
            .into_iter()
            .map(|read| {
                let read = read?;
                if read.settings.broken {
                    return None;
                }
                let refusal = read.settings.refusal.unwrap_or(Refusal::Denied);
                Some(Arc::new(Listener {
                    index: read.index,
                    name: read.name.to_owned(),
                    binds: read.bound.filter(|bound| !bound.is_empty())?,
                    upstream: Arc::clone(upstreams.get(read.settings.upstream?)?),
                    refusal: if read.settings.tls.is_some() { refusal.without_words() } else { refusal },
                    auth: read.settings.auth.unwrap_or(Auth::Passthrough),
                    users: read.settings.users.map(|(users, _)| users).unwrap_or_default(),
                    acl: read.settings.acl,
                    inline_commands: read.settings.inline_commands.unwrap_or(true),
                    proxy_protocol: read.settings.proxy_protocol.map(|(_, only)| ProxyProtocol { only }),
                    presentation: read.settings.presentation.finish(),
                    limits: read.limits,
                    tls: read.settings.tls,
                }))
            })
            .collect()
    }

    fn check_names(&self, scope: &mut Scope) {
        let mut seen: HashMap<&str, &Position> = HashMap::new();
        for read in self.list.iter().flatten() {
            if let Some(first) = seen.get(read.name) {
                let name = Masked::name(read.name);
                let message =
                    message!("two listeners are named '{}', the first on line {}", name, first.line);
                scope.problems.error(read.place, message, "rename one of them");
            } else {
                seen.insert(read.name, read.place);
            }
        }
    }
}
