//! Who the client is, and as which Redis user its upstream connection is logged in.
//!
//! The two never part. Another user comes in when no reply is pending and the upstream has confirmed the login that
//! stands for it; until then nothing more is read. A user's WATCH and subscriptions live on the connection and stay, as
//! they do in Redis.

use std::sync::Arc;

use portcullis_resp::limits::RequestLimits;

use crate::link::{AS_NOBODY, Preamble};
use crate::local::hello::Greeting;
use crate::plan::Plan;
use crate::tick::Tick;

/// The policy that holds for the client, and the credentials of its upstream connection.
#[derive(Debug)]
pub(super) struct Identity {
    /// The policy in force.
    plan: Arc<Plan>,
    /// The policy of the client as it came in, and again after RESET.
    home: Arc<Plan>,
    /// The gate's login on the upstream connection for the user in force, as of when that was dialled or the user came
    /// in: a reload that changes credentials is for connections yet to be made.
    key: Option<Preamble>,
    /// The same for the user that RESET leads back to.
    home_key: Option<Preamble>,
    /// A connection was asked for.
    fixed: bool,
    /// One was asked for before a command needed it.
    early: bool,
    /// The connection is logged in by the gate.
    used: bool,
    entering: Option<Box<Entering>>,
    deferred: Option<Box<Deferred>>,
    /// The client itself has logged in at Redis, under [`Auth::Passthrough`](crate::plan::Auth::Passthrough).
    passed_through: bool,
    /// The plan's limits hold from the next frame on.
    limits_due: bool,
}

/// A user whose credentials are right, and whose login the upstream has not confirmed.
#[derive(Debug)]
pub(super) struct Entering {
    pub(super) plan: Arc<Plan>,
    /// The gate's login on this connection, whatever a reload says meanwhile.
    pub(super) key: Option<Preamble>,
    pub(super) hello: Option<Deferred>,
}

/// A HELLO without its credentials, which goes out once its user is in.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) greeting: Greeting,
    pub(super) at: Tick,
    pub(super) muted: bool,
}

impl Deferred {
    fn held(&self) -> usize {
        self.greeting.bytes.capacity() + self.greeting.name.as_ref().map_or(0, |name| name.len())
    }
}

/// Plans of a new configuration for a session that goes on.
pub(super) struct Renewed {
    pub(super) plan: Arc<Plan>,
    home: Arc<Plan>,
    entering: Option<Arc<Plan>>,
}

impl Identity {
    /// The identity of a client that came in under `plan`.
    pub(super) fn of(plan: Arc<Plan>) -> Self {
        Self {
            key: plan.preamble().cloned(),
            home_key: plan.preamble().cloned(),
            fixed: false,
            early: false,
            used: false,
            home: Arc::clone(&plan),
            plan,
            entering: None,
            deferred: None,
            passed_through: false,
            limits_due: false,
        }
    }

    /// The policy in force.
    #[inline]
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The gate's login on the upstream connection.
    pub(super) const fn key(&self) -> Option<&Preamble> {
        self.key.as_ref()
    }

    /// Returns whether the upstream connection is logged in by the gate.
    pub(super) const fn uses_key(&self) -> bool {
        self.used
    }

    /// A connection is asked for: its credentials do not change by a reload any more.
    pub(super) const fn fix_key(&mut self) {
        self.fixed = true;
    }

    /// As [`Identity::fix_key`], before a command needs the connection.
    pub(super) const fn fix_key_early(&mut self) {
        (self.early, self.fixed) = (true, true);
    }

    /// Returns whether a connection was asked for before a command needed it.
    pub(super) const fn connected_early(&self) -> bool {
        self.early
    }

    /// No connection is asked for any more: the credentials of the plans hold again.
    pub(super) fn refresh_key(&mut self) {
        self.key = self.plan.preamble().cloned();
        self.home_key = self.home.preamble().cloned();
        (self.fixed, self.used) = (false, false);
    }

    /// A connection without any login is there.
    pub(super) const fn connect(&mut self) {
        self.used = false;
    }

    /// The upstream took all that sets the connection up.
    pub(super) const fn set_up(&mut self) {
        self.used = self.key.is_some();
    }

    /// Another user is in, whose login the upstream needs not confirm.
    pub(super) fn enter(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.key = key;
        self.plan = plan;
        self.limits_due = true;
    }

    /// The upstream has forgotten who the client was, or never knew.
    pub(super) fn leave(&mut self) {
        self.key = self.home_key.clone();
        self.plan = Arc::clone(&self.home);
        self.limits_due = true;
    }

    /// Another user is about to come in. Returns the login that the gate sends for it.
    pub(super) fn begin_entering(&mut self, plan: Arc<Plan>, hello: Option<Deferred>) -> &[u8] {
        let key = plan.preamble().cloned();
        let entering = self.entering.insert(Box::new(Entering { plan, key, hello }));
        entering.key.as_ref().map_or(AS_NOBODY, Preamble::bytes)
    }

    /// Returns the user whose login was answered.
    pub(super) fn take_entering(&mut self) -> Option<Entering> {
        self.entering.take().map(|entering| *entering)
    }

    /// The upstream took that user's login.
    pub(super) fn confirm_entering(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.used = key.is_some();
        self.enter(plan, key);
    }

    /// Returns whether a user is about to come in.
    pub(super) const fn is_entering(&self) -> bool {
        self.entering.is_some()
    }

    /// A HELLO waits until it can be sent.
    pub(super) fn defer(&mut self, hello: Deferred) {
        self.deferred = Some(Box::new(hello));
    }

    /// Returns the HELLO that waits.
    pub(super) fn deferred(&self) -> Option<&Deferred> {
        self.deferred.as_deref()
    }

    /// Takes the HELLO that waits.
    pub(super) fn take_deferred(&mut self) -> Option<Deferred> {
        self.deferred.take().map(|deferred| *deferred)
    }

    /// The client has logged in at Redis itself, or is logged out there by RESET.
    pub(super) const fn set_passed_through(&mut self, logged_in: bool) {
        self.passed_through = logged_in;
    }

    /// Returns whether the client has logged in at Redis itself.
    pub(super) const fn has_passed_through(&self) -> bool {
        self.passed_through
    }

    /// Looks up the plans that a reload puts in place of those in force. `plan_of` gives the plan of a user, or of none.
    /// None: there is no place for the client any more.
    pub(super) fn renewed(
        &self,
        mut plan_of: impl FnMut(Option<&str>) -> Option<Arc<Plan>>,
    ) -> Option<Renewed> {
        let auth = self.home.auth();
        let mut renewed = |old: &Plan| plan_of(old.user()).filter(|new| new.replaces(old, auth));
        let entering = match &self.entering {
            Some(entering) => Some(renewed(&entering.plan)?),
            None => None,
        };
        Some(Renewed { home: renewed(&self.home)?, plan: renewed(&self.plan)?, entering })
    }

    /// Puts these plans in force. Returns whether the credentials may have changed, which they do only as long as no
    /// connection was asked for.
    pub(super) fn renew(&mut self, renewed: Renewed) -> bool {
        let Renewed { plan, home, entering } = renewed;
        if let (Some(entering), Some(new)) = (&mut self.entering, entering) {
            entering.plan = new;
        }
        (self.plan, self.home) = (plan, home);
        self.limits_due = true;
        let fresh = !self.fixed;
        if fresh {
            self.refresh_key();
        }
        fresh
    }

    /// Returns the limits that hold from the next frame on, once after each change.
    #[inline]
    pub(super) fn take_limits(&mut self) -> Option<RequestLimits> {
        std::mem::take(&mut self.limits_due).then(|| self.plan.limits())
    }

    /// Bytes of memory that grow with what the client says.
    pub(super) fn held(&self) -> usize {
        let entering = self.entering.as_ref().and_then(|entering| entering.hello.as_ref());
        self.deferred.as_deref().map_or(0, Deferred::held) + entering.map_or(0, Deferred::held)
    }
}
