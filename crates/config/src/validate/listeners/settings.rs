//! The keys that `listener_defaults` may set too.

use std::sync::Arc;

use portcullis_acl::{GroupId, Shadow};

use super::Parts;
use super::presentation::Written;
use crate::fields::Fields;
use crate::limits::Patch;
use crate::model::{Acl, Auth, Refusal};
use crate::problem::Position;
use crate::raw::Node;
use crate::tls::ServerTls;
use crate::validate::tls;
use crate::value;

/// `None`: not set, or set wrongly, which has been noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) upstream: Option<usize>,
    /// The groups, and where the list stands.
    pub(super) allow: Option<(Vec<GroupId>, Position)>,
    pub(super) deny: Option<Vec<GroupId>>,
    pub(super) shadow: Option<Shadow>,
    /// The trusted senders of a PROXY header, and whether only they may connect.
    pub(super) proxy_protocol: Option<(Vec<GroupId>, bool)>,
    pub(super) refusal: Option<Refusal>,
    pub(super) auth: Option<Auth>,
    /// The names, and where the list stands.
    pub(super) users: Option<(Vec<String>, Position)>,
    pub(super) acl: Option<Acl>,
    pub(super) inline_commands: Option<bool>,
    pub(super) allow_anonymous_internet: Option<bool>,
    pub(super) presentation: Written,
    pub(super) limits: Vec<Patch>,
    pub(super) tls: Option<Arc<ServerTls>>,
    /// A key was there with a value that cannot be used; no default may stand in for it.
    pub(super) broken: bool,
}

impl Parts<'_, '_, '_, '_> {
    pub(super) fn settings(&mut self, fields: &mut Fields<'_>) -> Settings {
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
        if let Some(node) = fields.take("shadow") {
            settings.shadow = self.shadow(node);
        }
        if let Some(node) = fields.take("users") {
            let users = self.users.list(node, self.scope);
            settings.broken |= users.is_empty() && !value::list(node).is_empty();
            settings.users = Some((users, node.place.clone()));
        }
        if let Some(node) = fields.take("acl") {
            settings.acl = super::super::rules::read(node, self.scope);
            settings.broken |= settings.acl.is_none();
        }
        if let Some(node) = fields.take("proxy_protocol") {
            settings.proxy_protocol = self.proxy_protocol(node);
            settings.broken |= settings.proxy_protocol.is_none();
        }
        self.words(fields, &mut settings);
        if let Some(node) = fields.take("limits") {
            settings.limits.push(Patch::listener(node, &mut self.scope.problems));
        }
        if let Some(node) = fields.take("tls") {
            settings.tls = tls::listener(node, self.scope);
            settings.broken |= settings.tls.is_none();
        }
        settings
    }

    fn proxy_protocol(&mut self, node: &Node) -> Option<(Vec<GroupId>, bool)> {
        let mut fields = Fields::of(node, "proxy_protocol", &mut self.scope.problems)?;
        let hint =
            "write proxy_protocol: {from: [GROUP or address, ...]}, the load balancers that send the header";
        let from = fields.need("from", hint, &mut self.scope.problems);
        let only = fields.take("only").map(|node| value::switch(node, "only", &mut self.scope.problems));
        fields.finish(&mut self.scope.problems);
        let from_node = from?;
        let from = self.groups.list(from_node, self.policy, self.scope);
        if value::list(from_node).is_empty() {
            self.scope.problems.error(&from_node.place, "proxy_protocol has an empty 'from' list", hint);
        }
        Some((from, only.unwrap_or(Some(false))?))
    }

    fn shadow(&mut self, node: &Node) -> Option<Shadow> {
        let mut fields = Fields::of(node, "shadow", &mut self.scope.problems)?;
        let (allow, deny) = (fields.take("allow"), fields.take("deny"));
        if allow.is_none() && deny.is_none() {
            let hint = "write shadow: {deny: [GROUP or address, ...]}, or remove shadow";
            self.scope.problems.error(&node.place, "shadow has neither allow nor deny", hint);
        }
        fields.finish(&mut self.scope.problems);
        let mut list = |node: Option<&Node>| node.map(|node| self.groups.list(node, self.policy, self.scope));
        Some(Shadow { allow: list(allow), deny: list(deny) })
    }

    fn words(&mut self, fields: &mut Fields<'_>, settings: &mut Settings) {
        let problems = &mut self.scope.problems;
        if let Some(node) = fields.take("refusal") {
            settings.refusal = value::word(node, "refusal", &REFUSALS, problems);
            settings.broken |= settings.refusal.is_none();
        }
        if let Some(node) = fields.take("auth") {
            let words = [Auth::Passthrough, Auth::Trust, Auth::Users].map(|auth| (auth.as_str(), auth));
            settings.auth = value::word(node, "auth", &words, problems);
            settings.broken |= settings.auth.is_none();
        }
        if let Some(node) = fields.take("inline_commands") {
            settings.inline_commands = value::switch(node, "inline_commands", problems);
        }
        if let Some(node) = fields.take("allow_anonymous_internet") {
            settings.allow_anonymous_internet = value::switch(node, "allow_anonymous_internet", problems);
        }
        let (presentation, sound) = Written::read(fields, problems);
        settings.presentation = presentation;
        settings.broken |= !sound;
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
    pub(super) fn over(self, below: &Self) -> Self {
        Self {
            upstream: self.upstream.or(below.upstream),
            allow: self.allow.or_else(|| below.allow.clone()),
            deny: self.deny.or_else(|| below.deny.clone()),
            shadow: self.shadow.or_else(|| below.shadow.clone()),
            proxy_protocol: self.proxy_protocol.or_else(|| below.proxy_protocol.clone()),
            refusal: self.refusal.or(below.refusal),
            auth: self.auth.or(below.auth),
            users: self.users.or_else(|| below.users.clone()),
            acl: self.acl.or_else(|| below.acl.clone()),
            inline_commands: self.inline_commands.or(below.inline_commands),
            allow_anonymous_internet: self.allow_anonymous_internet.or(below.allow_anonymous_internet),
            presentation: self.presentation.over(&below.presentation),
            tls: self.tls.or_else(|| below.tls.clone()),
            limits: below.limits.iter().cloned().chain(self.limits).collect(),
            broken: self.broken || below.broken,
        }
    }
}
