//! One probe: AUTH and PING on a connection that is reused for the next probe.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::{Tcp, Upstream};
use portcullis_resp::encode;
use portcullis_resp::value::Value;
use zeroize::Zeroizing;

use crate::net::stream::Stream;
use crate::upstream::connect::connect;
use crate::upstream::role::{self, Role};
use crate::upstream::view::{ClusterView, Condition, Traffic, ViewCell};

use super::exchange::{Replies, login, lost, write_all, write_login};
use super::fault::{self, Answer, Fault};

/// The time after which the connection of a probe is replaced. So the probe also notices a name with a new address,
/// or a port that does not accept connections any more.
const KEEP: Duration = Duration::from_secs(5);

/// The pause before a second try. It is long enough for a healthy Redis to notice that a connection is closed.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// The time for the sentinels to name the first master, and for the nodes of a cluster to answer. Healthy ones need some
/// milliseconds.
const FIRST_MASTER: Duration = Duration::from_secs(1);

/// The upstream of a probe, and how strict the probe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) upstream: Arc<Upstream>,
    pub(super) tcp: Tcp,
    /// Whether a listener with `auth: trust` uses the upstream. If so, NOAUTH as the reply to PING is a failure.
    pub(super) login_required: bool,
}

#[derive(Debug)]
pub(super) struct Prober {
    target: Target,
    view: Rc<ViewCell>,
    /// AUTH, if there are credentials, and PING. AUTH is sent each time: after a password change in Redis, an old
    /// connection stays logged in, but a new one cannot log in.
    request: Zeroizing<Vec<u8>>,
    kept: Option<Kept>,
    since: Instant,
}

#[derive(Debug)]
struct Kept {
    stream: Stream,
    since: Instant,
}

impl Prober {
    pub(super) fn new(target: Target, view: Rc<ViewCell>) -> Self {
        let request = request(&target.upstream);
        Self { target, view, request, kept: None, since: Instant::now() }
    }

    /// Drops the kept connection, so that the next probe opens another.
    pub(super) fn distrust(&mut self) {
        self.kept = None;
    }

    /// Returns whether a probe would tell something: not while traffic is held, because the master changes, and not
    /// before the sentinels or the nodes of a cluster had time to answer.
    pub(super) fn can_probe(&self) -> bool {
        let view = self.view.current();
        let is_known = !view.places().is_empty() || view.cluster().is_some();
        let is_early = !is_known && self.since.elapsed() < FIRST_MASTER;
        view.traffic() == Traffic::Flows && !is_early
    }

    /// Probes once. Each address and the exchange of commands has its own `connect_timeout`.
    pub(super) async fn probe(&mut self) -> Result<(), Fault> {
        if self.target.upstream.is_cluster() {
            return self.condition();
        }
        if self.view.current().places().is_empty() {
            return Err(Fault::NoMaster);
        }
        if let Some(mut kept) = self.kept.take().filter(|kept| self.is_still_good(kept)) {
            match self.ask(&mut kept.stream).await {
                // Redis may have restarted, or may have closed the idle connection. A new connection shows which.
                Err(Fault::Lost(_) | Fault::Tls { alert: false }) => {}
                result => return self.keep(kept, result),
            }
        }
        let (mut fresh, mut result) = self.ask_anew().await?;
        if result.as_ref().is_err_and(Fault::may_pass) {
            tokio::time::sleep(SECOND_LOOK).await;
            (fresh, result) = self.ask_anew().await?;
        }
        self.keep(fresh, result)
    }

    /// Returns what the nodes of a cluster say of its state. Its watcher asks and probes them.
    fn condition(&self) -> Result<(), Fault> {
        match self.view.current().cluster().map(ClusterView::condition) {
            Some(Condition::Ok) => Ok(()),
            Some(Condition::Fails) => Err(Fault::ClusterDown),
            Some(Condition::Silent) | None => Err(Fault::NoNode),
        }
    }

    fn is_still_good(&self, kept: &Kept) -> bool {
        let moved = kept.stream.peer_address().is_some_and(|peer| !self.view.current().has(peer));
        kept.since.elapsed() < KEEP && !moved
    }

    async fn ask_anew(&self) -> Result<(Kept, Result<(), Fault>), Fault> {
        let stream = connect(&self.view, &self.target.upstream, &self.target.tcp).await?;
        let mut fresh = Kept { stream, since: Instant::now() };
        let result = self.ask(&mut fresh.stream).await;
        Ok((fresh, result))
    }

    fn keep(&mut self, kept: Kept, result: Result<(), Fault>) -> Result<(), Fault> {
        if result.is_ok() {
            self.kept = Some(kept);
        }
        result
    }

    async fn ask(&self, stream: &mut Stream) -> Result<(), Fault> {
        let limit = self.target.upstream.connect_timeout();
        let result = tokio::time::timeout(limit, self.exchange(stream)).await;
        match result.unwrap_or(Err(Fault::Silent { command: "PING", limit })) {
            Err(Fault::Lost(error)) => {
                Err(lost(error, self.target.upstream.tls().is_some_and(|tls| tls.has_identity())))
            }
            result => result,
        }
    }

    async fn exchange(&self, stream: &mut Stream) -> Result<(), Fault> {
        // The server may have written a reason and closed before it read anything, so the replies are read even if
        // writing failed.
        let written = write_all(stream, &self.request).await;
        let mut replies = Replies::default();
        if self.target.upstream.credentials().is_some() {
            login(&replies.next(stream).await?)?;
        }
        if self.target.upstream.is_sentinel() && role::read(&mut replies, stream).await? == Role::Replica {
            return Err(Fault::Answer(Answer::Replica));
        }
        self.pong(&replies.next(stream).await?)?;
        written.map_err(Fault::Lost)?;
        if replies.is_empty() { Ok(()) } else { Err(Fault::Answer(Answer::NotRedis)) }
    }

    /// Checks the reply to PING. Errors that do not affect every client count as success: the server is alive, and
    /// each client gets its own error.
    fn pong(&self, reply: &Value) -> Result<(), Fault> {
        let answer = match reply {
            Value::Error(line) if line.starts_with(b"NOAUTH") => {
                self.target.login_required.then_some(Answer::PasswordWanted)
            }
            Value::Error(line) => fault::unasked(line),
            other if other.as_bytes() == Some(b"PONG") => None,
            _ => Some(Answer::NotRedis),
        };
        answer.map_or(Ok(()), |answer| Err(Fault::Answer(answer)))
    }
}

fn request(upstream: &Upstream) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(512));
    if let Some(credentials) = upstream.credentials() {
        write_login(&mut out, credentials);
    }
    if upstream.is_sentinel() {
        role::write_questions(&mut out);
    }
    encode::command(&mut out, &[b"PING"]);
    out
}
