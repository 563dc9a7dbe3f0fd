//! The decision which server is the master, as the proxy makes it when it starts.

use std::time::Duration;

use portcullis_config::{Address, Sentinel, Tcp, Upstream};

use super::dial::Dial;
use super::step::Trouble;
use crate::upstream::role::{self, Role};
use crate::upstream::sentinel::answer::Claim;
use crate::upstream::sentinel::round::{Known, Master, Roles, Round, Verdict};

/// The decision on the answers of the sentinels.
#[derive(Debug)]
pub(super) enum Decision {
    /// No sentinel names a master.
    Unnamed,
    /// The proxy follows the sentinels to this master.
    Followed(Master),
    /// The proxy follows none of the claims.
    Undecided {
        /// The server of the claim with the highest epoch.
        server: Address,
        role: Option<Role>,
        /// The number of sentinels that make this claim.
        by: usize,
    },
}

/// Decides on the claims of different sentinels. Asks servers for their roles as far as that decides.
pub(super) async fn decide(
    upstream: &Upstream,
    sentinel: &Sentinel,
    tcp: &Tcp,
    claims: Vec<Claim>,
) -> Decision {
    let limit = upstream.connect_timeout();
    let Some(highest) = claims.iter().max_by_key(|claim| claim.epoch).cloned() else {
        return Decision::Unnamed;
    };
    let by = claims.iter().filter(|claim| **claim == highest).count();
    let round = Round::new(sentinel.nodes().len(), claims);
    let mut asked: Vec<(Address, Role)> = Vec::new();
    loop {
        let mut roles = Roles::default();
        asked.iter().for_each(|(server, role)| roles.add(server.clone(), *role));
        match round.judge(Known { current: None, roles: &roles, is_epoch_gone: false }) {
            Verdict::Moves(master) => return Decision::Followed(master),
            Verdict::Ask(servers) => {
                let before = asked.len();
                for server in servers {
                    if !asked.iter().any(|(known, _)| known.is_same_host(&server)) {
                        let role = ask_role(upstream, sentinel, tcp, &server, limit).await;
                        asked.push((server, role));
                    }
                }
                if asked.len() > before {
                    continue;
                }
            }
            Verdict::Confirmed(_) | Verdict::Undecided => {}
        }
        let role = asked.iter().find(|(known, _)| known.is_same_host(&highest.address));
        return Decision::Undecided { role: role.map(|(_, role)| *role), server: highest.address, by };
    }
}

async fn ask_role(
    upstream: &Upstream,
    sentinel: &Sentinel,
    tcp: &Tcp,
    server: &Address,
    limit: Duration,
) -> Role {
    let dial = Dial { tls: None, limit, tcp };
    role::ask(&dial.place(sentinel.reachable(server)).await, upstream, tcp, limit).await
}

impl Decision {
    /// Returns the master that the proxy follows.
    pub(super) const fn followed(&self) -> Option<&Master> {
        match self {
            Self::Followed(master) => Some(master),
            Self::Unnamed | Self::Undecided { .. } => None,
        }
    }

    /// Returns the server to test, as the sentinels announce it.
    pub(super) const fn server(&self) -> Option<&Address> {
        match self {
            Self::Followed(master) => Some(&master.address),
            Self::Undecided { server, .. } => Some(server),
            Self::Unnamed => None,
        }
    }

    /// Explains why the proxy follows no sentinel, although they name a master.
    pub(super) fn trouble(&self, sentinel: &Sentinel) -> Option<Trouble> {
        let Self::Undecided { server, role, by } = self else { return None };
        let all = sentinel.nodes().len();
        let why = match role {
            Some(Role::Replica) => "is a replica",
            Some(Role::Silent) => "does not answer",
            Some(Role::Master | Role::Untold) | None => "is named by too few",
        };
        let text = format!(
            "the proxy follows no sentinel: {by} of {all} name {server} at the highest epoch, and it {why}"
        );
        Some(Trouble::failure("undecided", text, compare(sentinel)))
    }
}

/// Returns what to do while sentinels do not name one good master.
pub(super) fn compare(sentinel: &Sentinel) -> String {
    format!(
        "wait for the end of a failover, or compare SENTINEL MASTER {} of all sentinels",
        sentinel.master()
    )
}
