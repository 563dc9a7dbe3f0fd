//! One listener of a configuration, and the state that a listener keeps through reloads while its name stays the
//! same.

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

/// One listener of one generation, with everything that applies to its clients. Clients hold the listener itself
/// instead of an index, so that a listener of one configuration is never judged by another configuration.
#[derive(Debug)]
pub(crate) struct Listener {
    settings: Arc<config::Listener>,
    policy: Arc<Policy>,
    logins: Arc<Logins>,
    state: Arc<ListenerState>,
    upstream_series: Arc<UpstreamSeries>,
}

impl Listener {
    /// Makes the listener of a generation from its settings and the state that it keeps through reloads.
    pub(super) fn new(
        settings: Arc<config::Listener>,
        policy: Arc<Policy>,
        logins: Logins,
        state: Arc<ListenerState>,
        upstream_series: Arc<UpstreamSeries>,
    ) -> Self {
        Self { settings, policy, logins: Arc::new(logins), state, upstream_series }
    }

    /// Returns the name in the configuration.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.state.name
    }

    /// Returns the listener's part of the configuration.
    pub(crate) fn settings(&self) -> &Arc<config::Listener> {
        &self.settings
    }

    /// Returns the upstream of the listener's clients.
    pub(crate) fn upstream(&self) -> &Arc<Upstream> {
        self.settings.upstream()
    }

    /// Returns the counters of the upstream.
    pub(crate) fn upstream_series(&self) -> &Arc<UpstreamSeries> {
        &self.upstream_series
    }

    /// Returns the users of the listener and their rules.
    pub(crate) fn logins(&self) -> &Arc<Logins> {
        &self.logins
    }

    /// Returns the state that the listener keeps through reloads.
    pub(crate) fn state(&self) -> &Arc<ListenerState> {
        &self.state
    }

    /// Judges a source by the lists of the listener.
    pub(crate) fn judge(&self, from: &ClientAddr, now: UnixSeconds) -> Decision {
        self.policy.judge(self.settings.index(), from, now)
    }

    /// Judges a source by the shadow lists. `None` if the listener has none.
    pub(crate) fn judge_shadow(&self, from: &ClientAddr, now: UnixSeconds) -> Option<Decision> {
        self.policy.judge_shadow(self.settings.index(), from, now)
    }

    /// Returns whether the listener has shadow lists.
    pub(crate) fn has_shadow(&self) -> bool {
        self.policy.has_shadow(self.settings.index())
    }

    /// Returns whether the listener trusts PROXY headers of this sender.
    pub(crate) fn trusts(&self, sender: &ClientAddr, now: UnixSeconds) -> bool {
        self.policy.speaks_for_others(self.settings.index(), sender, now)
    }

    /// Checks whether a user may connect from this source; see [`Logins::admits`].
    ///
    /// # Errors
    /// [`NotFromThere`]: the user is unknown, or may not connect from this source.
    pub(crate) fn admits(
        &self,
        user: Option<&str>,
        from: &ClientAddr,
        now: UnixSeconds,
    ) -> Result<Option<Permit>, NotFromThere> {
        self.logins.admits(user, &self.policy, from, now)
    }

    /// Returns the plan of the user with these credentials. `None` if the credentials are wrong or the user may not
    /// log in from this source.
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

/// The seats, counters and observations of one listener, shared by all threads.
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
    /// Makes the state of a new listener. It admits no client until its limits are set.
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

    /// Returns the name in the configuration.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the seats of the listener's clients.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Returns the usage of each source.
    pub(crate) fn sources(&self) -> &Arc<SourceTable> {
        &self.sources
    }

    /// Returns the counters of the listener.
    pub(crate) fn series(&self) -> &Arc<ListenerSeries> {
        &self.series
    }

    /// Returns the log throttles for refused commands.
    pub(crate) fn denials(&self) -> &Arc<Denials> {
        &self.denials
    }

    /// Returns the log throttle for failed TLS handshakes.
    pub(crate) fn failed_handshakes(&self) -> &LogThrottle {
        &self.failed_handshakes
    }

    /// Returns the sources that the shadow lists would have refused.
    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadow
    }
}
