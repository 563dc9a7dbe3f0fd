//! One listener of a configuration, and what it keeps from one configuration to the next, as long as its name stays.

use std::sync::Arc;

use portcullis_acl::{ClientAddr, Decision, Permit, Policy, UnixSeconds};
use portcullis_config as config;
use portcullis_config::Upstream;
use portcullis_session::Plan;

use super::denials::Denials;
use super::logins::{Logins, NotFromThere};
use super::shadow::Shadow;
use super::sources::SourceTable;
use crate::generation::seats::Seat;
use crate::log::LogThrottle;
use crate::metrics::{ListenerSeries, UpstreamSeries};

/// One listener of one generation: all that holds for its clients. It is held rather than looked up by an index, so that a
/// listener of one configuration is never judged by another.
#[derive(Debug)]
pub(crate) struct Listener {
    settings: Arc<config::Listener>,
    policy: Arc<Policy>,
    logins: Arc<Logins>,
    state: Arc<ListenerState>,
    upstream_series: Arc<UpstreamSeries>,
}

impl Listener {
    /// The listener with these settings and this lasting state.
    pub(super) fn new(
        settings: Arc<config::Listener>,
        policy: Arc<Policy>,
        logins: Logins,
        state: Arc<ListenerState>,
        upstream_series: Arc<UpstreamSeries>,
    ) -> Self {
        Self { settings, policy, logins: Arc::new(logins), state, upstream_series }
    }

    /// The name in the configuration.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.state.name
    }

    /// Its part of the config.
    pub(crate) fn settings(&self) -> &Arc<config::Listener> {
        &self.settings
    }

    /// The upstream of its clients.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        self.settings.upstream()
    }

    /// The counters of the upstream.
    pub(crate) fn upstream_series(&self) -> &Arc<UpstreamSeries> {
        &self.upstream_series
    }

    /// The users that its clients can be.
    pub(crate) fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// The state that is kept from one configuration to the next.
    pub(crate) fn state(&self) -> &Arc<ListenerState> {
        &self.state
    }

    /// Judges a source by the lists.
    pub(crate) fn judge(&self, from: &ClientAddr, now: UnixSeconds) -> Decision {
        self.policy.judge(self.settings.index(), from, now)
    }

    /// Judges a source by the shadow lists, if there are any.
    pub(crate) fn judge_shadow(&self, from: &ClientAddr, now: UnixSeconds) -> Option<Decision> {
        self.policy.judge_shadow(self.settings.index(), from, now)
    }

    /// Whether there are shadow lists.
    pub(crate) fn has_shadow(&self) -> bool {
        self.policy.has_shadow(self.settings.index())
    }

    /// Whether PROXY headers of this sender are believed.
    pub(crate) fn trusts(&self, sender: &ClientAddr, now: UnixSeconds) -> bool {
        self.policy.speaks_for_others(self.settings.index(), sender, now)
    }

    /// Whether a user may come from there; see [`Logins::admits`].
    ///
    /// # Errors
    /// There is no such user, or not from there.
    pub(crate) fn admits(
        &self,
        user: Option<&str>,
        from: &ClientAddr,
        now: UnixSeconds,
    ) -> Result<Option<Permit>, NotFromThere> {
        self.logins.admits(user, &self.policy, from, now)
    }

    /// Returns the plan of the user with these credentials, if that user may log in from this address.
    pub(crate) fn authenticate(
        &self,
        name: Option<&[u8]>,
        password: &[u8],
        from: &ClientAddr,
        now: UnixSeconds,
    ) -> Option<Arc<Plan>> {
        self.logins.authenticate(name, password, &self.policy, from, now)
    }
}

/// One listener's seats, counters and observations; shared by all threads.
#[derive(Debug)]
pub(crate) struct ListenerState {
    name: Arc<str>,
    seat: Seat,
    sources: Arc<SourceTable>,
    series: Arc<ListenerSeries>,
    shadow: Shadow,
    denials: Arc<Denials>,
    failed_handshakes: LogThrottle,
}

impl ListenerState {
    /// Makes the state of a new listener; it has no seats before its limit is set.
    pub(crate) fn new(name: &str, series: &Arc<ListenerSeries>) -> Self {
        Self {
            name: name.into(),
            seat: Seat::new(0),
            sources: Arc::default(),
            series: Arc::clone(series),
            shadow: Shadow::default(),
            denials: Arc::default(),
            failed_handshakes: LogThrottle::new(),
        }
    }

    /// The name in the configuration.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its clients.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The usage of each source.
    pub(crate) fn sources(&self) -> &Arc<SourceTable> {
        &self.sources
    }

    /// The counters of the listener.
    pub(crate) fn series(&self) -> &Arc<ListenerSeries> {
        &self.series
    }

    /// The refused commands of its clients, for the log.
    pub(crate) fn denials(&self) -> &Arc<Denials> {
        &self.denials
    }

    /// Limits how often the log tells of failed TLS handshakes.
    pub(crate) fn failed_handshakes(&self) -> &LogThrottle {
        &self.failed_handshakes
    }

    /// The sources that its shadow policy would have refused.
    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadow
    }
}
