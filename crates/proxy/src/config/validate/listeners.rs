//! The `listeners` list, with `listener_defaults` below each.

use std::collections::HashMap;
use std::net::SocketAddr;

use portcullis_acl::{Access, Family, GroupId, Policy, PolicyBuilder};

use super::groups::Groups;
use super::upstreams::Upstreams;
use crate::config::fields::Fields;
use crate::config::limits::{Limits, Patch};
use crate::config::load::Scope;
use crate::config::model::{AdminBind, Auth, Bind, Listener, Refusal};
use crate::config::problem::Place;
use crate::config::raw::{Node, Value};
use crate::config::value;
use crate::config::value::socket::{self, Local};

/// What was read. One listener with a fault leaves the others to be checked.
pub(super) struct Listeners<'n> {
    list: Vec<Option<Read<'n>>>,
}

struct Read<'n> {
    /// Index in the policy.
    index: usize,
    name: &'n str,
    place: &'n Place,
    binds: Vec<(Local, Place)>,
    settings: Settings,
    limits: Limits,
    bound: Option<Vec<Bind>>,
}

/// The keys that `listener_defaults` may set too. `None`: not set, or set wrongly, which has been noted.
#[derive(Clone, Debug, Default)]
struct Settings {
    upstream: Option<usize>,
    /// The groups, and where the list stands.
    allow: Option<(Vec<GroupId>, Place)>,
    deny: Option<Vec<GroupId>>,
    refusal: Option<Refusal>,
    auth: Option<Auth>,
    inline_commands: Option<bool>,
    allow_anonymous_internet: Option<bool>,
    limits: Vec<Patch>,
    /// A key was there with a value that cannot be used; no default may stand in for it.
    broken: bool,
}

pub(super) fn read<'n>(
    fields: &mut Fields<'n>,
    upstreams: &Upstreams<'_>,
    limits: &Limits,
    groups: &mut Groups<'_>,
    policy: &mut PolicyBuilder,
    admin: Option<&AdminBind>,
    scope: &mut Scope,
) -> Listeners<'n> {
    let mut parts = Parts { upstreams, groups, policy, scope };
    let defaults = fields.take("listener_defaults").map(|node| parts.defaults(node)).unwrap_or_default();
    let mut listeners = Listeners { list: Vec::new() };
    let example =
        "add listeners: [{name: public, bind: \"127.0.0.1:6380\", upstream: main, allow: [office]}]";
    if let Some(node) = fields.need("listeners", example, &mut parts.scope.problems) {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => {
                let message = format!("listeners must be a list, not {}", node.kind());
                parts.scope.problems.error(&node.place, message, example);
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
    listeners.check_names(scope);
    listeners.bind(admin, scope);
    listeners
}

/// What reading one listener needs.
struct Parts<'p, 'g, 'u> {
    upstreams: &'p Upstreams<'u>,
    groups: &'p mut Groups<'g>,
    policy: &'p mut PolicyBuilder,
    scope: &'p mut Scope,
}

impl Parts<'_, '_, '_> {
    fn defaults(&mut self, node: &Node) -> Settings {
        let Some(mut fields) = Fields::of(node, "listener_defaults", &mut self.scope.problems) else {
            return Settings::default();
        };
        for own in ["name", "bind"] {
            if let Some((place, _)) = fields.take_with_key(own) {
                let message = format!("'{own}' cannot be a default");
                self.scope.problems.error(place, message, "each listener has its own");
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
            self.scope.problems.error(&node.place, "listener without 'upstream'", "write upstream: main");
        }
        let access = Access {
            allow: settings.allow.as_ref().map(|(groups, _)| groups.clone()).unwrap_or_default(),
            deny: settings.deny.clone().unwrap_or_default(),
        };
        self.groups.check_deny(&access.deny, self.scope);
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

    fn binds(&mut self, node: &Node) -> Vec<(Local, Place)> {
        let mut binds = Vec::new();
        for item in value::list(node) {
            let Some(text) = value::text(item, "bind", &mut self.scope.problems) else { continue };
            match socket::local(text, &self.scope.base) {
                Ok(bind) => binds.push((bind, item.place.clone())),
                Err((message, hint)) => self.scope.problems.error(&item.place, message, hint),
            }
        }
        if value::list(node).is_empty() {
            self.scope.problems.error(&node.place, "bind has no value", "write bind: 127.0.0.1:6380");
        }
        binds
    }

    fn settings(&mut self, fields: &mut Fields<'_>) -> Settings {
        let mut settings = Settings::default();
        if let Some(node) = fields.take("upstream") {
            settings.upstream = self.upstreams.find(node, self.scope);
            settings.broken |= settings.upstream.is_none();
        }
        if let Some(node) = fields.take("allow") {
            settings.allow = Some((self.groups.list(node, self.policy, self.scope), node.place.clone()));
        }
        if let Some(node) = fields.take("deny") {
            settings.deny = Some(self.groups.list(node, self.policy, self.scope));
        }
        self.words(fields, &mut settings);
        if let Some(node) = fields.take("limits") {
            settings.limits.push(Patch::listener(node, &mut self.scope.problems));
        }
        let problems = &mut self.scope.problems;
        fields.not_yet("shadow", "", problems);
        fields.not_yet("users", "this version has auth: passthrough and auth: trust", problems);
        fields.not_yet("acl", "give the upstream's user the rules: ACL SETUSER", problems);
        fields.not_yet("announce", "", problems);
        fields.not_yet("proxy_protocol", "", problems);
        fields.not_yet("tls", "", problems);
        settings
    }

    fn words(&mut self, fields: &mut Fields<'_>, settings: &mut Settings) {
        let problems = &mut self.scope.problems;
        if let Some(node) = fields.take("refusal") {
            settings.refusal = value::word(node, "refusal", &REFUSALS, problems);
            settings.broken |= settings.refusal.is_none();
        }
        if let Some(node) = fields.take("auth") {
            let words =
                [("passthrough", Some(Auth::Passthrough)), ("trust", Some(Auth::Trust)), ("users", None)];
            let auth = value::word(node, "auth", &words, problems);
            if auth == Some(None) {
                problems.error(&node.place, "auth: users is not yet supported", "write passthrough or trust");
            }
            settings.auth = auth.flatten();
            settings.broken |= settings.auth.is_none();
        }
        if let Some(node) = fields.take("inline_commands") {
            settings.inline_commands = value::switch(node, "inline_commands", problems);
        }
        if let Some(node) = fields.take("allow_anonymous_internet") {
            settings.allow_anonymous_internet = value::switch(node, "allow_anonymous_internet", problems);
        }
        if let Some(node) = fields.take("present_as") {
            if value::list(node).is_empty() {
                problems.error(&node.place, "present_as has no value", "write present_as: [standalone]");
            }
            let words = [("standalone", true), ("sentinel", false), ("cluster", false)];
            for item in value::list(node) {
                if value::word(item, "present_as", &words, problems) == Some(false) {
                    problems.error(
                        &item.place,
                        "only present_as: [standalone] is supported yet",
                        "write standalone",
                    );
                }
            }
        }
    }
}

const REFUSALS: [(&str, Refusal); 4] = [
    ("denied", Refusal::Denied),
    ("illegal_address", Refusal::IllegalAddress),
    ("close", Refusal::Close),
    ("reset", Refusal::Reset),
];

impl Settings {
    /// These where set, else those of `below`; limits lie over each other key by key.
    fn over(self, below: &Self) -> Self {
        Self {
            upstream: self.upstream.or(below.upstream),
            allow: self.allow.or_else(|| below.allow.clone()),
            deny: self.deny.or_else(|| below.deny.clone()),
            refusal: self.refusal.or(below.refusal),
            auth: self.auth.or(below.auth),
            inline_commands: self.inline_commands.or(below.inline_commands),
            allow_anonymous_internet: self.allow_anonymous_internet.or(below.allow_anonymous_internet),
            limits: below.limits.iter().cloned().chain(self.limits).collect(),
            broken: self.broken || below.broken,
        }
    }
}

impl Listeners<'_> {
    /// Warns of listeners that admit nobody.
    pub(super) fn report_empty(&self, policy: &Policy, scope: &mut Scope) {
        for read in self.list.iter().flatten() {
            let name = read.name;
            match &read.settings.allow {
                None => {
                    let message = format!("listener '{name}' has no 'allow': it admits nobody");
                    scope.problems.warning(read.place, message, "write allow: [GROUP or address, ...]");
                }
                Some((_, place)) if policy.allowed_entries(read.index) == 0 => {
                    let message = format!("listener '{name}' has an empty 'allow': it admits nobody");
                    scope.problems.warning(place, message, "add a group or an address");
                }
                Some(_) => {}
            }
        }
    }

    /// Warns of lists that admit everybody; without a password that needs a word more.
    pub(super) fn judge_openness(&self, policy: &Policy, scope: &mut Scope) {
        for read in self.list.iter().flatten() {
            let Some((_, place)) = &read.settings.allow else { continue };
            let open = |family| policy.admits_all(read.index, family, scope.now);
            let whom = match (open(Family::V4), open(Family::V6)) {
                (true, true) => "the whole internet",
                (true, false) => "the whole IPv4 internet",
                (false, true) => "the whole IPv6 internet",
                (false, false) => continue,
            };
            let trust = read.settings.auth == Some(Auth::Trust);
            if trust && read.settings.allow_anonymous_internet != Some(true) {
                let message =
                    format!("listener '{}' admits {whom} without a password (auth: trust)", read.name);
                let hint = "name the networks, or write auth: passthrough; if it is meant, add allow_anonymous_internet: true";
                scope.problems.error(place, message, hint);
            } else {
                let how = if trust { " without a password" } else { "" };
                let message = format!("listener '{}' admits {whom}{how}", read.name);
                scope.problems.warning(place, message, "name the networks that need it");
            }
        }
    }

    /// What `auth` makes of an upstream's credentials.
    pub(super) fn meet_upstreams(&self, upstreams: &Upstreams<'_>, scope: &mut Scope) {
        let mut users: HashMap<usize, Vec<Auth>> = HashMap::new();
        for read in self.list.iter().flatten() {
            let Some(upstream) = read.settings.upstream else { continue };
            let auth = read.settings.auth.unwrap_or(Auth::Passthrough);
            users.entry(upstream).or_default().push(auth);
            let credentials = upstreams.get(upstream).and_then(|read| read.credentials);
            if auth == Auth::Trust && credentials.is_some() {
                let message = format!(
                    "listener '{}' trusts its clients with every command: CONFIG GET requirepass would show them the upstream's password",
                    read.name
                );
                let hint = "give the upstream a Redis user without dangerous commands: ACL SETUSER app on >... ~* &* +@all -@dangerous +info";
                scope.problems.warning(read.place, message, hint);
            }
        }
        for (index, read) in upstreams.iter().enumerate() {
            match (users.get(&index), read.credentials) {
                (None, _) => {
                    scope.problems.warning(
                        read.place,
                        format!("no listener uses upstream '{}'", read.name),
                        "",
                    );
                }
                (Some(auth), Some(place)) if !auth.contains(&Auth::Trust) => {
                    let message = "with auth: passthrough these credentials serve health checks only";
                    scope.problems.remark(place, message);
                }
                _ => {}
            }
        }
    }

    pub(super) fn finish(self) -> Option<Vec<Listener>> {
        self.list
            .into_iter()
            .map(|read| {
                let read = read?;
                if read.settings.broken {
                    return None;
                }
                Some(Listener {
                    name: read.name.to_owned(),
                    binds: read.bound.filter(|bound| !bound.is_empty())?,
                    upstream: read.settings.upstream?,
                    refusal: read.settings.refusal.unwrap_or(Refusal::Denied),
                    auth: read.settings.auth.unwrap_or(Auth::Passthrough),
                    inline_commands: read.settings.inline_commands.unwrap_or(true),
                    limits: read.limits,
                })
            })
            .collect()
    }

    fn check_names(&self, scope: &mut Scope) {
        let mut seen: HashMap<&str, &Place> = HashMap::new();
        for read in self.list.iter().flatten() {
            if let Some(first) = seen.get(read.name) {
                let message =
                    format!("two listeners named '{}', the first in line {}", read.name, first.line);
                scope.problems.error(read.place, message, "give one another name");
            } else {
                seen.insert(read.name, read.place);
            }
        }
    }

    /// Notes addresses that two binds want, and settles which of `[::]` are for IPv6 only.
    fn bind(&mut self, admin: Option<&AdminBind>, scope: &mut Scope) {
        let all: Vec<(Local, Place, &str)> = self
            .list
            .iter()
            .flatten()
            .flat_map(|read| read.binds.iter().map(|(bind, place)| (bind.clone(), place.clone(), read.name)))
            .collect();
        for (later, (bind, place, _)) in all.iter().enumerate() {
            if let Some((other, at, name)) = all[..later].iter().find(|(other, _, _)| collide(other, bind)) {
                let message = format!(
                    "{} is taken by {} of listener '{name}' (line {})",
                    show(bind),
                    show(other),
                    at.line
                );
                scope.problems.error(place, message, "choose another address or port");
            }
        }
        let admin = admin.map(|bind| match bind {
            AdminBind::Tcp(addr) => Local::Tcp(*addr),
            AdminBind::Unix(path) => Local::Unix(path.clone()),
        });
        for (bind, place, _) in
            all.iter().filter(|(bind, _, _)| admin.as_ref().is_some_and(|admin| collide(bind, admin)))
        {
            let message = format!("{} is taken by the admin endpoint", show(bind));
            let hint = "choose another port, or another one for admin: {bind: ...}, or admin: off";
            scope.problems.error(place, message, hint);
        }
        let on_v4: Vec<u16> = all.iter().map(|(bind, _, _)| bind).chain(&admin).filter_map(v4_port).collect();
        for read in self.list.iter_mut().flatten() {
            let bound = read.binds.iter().map(|(bind, _)| match bind {
                Local::Unix(path) => Bind::Unix(path.clone()),
                Local::Tcp(addr) => {
                    let v6only = matches!(addr, SocketAddr::V6(v6)
                        if v6.ip().is_unspecified() && on_v4.contains(&v6.port()));
                    Bind::Tcp { addr: *addr, v6only }
                }
            });
            read.bound = Some(bound.collect());
        }
    }
}

fn v4_port(bind: &Local) -> Option<u16> {
    match bind {
        Local::Tcp(addr) => Some(addr.port()).filter(|port| addr.is_ipv4() && *port != 0),
        Local::Unix(_) => None,
    }
}

/// Whether the kernel would refuse the second of the two. `[::]` leaves IPv4 alone where IPv4 is bound too.
fn collide(one: &Local, other: &Local) -> bool {
    match (one, other) {
        (Local::Unix(one), Local::Unix(other)) => one == other,
        (Local::Tcp(SocketAddr::V4(one)), Local::Tcp(SocketAddr::V4(other))) => {
            let wide = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && one.port() != 0 && (wide || one.ip() == other.ip())
        }
        (Local::Tcp(SocketAddr::V6(one)), Local::Tcp(SocketAddr::V6(other))) => {
            let wide = one.ip().is_unspecified() || other.ip().is_unspecified();
            let same = one.ip() == other.ip() && one.scope_id() == other.scope_id();
            one.port() == other.port() && one.port() != 0 && (wide || same)
        }
        _ => false,
    }
}

fn show(bind: &Local) -> String {
    match bind {
        Local::Tcp(addr) => addr.to_string(),
        Local::Unix(path) => format!("unix:{}", path.display()),
    }
}
