//! The user that the client has logged in as, and the Redis user that its upstream connection is logged in as.
//!
//! The two always change together. The client becomes another user when no reply is pending and the upstream has
//! confirmed the matching login. Until then the session reads nothing more. A user's WATCH and subscriptions belong to
//! the connection and stay, as they do in Redis.

use std::sync::Arc;

use portcullis_resp::limits::RequestLimits;

use crate::link::{AS_NOBODY, Preamble};
use crate::local::hello::Greeting;
use crate::plan::Plan;
use crate::tick::Tick;

/// The policy in force for the client, and the credentials of its upstream connection.
#[derive(Debug)]
pub(super) struct Identity {
    /// The policy in force.
    plan: Arc<Plan>,
    /// The policy of the client at admission, to which RESET returns.
    home: Arc<Plan>,
    /// The gate's login on the upstream connection for the current user. It is fixed when a connection is requested or
    /// the user logs in, so a reload changes only the credentials of later connections.
    key: Option<Preamble>,
    /// The gate's login for the user to which RESET returns.
    home_key: Option<Preamble>,
    /// Whether a connection was requested.
    fixed: bool,
    /// Whether a connection was requested before a command needed it.
    early: bool,
    /// Whether the gate has logged in on the connection.
    used: bool,
    entering: Option<Box<Entering>>,
    deferred: Option<Box<Deferred>>,
    /// Whether the client has logged in at Redis itself, under [`Auth::Passthrough`](crate::plan::Auth::Passthrough).
    passed_through: bool,
    /// Whether the plan's limits must be applied before the next frame.
    limits_due: bool,
}

/// A user whose credentials are right, and whose login the upstream has not confirmed yet.
#[derive(Debug)]
pub(super) struct Entering {
    pub(super) plan: Arc<Plan>,
    /// The gate's login on this connection. A reload does not change it any more.
    pub(super) key: Option<Preamble>,
    pub(super) hello: Option<Deferred>,
}

/// A HELLO without its credentials, which is sent after the login of its user.
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

/// Plans of a new configuration for a session that continues.
pub(super) struct Renewed {
    pub(super) plan: Arc<Plan>,
    home: Arc<Plan>,
    entering: Option<Arc<Plan>>,
}

impl Identity {
    /// Creates the identity of a client that was admitted under `plan`.
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

    /// Returns the policy in force.
    #[inline]
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the gate's login on the upstream connection. `None` if the gate does not log in.
    pub(super) const fn key(&self) -> Option<&Preamble> {
        self.key.as_ref()
    }

    /// Returns whether the gate has logged in on the upstream connection.
    pub(super) const fn uses_key(&self) -> bool {
        self.used
    }

    /// Fixes the credentials when a connection is requested, so a reload does not change them any more.
    pub(super) const fn fix_key(&mut self) {
        self.fixed = true;
    }

    /// Fixes the credentials like [`Identity::fix_key`], for a connection that no command needs yet.
    pub(super) const fn fix_key_early(&mut self) {
        (self.early, self.fixed) = (true, true);
    }

    /// Returns whether a connection was requested before a command needed it.
    pub(super) const fn connected_early(&self) -> bool {
        self.early
    }

    /// Withdraws the request for a connection. The credentials of the current plans apply again.
    pub(super) fn refresh_key(&mut self) {
        self.key = self.plan.preamble().cloned();
        self.home_key = self.home.preamble().cloned();
        (self.fixed, self.used) = (false, false);
    }

    /// Records the loss of a connection that another one will replace, as soon as a command needs it. A login that was
    /// pending has failed.
    pub(super) fn carry(&mut self) {
        self.entering = None;
        self.refresh_key();
        self.early = true;
    }

    /// Records a connection on which the gate has not logged in.
    pub(super) const fn connect(&mut self) {
        self.used = false;
    }

    /// Records that the upstream accepted the connection's setup.
    pub(super) const fn set_up(&mut self) {
        self.used = self.key.is_some();
    }

    /// Makes another user the current one. The upstream has confirmed the login of that user, or need not confirm it.
    pub(super) fn enter(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.key = key;
        self.plan = plan;
        self.limits_due = true;
    }

    /// Makes the user at admission the current one again, because the upstream has forgotten the client's user or never
    /// knew it.
    pub(super) fn leave(&mut self) {
        self.key = self.home_key.clone();
        self.plan = Arc::clone(&self.home);
        self.limits_due = true;
    }

    /// Begins the login of another user. Returns the login that the gate sends for that user.
    pub(super) fn begin_entering(&mut self, plan: Arc<Plan>, hello: Option<Deferred>) -> &[u8] {
        let key = plan.preamble().cloned();
        let entering = self.entering.insert(Box::new(Entering { plan, key, hello }));
        entering.key.as_ref().map_or(AS_NOBODY, Preamble::bytes)
    }

    /// Takes the user whose login the upstream has answered.
    pub(super) fn take_entering(&mut self) -> Option<Entering> {
        self.entering.take().map(|entering| *entering)
    }

    /// Makes the user of [`Identity::take_entering`] the current one, after the upstream accepted the login.
    pub(super) fn confirm_entering(&mut self, plan: Arc<Plan>, key: Option<Preamble>) {
        self.used = key.is_some();
        self.enter(plan, key);
    }

    /// Returns whether the login of a user is pending.
    pub(super) const fn is_entering(&self) -> bool {
        self.entering.is_some()
    }

    /// Keeps a HELLO that must wait before it is sent.
    pub(super) fn defer(&mut self, hello: Deferred) {
        self.deferred = Some(Box::new(hello));
    }

    /// Returns the HELLO that waits. `None` if none waits.
    pub(super) fn deferred(&self) -> Option<&Deferred> {
        self.deferred.as_deref()
    }

    /// Takes the HELLO that waits.
    pub(super) const fn take_deferred(&mut self) -> Option<Box<Deferred>> {
        self.deferred.take()
    }

    /// Records that the client has logged in at Redis itself, or that RESET has logged it out.
    pub(super) const fn set_passed_through(&mut self, logged_in: bool) {
        self.passed_through = logged_in;
    }

    /// Returns whether the client has logged in at Redis itself.
    pub(super) const fn has_passed_through(&self) -> bool {
        self.passed_through
    }

    /// Finds the plans with which a reload replaces the current ones. `plan_of` returns the plan of a user, or the plan
    /// without a user. Returns `None` if there is no plan for the client any more.
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

    /// Puts these plans in force. Returns whether the credentials may have changed. They change only if no connection
    /// was requested yet.
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

    /// Returns the limits for the next frame, once after each change. Returns `None` if they have not changed.
    #[inline]
    pub(super) fn take_limits(&mut self) -> Option<RequestLimits> {
        std::mem::take(&mut self.limits_due).then(|| self.plan.limits())
    }

    /// Returns the bytes of memory that grow with the client's input.
    #[inline]
    pub(super) fn held(&self) -> usize {
        let entering = self.entering.as_ref().and_then(|entering| entering.hello.as_ref());
        self.deferred.as_deref().map_or(0, Deferred::held) + entering.map_or(0, Deferred::held)
    }
}
