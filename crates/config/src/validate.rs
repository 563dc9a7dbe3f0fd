//! From the located tree to a [`Config`]: every part notes its problems and lets the next one go on.

mod bind;
mod groups;
mod listeners;
mod loops;
mod rules;
mod service;
mod tls;
mod upstreams;
mod users;

use std::path::Path;
use std::sync::Arc;

use portcullis_acl::PolicyBuilder;

use super::fields::Fields;
use super::limits::{Limits, Patch};
use super::places::Places;
use super::raw::Node;
use super::scope::Scope;
use super::{Admin, Config};

pub(super) use groups::is_yaml;
pub(super) use service::report_audit_of_input;

use service::Service;

/// `None` when something needed could not be made; what was wrong is in `scope`.
pub(super) fn config(tree: &Node, path: &Path, scope: &mut Scope) -> Option<Config> {
    let mut fields = Fields::of(tree, "the configuration", &mut scope.problems)?;
    let mut policy = PolicyBuilder::new();
    let mut groups = groups::read(fields.take("groups"), &mut policy, scope);
    let upstreams = upstreams::read(&mut fields, scope);
    let patch =
        fields.take("limits").map(|node| Patch::process(node, &mut scope.problems)).unwrap_or_default();
    let limits = patch.over(&Limits::default());
    let service = Service::read(&mut fields, scope);
    let mut users = users::read(&mut fields, &upstreams, &mut groups, &mut policy, scope);
    let admin_bind = service.admin.iter().flatten().map(Admin::bind).next();
    let parts = listeners::Parts {
        upstreams: &upstreams,
        users: &mut users,
        groups: &mut groups,
        policy: &mut policy,
        scope: &mut *scope,
    };
    let listeners = listeners::read(&mut fields, &limits, admin_bind, parts);
    fields.finish(&mut scope.problems);

    groups.report_files_and_hosts(scope);
    let (hosts, written) = groups.hosts(&policy);
    let policy = policy.build();
    listeners.judge_openness(&policy, scope);
    listeners.meet_users(scope);
    listeners.meet_shared(&upstreams, scope);
    // The next checks would only repeat an error in other words: a misspelled name leaves the right one unused.
    if !scope.problems.has_errors() {
        groups.report_unused(scope);
        users.report_unused(scope);
        listeners.report_empty(&policy, &groups, scope);
        listeners.meet_upstreams(&upstreams, &users, scope);
        listeners.meet_scripts(&upstreams, &users, scope);
        listeners.meet_output_buffers(&patch, &upstreams, scope);
        listeners.meet_costs(&patch, &users, scope);
    }
    let upstreams = upstreams.finish();
    let listeners = listeners.finish(upstreams.as_deref().unwrap_or_default());
    Some(Config {
        origin: scope.options.origin(path),
        listeners: listeners?,
        upstreams: upstreams?,
        users: users.finish()?,
        policy: Arc::new(policy),
        hosts,
        written,
        limits,
        admin: service.admin?,
        audit: service.audit?,
        observe: service.observe?,
        log: service.log?,
        reload: service.reload?,
        takeover: service.takeover?,
        workers: service.workers?,
        places: Places::of(scope),
    })
}
