//! Any groups, includes, expiries and listeners, judged for any source at any time. A matcher that reads every entry
//! must give the same answers, for the shadow and for the methods of groups too.
#![no_main]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use portcullis_acl::{
    Access, Cidr, ClientAddr, Decision, Entry, GroupId, Meta, Policy, PolicyBuilder, Shadow, UnixSeconds,
};

#[derive(Arbitrary, Debug)]
struct Input {
    groups: Vec<GroupModel>,
    listeners: Vec<ListenerModel>,
    sources: Vec<Address>,
    now: i8,
}

#[derive(Arbitrary, Debug)]
struct GroupModel {
    named: bool,
    until: Option<i8>,
    /// Entries, with a new run of entries for each file.
    files: Vec<Vec<EntryModel>>,
    includes: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct EntryModel {
    address: Address,
    len: u8,
    until: Option<i8>,
    line: u8,
}

/// An address: one of a few, so that networks nest and repeat, or any.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Address {
    Few4(u8),
    Any4(u32),
    Few6(u8),
    Any6(u128),
    Mapped(u8),
    Unix,
}

#[derive(Arbitrary, Debug)]
struct ListenerModel {
    allow: Vec<u8>,
    deny: Vec<u8>,
    shadow: Option<(Option<Vec<u8>>, Option<Vec<u8>>)>,
}

/// Maximum number of groups. It is enough for every case; more groups only take time.
const MOST_GROUPS: usize = 12;
const MOST_LISTENERS: usize = 6;
const MOST_SOURCES: usize = 24;

impl Address {
    fn ip(self) -> Option<IpAddr> {
        Some(match self {
            Self::Few4(few) => Ipv4Addr::from_bits(u32::from(few >> 4) << 28 | u32::from(few & 15)).into(),
            Self::Any4(bits) => Ipv4Addr::from_bits(bits).into(),
            Self::Few6(few) => Ipv6Addr::from_bits(u128::from(few >> 4) << 124 | u128::from(few & 15)).into(),
            Self::Any6(bits) => Ipv6Addr::from_bits(bits).into(),
            Self::Mapped(few) => Ipv4Addr::from_bits(few.into()).to_ipv6_mapped().into(),
            Self::Unix => return None,
        })
    }

    fn client(self) -> ClientAddr {
        self.ip().map_or_else(ClientAddr::unix, |ip| ClientAddr::from_socket(SocketAddr::new(ip, 1)))
    }
}

impl EntryModel {
    /// The network; `None` if an operator could not write it.
    fn cidr(&self) -> Option<Cidr> {
        let net: IpNet = match self.address.ip()? {
            IpAddr::V4(ip) => Ipv4Net::new(ip, self.len % 33).ok()?.trunc().into(),
            IpAddr::V6(ip) => Ipv6Net::new(ip, self.len % 129).ok()?.trunc().into(),
        };
        net.to_string().parse().ok()
    }
}

/// An entry in the form for the naive matcher.
#[derive(Clone, Copy, Debug)]
struct Known {
    group: usize,
    cidr: Cidr,
    until: Option<i64>,
    /// Position in the order of writing.
    number: usize,
}

struct World {
    known: Vec<Known>,
    /// The groups that each group includes, directly or not, and itself; [`UNIX`] for the built-in one.
    reach: Vec<BTreeSet<usize>>,
}

const UNIX: usize = usize::MAX;

fuzz_target!(|input: Input| {
    let groups = &input.groups[..input.groups.len().min(MOST_GROUPS)];
    let listeners = &input.listeners[..input.listeners.len().min(MOST_LISTENERS)];
    let world = World::of(groups);
    let policy = build(groups, listeners);
    let now = i64::from(input.now);
    let edges =
        world.known.iter().flat_map(|known| [known.cidr.net().network(), known.cidr.net().broadcast()]);
    let asked = input.sources.iter().map(|source| source.client()).take(MOST_SOURCES);
    let clients: Vec<ClientAddr> = asked
        .chain(edges.take(MOST_SOURCES).map(|ip| ClientAddr::from_socket(SocketAddr::new(ip, 1))))
        .collect();
    for (index, listener) in listeners.iter().enumerate() {
        for client in &clients {
            let decision = policy.judge(index, client, UnixSeconds(now));
            world.check(&policy, decision, &listener.allow, &listener.deny, client, now);
            let shadow = policy.judge_shadow(index, client, UnixSeconds(now));
            assert_eq!(shadow.is_some(), listener.shadow.is_some());
            if let (Some(decision), Some((allow, deny))) = (shadow, &listener.shadow) {
                let (allow, deny) =
                    (allow.as_ref().unwrap_or(&listener.allow), deny.as_ref().unwrap_or(&listener.deny));
                world.check(&policy, decision, allow, deny, client, now);
            }
        }
    }
    world.check_groups(&policy, groups);
    assert!(policy.changes_since(&policy, 9).is_empty());
    assert!(policy.changes_since(&build(groups, listeners), 9).is_empty());
});

fn build(groups: &[GroupModel], listeners: &[ListenerModel]) -> Policy {
    let mut builder = PolicyBuilder::new();
    let ids: Vec<GroupId> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| {
            let meta = Meta { until: group.until.map(|until| UnixSeconds(until.into())), ..Meta::default() };
            builder.group(group.named.then(|| format!("g{at}")).as_deref(), meta).expect("few groups")
        })
        .collect();
    let id = |number: u8| pick(groups.len(), number).map_or(PolicyBuilder::UNIX, |at| ids[at]);
    for (group, model) in ids.iter().zip(groups) {
        for file in &model.files {
            let source = builder.source("file").expect("few files");
            for entry in file {
                let Some(cidr) = entry.cidr() else { continue };
                let meta =
                    Meta { until: entry.until.map(|until| UnixSeconds(until.into())), ..Meta::default() };
                let entry = Entry { cidr, line: entry.line.into(), meta };
                builder.entry(*group, source, entry).expect("few entries");
            }
        }
        for other in &model.includes {
            builder.include(*group, id(*other));
        }
    }
    let list = |numbers: &Vec<u8>| numbers.iter().map(|number| id(*number)).collect::<Vec<_>>();
    for (at, listener) in listeners.iter().enumerate() {
        let shadow = listener.shadow.as_ref();
        let shadow = shadow
            .map(|(allow, deny)| Shadow { allow: allow.as_ref().map(list), deny: deny.as_ref().map(list) });
        let (allow, deny) = (list(&listener.allow), list(&listener.deny));
        builder.listener(Access { name: format!("l{at}"), allow, deny, shadow, ..Access::default() });
    }
    builder.build()
}

/// One of the groups, or `None` for `unix`.
fn pick(groups: usize, number: u8) -> Option<usize> {
    Some(usize::from(number) % (groups + 1)).filter(|at| *at < groups)
}

impl World {
    fn of(groups: &[GroupModel]) -> Self {
        let mut known = Vec::new();
        for (group, model) in groups.iter().enumerate() {
            for entry in model.files.iter().flatten() {
                let Some(cidr) = entry.cidr() else { continue };
                let until = entry.until.or(model.until).map(i64::from);
                known.push(Known { group, cidr, until, number: known.len() });
            }
        }
        let reach = |start: usize| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(group) = open.pop() {
                if seen.insert(group) && group != UNIX {
                    open.extend(
                        groups[group].includes.iter().map(|to| pick(groups.len(), *to).unwrap_or(UNIX)),
                    );
                }
            }
            seen
        };
        Self { known, reach: (0..groups.len()).map(reach).collect() }
    }

    fn members(&self, list: &[u8]) -> BTreeSet<usize> {
        let groups = list.iter().map(|number| pick(self.reach.len(), *number));
        groups
            .flat_map(|group| group.map_or_else(|| BTreeSet::from([UNIX]), |at| self.reach[at].clone()))
            .collect()
    }

    /// Entries that cover `wanted`, the best first: the longest, among equal ones the one with the latest expiry,
    /// among those the first.
    fn covering(&self, members: &BTreeSet<usize>, wanted: Cidr) -> Vec<Known> {
        let covers =
            |known: &&Known| members.contains(&known.group) && known.cidr.net().contains(&wanted.net());
        let mut list: Vec<Known> = self.known.iter().filter(covers).copied().collect();
        list.sort_by_key(|known| {
            let lasts = known.until.unwrap_or(i64::MAX);
            (std::cmp::Reverse(known.cidr.net().prefix_len()), std::cmp::Reverse(lasts), known.number)
        });
        list
    }

    fn check(
        &self,
        policy: &Policy,
        decision: Decision,
        allow: &[u8],
        deny: &[u8],
        client: &ClientAddr,
        now: i64,
    ) {
        let (allow, deny) = (self.members(allow), self.members(deny));
        let active = |known: &&Known| known.until.is_none_or(|until| until > now);
        let (word, rule, end) = match client.ip() {
            None if deny.contains(&UNIX) => ("denied", None, None),
            None if allow.contains(&UNIX) => ("allow", None, None),
            None => ("not_allowed", None, None),
            Some(ip) => {
                let (allow, deny) = (self.covering(&allow, ip.into()), self.covering(&deny, ip.into()));
                let end = allow.iter().map(|known| known.until.unwrap_or(i64::MAX)).max();
                if let Some(refused) = deny.iter().find(active) {
                    ("denied", Some(*refused), None)
                } else if let Some(admitted) = allow.iter().find(active) {
                    ("allow", Some(*admitted), end.filter(|end| *end != i64::MAX))
                } else {
                    (if allow.is_empty() { "not_allowed" } else { "expired" }, allow.first().copied(), None)
                }
            }
        };
        let (said, id, expires) = match &decision {
            Decision::Allow(permit) => ("allow", Some(permit.rule()), permit.expires()),
            Decision::Deny(denial) => (denial.reason().as_str(), denial.rule(), None),
        };
        assert_eq!((said, expires), (word, end.map(UnixSeconds)), "{client}: {rule:?}");
        let named = id.map(|id| policy.rule(id).expect("a rule of this policy"));
        assert_eq!(named.and_then(|named| named.cidr), rule.map(|known| known.cidr), "{client}");
        if let (Some(named), Some(rule)) = (named, rule) {
            assert_eq!(named.until, rule.until.map(UnixSeconds), "{client}");
        }
    }

    fn check_groups(&self, policy: &Policy, groups: &[GroupModel]) {
        for (at, model) in groups.iter().enumerate().filter(|(_, model)| model.named) {
            let group = policy.group(&format!("g{at}")).expect("a group of this policy");
            let own = |known: &&Known| known.group == at;
            let mut written: Vec<_> =
                self.known.iter().filter(own).map(|known| (known.cidr, known.until)).collect();
            let mut listed: Vec<_> = group
                .entries()
                .map(|rule| (rule.cidr.expect("not unix"), rule.until.map(|until| until.0)))
                .collect();
            assert_eq!((group.own_count(), listed.len()), (written.len(), written.len()));
            written.sort_unstable();
            listed.sort_unstable();
            assert_eq!(listed, written);
            assert!(model.includes.len() >= group.includes().count());
            for known in self.known.iter().take(MOST_SOURCES) {
                let best = self.covering(&self.reach[at], known.cidr).first().copied();
                let found = group.covering(known.cidr);
                assert_eq!(found.and_then(|rule| rule.cidr), best.map(|best| best.cidr));
                assert_eq!(found.map(|rule| rule.until.map(|until| until.0)), best.map(|best| best.until));
                let needless =
                    self.known.iter().filter(own).filter(|other| known.cidr.covers(other.cidr)).count();
                assert_eq!(group.covered_by(known.cidr).count(), needless);
            }
        }
    }
}
