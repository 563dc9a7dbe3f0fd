//! `{host: NAME, refresh: 5m, keep: 1h, private: false}` entries, and the lists where they cannot be.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_acl::{GroupId, PolicyBuilder, SourceId};

use super::Groups;
use super::entry::meta;
use crate::fields::Fields;
use crate::host::{Host, HostName};
use crate::message::{Masked, Message, message};
use crate::problem::Position;
use crate::raw::Node;
use crate::scope::Scope;
use crate::value;

/// Default of `refresh`: providers of dynamic DNS set a TTL of one to five minutes.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Default of `keep`: the restart of a router or a name server takes minutes, and a longer outage is noticed.
const KEEP: Duration = Duration::from_secs(60 * 60);
/// The least `refresh`: name servers of providers refuse clients that ask more often.
const LEAST_REFRESH: Duration = Duration::from_secs(10);
/// Maximum number of host entries. At the least `refresh` that is 100 lookups a second, which a local name server
/// answers without trouble.
const MAX_HOSTS: usize = 1000;

/// A list in which a host name would do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::validate) enum Closed {
    /// `deny` of a listener.
    Deny,
    /// `deny` of its shadow.
    ShadowDeny,
    /// `proxy_protocol.from`.
    Senders,
}

impl Closed {
    fn key(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::ShadowDeny => "shadow.deny",
            Self::Senders => "proxy_protocol.from",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Deny | Self::ShadowDeny => {
                "a name that does not resolve would refuse no client: write addresses, or move the name to a group of its own"
            }
            Self::Senders => {
                "the answer to the name would decide who may claim any address: write the addresses of the load balancers"
            }
        }
    }
}

impl Groups<'_> {
    /// Reads an entry whose `host` is `node`.
    pub(super) fn host(
        &mut self,
        node: &Node,
        mut fields: Fields<'_>,
        place: &Position,
        (group, source): (GroupId, SourceId),
        scope: &mut Scope,
    ) {
        let text = value::text(node, "host", &mut scope.problems);
        let name = text.and_then(|text| match name(text) {
            Ok(name) => Some(name),
            Err(hint) => {
                let message = message!("'{}' is not a host name", Masked::of(text));
                scope.problems.error(&node.place, message, hint);
                None
            }
        });
        let mut duration = |key: &'static str| {
            let node = fields.take(key)?;
            value::duration(node, key, &mut scope.problems).map(|value| (value, &node.place))
        };
        let (refresh, keep) = (duration("refresh"), duration("keep"));
        let private = fields.take("private");
        let private = private.and_then(|node| value::switch(node, "private", &mut scope.problems));
        let meta = meta(&mut fields, scope);
        fields.finish(&mut scope.problems);
        if let Some((_, place)) = refresh.filter(|(refresh, _)| *refresh < LEAST_REFRESH) {
            let message = message!("refresh must be at least {}s", LEAST_REFRESH.as_secs());
            scope.problems.error(place, message, "write refresh: 10s or more");
        }
        let refresh = refresh.map_or(REFRESH, |(refresh, _)| refresh);
        if let Some((_, place)) = keep.filter(|(keep, _)| *keep < refresh) {
            let message = "keep is shorter than refresh: the first lookup that fails empties the entry";
            scope.problems.warning(place, message, "write a longer keep, such as keep: 1h");
        }
        let Some(name) = name else { return };
        if self.hosts.len() == MAX_HOSTS {
            let message = message!("more than {} host names", MAX_HOSTS);
            scope.problems.error(place, message, "write addresses or networks instead");
        }
        // Further ones need no error each.
        if self.hosts.len() <= MAX_HOSTS {
            let (keep, private) = (keep.map_or(KEEP, |(keep, _)| keep), private.unwrap_or(false));
            let (place, group_name) = (place.clone(), None);
            self.hosts.push(Host { name, refresh, keep, private, group, group_name, source, place, meta });
        }
    }

    /// Remembers that these groups are used in a list in which a host name would do harm.
    pub(in crate::validate) fn close_to_hosts(&mut self, groups: &[GroupId], list: Closed) {
        self.closed.extend(groups.iter().map(|group| (*group, list)));
    }

    /// Whether one of these groups has a host name, directly or by a group that it includes.
    pub(in crate::validate) fn have_host(&self, groups: &[GroupId]) -> bool {
        let reached = self.reach(groups);
        self.hosts.iter().any(|host| reached.contains(&host.group))
    }

    /// Reports host names that are used under `deny` or in `proxy_protocol.from`.
    pub(super) fn report_closed_hosts(&self, scope: &mut Scope) {
        for list in [Closed::Deny, Closed::ShadowDeny, Closed::Senders] {
            let closed = self.closed.iter().filter(|(_, of)| *of == list);
            let roots: Vec<GroupId> = closed.map(|(group, _)| *group).collect();
            let reached: HashSet<GroupId> = self.reach(&roots);
            for host in self.hosts.iter().filter(|host| reached.contains(&host.group)) {
                let message = match self.name_of(host.group) {
                    Some(group) => message!(
                        "host names cannot be used in {}: {} is in group '{}', which is used there",
                        list.key(),
                        host.name,
                        Masked::name(group)
                    ),
                    None => message!("host names cannot be used in {}: {}", list.key(), host.name),
                };
                scope.problems.error(&host.place, message, list.hint());
            }
        }
    }

    /// The host entries with the names of their groups, and a copy of the policy to which their addresses can be added.
    pub(in crate::validate) fn hosts(
        &self,
        policy: &PolicyBuilder,
    ) -> (Arc<[Host]>, Option<Arc<PolicyBuilder>>) {
        let named =
            |host: &Host| Host { group_name: self.name_of(host.group).map(str::to_owned), ..host.clone() };
        let written = (!self.hosts.is_empty()).then(|| Arc::new(policy.clone()));
        (self.hosts.iter().map(named).collect(), written)
    }

    fn name_of(&self, group: GroupId) -> Option<&str> {
        self.declared.iter().find(|declared| declared.id == group).map(|declared| declared.name)
    }
}

/// Reads a host name; `Err` is the hint.
fn name(text: &str) -> Result<HostName, Message> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(message!("it is an address: write {}, or {{cidr: {}}}", ip, ip));
    }
    // The system's resolver takes a last part that is a number, also a hexadecimal one, for a form of IPv4 address.
    let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with("0x") || last.starts_with("0X");
    if value::socket::is_host(text) && !numeric {
        return Ok(HostName::of_valid(text));
    }
    Err("write a DNS name, such as home.dyndns.example, without a scheme, a port or a wildcard".into())
}
