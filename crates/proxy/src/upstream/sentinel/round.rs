//! One round: the answers of all sentinels to one question, and what follows from them.
//!
//! A claim is *carried* if at least half of the sentinels that answered make it, and *backed* if two of them do (or the only
//! one, where only one is configured). The claims are looked at by epoch, the highest first; those that are not carried
//! are skipped. So a sentinel that lies, or is stale, moves nothing alone.
//!
//! | claim | the view follows it |
//! |---|---|
//! | another server, backed | unless that server says that it is a replica |
//! | another server, carried by one sentinel of two | if it says that it is the master, and the former one does not |
//! | a lower epoch than that of the view | only if the former master does not say that it is the master, or no sentinel has named the view's epoch for a while |
//! | fewer than half of the sentinels answered | as above, but an equal epoch counts as a lower one |

use portcullis_config::Address;

use super::answer::Claim;

/// The master that the view has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Master {
    /// The address as the sentinels announce it.
    pub(crate) address: Address,
    /// The epoch at which the sentinels named it.
    pub(crate) epoch: u64,
}

/// What a server says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is a master. A former master says so for a while after a failover.
    Master,
    /// It is a replica.
    Replica,
    /// It cannot be reached, or does not answer.
    Silent,
    /// It does not tell the proxy's user.
    Untold,
}

/// The roles that servers have told in this round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roles(Vec<(Address, Role)>);

impl Roles {
    /// Adds the answer of a server.
    pub(crate) fn add(&mut self, server: Address, role: Role) {
        self.0.push((server, role));
    }

    fn of(&self, server: &Address) -> Result<Role, Missing> {
        self.0.iter().find(|(known, _)| known.is_same_host(server)).map(|(_, role)| *role).ok_or(Missing)
    }
}

/// A role that the decision needs and that has not been asked yet.
struct Missing;

/// The answers of a round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    configured: usize,
    claims: Vec<Claim>,
}

/// The result of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The sentinels name the master of the view, at this epoch.
    Confirmed(u64),
    /// No claim is good enough to follow. The view stays.
    Undecided,
    /// The roles of these servers decide.
    Ask(Vec<Address>),
    /// The view moves to this master.
    Moves(Master),
}

/// What is known apart from the answers of the round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'k> {
    /// The master of the view, if it has one.
    pub(crate) current: Option<&'k Master>,
    /// The roles that were asked in this round.
    pub(crate) roles: &'k Roles,
    /// Whether no sentinel has named the epoch of the view for a while: the sentinels were set up again.
    pub(crate) is_epoch_gone: bool,
}

impl Round {
    /// Makes a round of the claims of different sentinels. `configured` is the number of all sentinels.
    pub(crate) fn new(configured: usize, claims: Vec<Claim>) -> Self {
        Self { configured, claims }
    }

    /// Returns the highest epoch that a sentinel named.
    pub(crate) fn highest_epoch(&self) -> Option<u64> {
        self.claims.iter().map(|claim| claim.epoch).max()
    }

    /// Returns whether at least half of the sentinels that answered name this epoch or a higher one.
    pub(crate) fn carries_epoch(&self, epoch: u64) -> bool {
        self.carries(self.claims.iter().filter(|claim| claim.epoch >= epoch).count())
    }

    /// Returns the number of sentinels that name a master.
    pub(crate) const fn answered(&self) -> usize {
        self.claims.len()
    }

    /// Returns whether at least half of the sentinels answered.
    pub(crate) fn has_half(&self) -> bool {
        2 * self.claims.len() >= self.configured
    }

    /// Returns whether all sentinels that answered name the same server.
    pub(crate) fn agrees(&self) -> bool {
        self.claims.windows(2).all(|pair| match pair {
            [one, other] => one.address.is_same_host(&other.address),
            _ => true,
        })
    }

    /// Decides.
    pub(crate) fn judge(&self, known: Known<'_>) -> Verdict {
        let decided = self.by_epoch(known).and_then(|verdict| match (verdict, known.current) {
            (Verdict::Undecided, None) => self.by_address(known),
            (verdict, _) => Ok(verdict),
        });
        decided.unwrap_or_else(|Missing| Verdict::Ask(self.doubtful(known.current)))
    }

    fn by_epoch(&self, known: Known<'_>) -> Result<Verdict, Missing> {
        for claim in self.ordered(known)? {
            let by = self.count(&claim);
            if !self.carries(by) {
                continue;
            }
            match known.current {
                Some(current) if current.address.is_same_host(&claim.address) => {
                    if self.backs(by) || self.agrees() || !lost(current, known)? {
                        let epoch = if self.backs(by) { claim.epoch } else { current.epoch };
                        return Ok(Verdict::Confirmed(epoch));
                    }
                }
                current => {
                    if self.is_good(&claim, by, current, known)? {
                        return Ok(Verdict::Moves(Master { address: claim.address, epoch: claim.epoch }));
                    }
                }
            }
        }
        Ok(Verdict::Undecided)
    }

    /// Finds a first master where the sentinels agree about the server, but not about the epoch.
    fn by_address(&self, known: Known<'_>) -> Result<Verdict, Missing> {
        for claim in self.ordered(known)? {
            let by = self.claims.iter().filter(|other| other.address.is_same_host(&claim.address)).count();
            let is_good = |role| role == Role::Master || (role == Role::Untold && self.backs(by));
            if self.carries(by) && is_good(known.roles.of(&claim.address)?) {
                return Ok(Verdict::Moves(Master { address: claim.address, epoch: claim.epoch }));
            }
        }
        Ok(Verdict::Undecided)
    }

    /// Returns whether the view may follow a claim of `by` sentinels about another server than its master.
    fn is_good(
        &self,
        claim: &Claim,
        by: usize,
        current: Option<&Master>,
        known: Known<'_>,
    ) -> Result<bool, Missing> {
        let role = known.roles.of(&claim.address)?;
        if role == Role::Replica {
            return Ok(false);
        }
        let Some(current) = current else { return Ok(self.backs(by) || role == Role::Master) };
        let is_taken_over = || Ok(role == Role::Master && lost(current, known)?);
        let is_newer = claim.epoch > current.epoch || (claim.epoch == current.epoch && self.has_half());
        let is_reset = known.is_epoch_gone && self.has_half();
        if !(is_newer || is_reset || is_taken_over()?) {
            return Ok(false);
        }
        Ok(self.backs(by) || is_taken_over()?)
    }

    /// Returns the different claims, in the order in which they count.
    fn ordered(&self, known: Known<'_>) -> Result<Vec<Claim>, Missing> {
        let mut claims: Vec<Claim> = Vec::new();
        for claim in &self.claims {
            if !claims.iter().any(|other| is_same(other, claim)) {
                claims.push(claim.clone());
            }
        }
        let is_current =
            |claim: &Claim| known.current.is_some_and(|current| current.address.is_same_host(&claim.address));
        let mut ranked = Vec::new();
        for claim in claims {
            let rivals =
                self.claims.iter().any(|other| other.epoch == claim.epoch && !is_same(other, &claim));
            // A role decides only between claims of one epoch.
            let says_master = rivals
                && !is_current(&claim)
                && self.carries(self.count(&claim))
                && known.roles.of(&claim.address)? == Role::Master;
            ranked.push(((claim.epoch, says_master, self.count(&claim), is_current(&claim)), claim));
        }
        ranked.sort_by(|(one, _), (other, _)| other.cmp(one));
        Ok(ranked.into_iter().map(|(_, claim)| claim).collect())
    }

    /// Returns the servers whose roles can decide: those of the claims that are carried, and the current master.
    fn doubtful(&self, current: Option<&Master>) -> Vec<Address> {
        let mut servers: Vec<Address> = current.iter().map(|master| master.address.clone()).collect();
        for claim in &self.claims {
            let same = self.claims.iter().filter(|other| other.address.is_same_host(&claim.address));
            if self.carries(same.count()) && !servers.iter().any(|known| known.is_same_host(&claim.address)) {
                servers.push(claim.address.clone());
            }
        }
        servers
    }

    /// Returns the number of sentinels that make this claim.
    fn count(&self, claim: &Claim) -> usize {
        self.claims.iter().filter(|other| is_same(other, claim)).count()
    }

    const fn carries(&self, by: usize) -> bool {
        2 * by >= self.claims.len()
    }

    fn backs(&self, by: usize) -> bool {
        by >= self.configured.min(2)
    }
}

fn is_same(one: &Claim, other: &Claim) -> bool {
    one.epoch == other.epoch && one.address.is_same_host(&other.address)
}

/// Returns whether the master of the view does not serve as one any more.
fn lost(current: &Master, known: Known<'_>) -> Result<bool, Missing> {
    Ok(matches!(known.roles.of(&current.address)?, Role::Replica | Role::Silent))
}

#[cfg(test)]
mod tests;
