//! The audit trail: connections with the entry that decided, logins, commands, and changes by operators.
//!
//! One JSON object a line, in the form that `docs/audit.md` documents. A report appends its line to a bounded
//! buffer, and one thread writes the buffer to the output. If the output is too slow, lines are dropped and counted.
//! With `on_overflow: block`, the reporting thread waits instead. The same facts go to the log: refusals at `info`,
//! accepted and closed connections at `debug`.

mod gather;
mod line;
mod queue;
mod recent;
mod sink;
mod syslog;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use portcullis_acl::{ClientAddr, Rule, RuleOwner};
use portcullis_config::{AuditPath, Overflow};
use portcullis_session::Denial;
use thiserror::Error;

use crate::metrics::{ClosedReason, LineCounter, RefusedReason, command_label};

pub(crate) use self::line::{LoginCheck, LoginResult};
pub(crate) use self::recent::RefusedSource;

use self::gather::{Gather, Gathered};
use self::line::{DenialFacts, Line, LineSource, Refusal, RuleFacts};
use self::queue::Queue;
use self::recent::Recent;
use self::sink::Sink;
use self::writer::Writer;

/// A handle to the audit trail. All clones report to the same trail.
#[derive(Clone, Debug)]
pub(crate) struct Audit(Arc<Inner>);

struct Inner {
    gather: Mutex<Gather>,
    recent: Mutex<Recent>,
    queue: Queue,
    /// A new output, to which the writer changes when it handles the next reopen request.
    replacement: Mutex<Option<Sink>>,
}

/// An output that is open, and to which nothing is written yet.
pub(crate) struct Output(Sink);

impl Output {
    /// Opens the output.
    ///
    /// # Errors
    /// [`AuditError::Open`] if the output cannot be opened.
    pub(crate) fn open(to: &AuditPath) -> Result<Self, AuditError> {
        Sink::open(to).map(Self)
    }

    /// Tries whether the output can be opened, and leaves no file behind.
    ///
    /// # Errors
    /// The audit output cannot be opened.
    pub(crate) fn try_open(to: &AuditPath) -> io::Result<()> {
        sink::try_open(to)
    }
}

/// Appends the line of a change that a command of the operator has made. The running proxy writes to the same place.
/// Nothing is written to the standard output of the proxy, which another process does not reach.
///
/// # Errors
/// The line cannot be written. A file that does not exist yet is not created: the proxy must own it.
pub(crate) fn append(to: &AuditPath, facts: &impl serde::Serialize) -> io::Result<()> {
    match to {
        AuditPath::Unset | AuditPath::Stdout | AuditPath::Stderr => Ok(()),
        AuditPath::File(_) | AuditPath::Syslog(_) => sink::append(to, &line::event(facts)),
    }
}

/// The client that a report is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The number of the session, unique in the life of the process.
    pub id: u64,
    /// The source address of the client.
    pub source: ClientAddr,
    /// The name of the client's listener.
    pub listener: &'a str,
    /// The entry that admitted the client.
    pub rule: Option<&'a Rule<'a>>,
    /// The user that the client logged in as, where the proxy has users.
    pub user: Option<&'a str>,
}

/// The totals of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Bytes read from the client.
    pub bytes_from_client: u64,
    /// Bytes written to the client.
    pub bytes_to_client: u64,
    /// Commands received, including refused ones.
    pub commands: u64,
    /// Commands refused by the proxy.
    pub denied: u64,
    /// The time from the client's admission to the end of the connection.
    pub duration: Duration,
}

/// The reason why the audit trail could not be opened.
#[derive(Debug, Error)]
pub(crate) enum AuditError {
    /// The configured output cannot be opened.
    #[error("cannot open audit output '{to}': {source}")]
    Open {
        /// The configured path.
        to: AuditPath,
        /// The error of the system.
        source: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the audit thread: {0}")]
    Thread(io::Error),
}

impl Audit {
    /// Opens the output and starts the thread that writes.
    ///
    /// # Errors
    /// The output cannot be opened, or the thread cannot be started.
    pub(crate) fn start(to: &AuditPath, on_overflow: Overflow) -> Result<Self, AuditError> {
        Self::start_on(Sink::open(to)?, on_overflow)
    }

    fn start_on(sink: Sink, on_overflow: Overflow) -> Result<Self, AuditError> {
        let (gather, recent) = (Mutex::default(), Mutex::default());
        let inner =
            Arc::new(Inner { gather, recent, queue: Queue::new(on_overflow), replacement: Mutex::default() });
        let writer = Writer::new(Arc::clone(&inner), sink);
        let thread = thread::Builder::new().name("audit".into());
        thread.spawn(move || writer.run()).map_err(AuditError::Thread)?;
        Ok(Self(inner))
    }

    /// Reports an admitted source.
    pub(crate) fn accepted(&self, who: &Subject<'_>) {
        let (source, listener) = (who.source, who.listener);
        let rule = who.rule.map(RuleFacts::of);
        tracing::debug!(
            target: LOG_TARGET,
            id = who.id,
            source = %source,
            listener = %listener,
            group = group(rule.as_ref()),
            entry = entry(rule.as_ref()),
            file = file(rule.as_ref()),
            line = rule.as_ref().and_then(|rule| rule.line),
            "accepted"
        );
        self.0.queue.push(&Line::accepted(who.id, source, listener, who.rule).to_json());
    }

    /// Reports a refused source. `rule` is the entry that decided; `None` if no entry did. The first refusal of a
    /// source, listener and reason is reported at once. Further ones within a second become one line with their
    /// number.
    pub(crate) fn refused(
        &self,
        source: ClientAddr,
        listener: &Arc<str>,
        reason: RefusedReason,
        rule: Option<&Rule<'_>>,
    ) {
        self.0.recent().add(source, listener, reason, SystemTime::now());
        let refusal = Refusal::Connection(reason);
        if self.0.gather().add(source, listener, refusal, rule, Instant::now()) == Gathered::First {
            let rule = rule.map(RuleFacts::of);
            self.0.queue.push(&Inner::refusal(LineSource::One(source), listener, refusal, rule, 1));
        }
    }

    /// Reports a login. `listener` is the listener of `who`. Failures of one source within a second become one line, as
    /// refusals do.
    pub(crate) fn login(&self, who: &Subject<'_>, listener: &Arc<str>, by: LoginCheck, result: LoginResult) {
        if result != LoginResult::Failed {
            return self.0.queue.push(&Line::login(who, by, result).to_json());
        }
        let refusal = Refusal::Login(by);
        if self.0.gather().add(who.source, listener, refusal, None, Instant::now()) == Gathered::First {
            self.0.queue.push(&Line::first_refused(who, refusal, None).to_json());
        }
    }

    /// Reports a command that the proxy refused. Those of one source, command and reason within a second become one
    /// line.
    pub(crate) fn denied(&self, who: &Subject<'_>, listener: &Arc<str>, denial: &Denial<'_>) {
        let refusal = Refusal::Command(command_label(denial.command()), denial.reason().into());
        if self.0.gather().add(who.source, listener, refusal, None, Instant::now()) == Gathered::First {
            let decided = denial.rule();
            let facts = DenialFacts { acl: decided.owner.map(owner_name), text: decided.rule };
            self.0.queue.push(&Line::first_refused(who, refusal, Some(facts)).to_json());
        }
    }

    /// Reports `count` commands with the same name. `keys` are the keys of one command, as the configuration wants them.
    pub(crate) fn command(
        &self,
        who: &Subject<'_>,
        command: &'static str,
        keys: Option<&[String]>,
        count: u64,
    ) {
        self.0.queue.push(&Line::command(who, command, keys, count).to_json());
    }

    /// Returns the sources that were refused last, the latest first.
    pub(crate) fn refused_last(&self) -> Vec<RefusedSource> {
        self.0.recent().list()
    }

    /// Reports the end of an admitted connection.
    pub(crate) fn closed(&self, who: &Subject<'_>, reason: ClosedReason, totals: &Totals) {
        let (source, listener) = (who.source, who.listener);
        tracing::debug!(
            target: LOG_TARGET,
            id = who.id,
            source = %source,
            listener = %listener,
            user = who.user.map(tracing::field::display),
            reason = %reason,
            bytes_from_client = totals.bytes_from_client,
            bytes_to_client = totals.bytes_to_client,
            commands = totals.commands,
            denied = totals.denied,
            seconds = totals.seconds(),
            "closed"
        );
        self.0.queue.push(&Line::closed(who, reason, totals).to_json());
    }

    /// Reopens the file by its path, after log rotation has moved the old file away.
    pub(crate) fn reopen(&self) {
        self.0.queue.reopen();
    }

    /// Changes the output to `to`. Lines that wait in the buffer go to the new output as well.
    pub(crate) fn redirect(&self, to: Output, on_overflow: Overflow) {
        *self.0.replacement.lock().unwrap_or_else(PoisonError::into_inner) = Some(to.0);
        self.0.queue.set_overflow(on_overflow);
        self.0.queue.reopen();
    }

    /// Reports an event with facts of its own: a reload, a change by an operator, or a blocked source. `facts` is the line
    /// without its time.
    pub(crate) fn event(&self, facts: &impl serde::Serialize) {
        self.0.queue.push(&line::event(facts));
    }

    /// Returns the number of dropped lines.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.queue.dropped()
    }

    /// Returns a function that calls [`Self::dropped`], for [`crate::metrics::Metrics::new`].
    pub(crate) fn drop_counter(&self) -> LineCounter {
        let audit = self.clone();
        Box::new(move || audit.dropped())
    }

    /// Reports all gathered refusals and waits until the buffer is written, for at most [`FINISH_TIMEOUT`]. Later
    /// reports are dropped.
    pub(crate) fn finish(&self) {
        self.0.queue.close(FINISH_TIMEOUT);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Inner {
    fn gather(&self) -> std::sync::MutexGuard<'_, Gather> {
        self.gather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the line for one refusal, or for several, and logs refused connections.
    fn refusal(
        source: LineSource,
        listener: &str,
        refusal: Refusal,
        rule: Option<RuleFacts<'_>>,
        count: u64,
    ) -> Vec<u8> {
        if let Refusal::Connection(reason) = refusal {
            tracing::info!(
                target: LOG_TARGET,
                source = %source,
                listener = %listener,
                reason = %reason,
                group = group(rule.as_ref()),
                entry = entry(rule.as_ref()),
                file = file(rule.as_ref()),
                line = rule.as_ref().and_then(|rule| rule.line),
                count,
                "refused"
            );
        }
        Line::refused(source, listener, refusal, rule, count).to_json()
    }
}

impl Totals {
    fn seconds(&self) -> f64 {
        // The clock is precise to about a microsecond; more digits would be noise.
        (self.duration.as_secs_f64() * 1e6).round() / 1e6
    }
}

fn owner_name(owner: RuleOwner) -> &'static str {
    match owner {
        RuleOwner::Listener => "listener",
        RuleOwner::User => "user",
    }
}

fn group<'a>(rule: Option<&'a RuleFacts<'a>>) -> Option<tracing::field::DisplayValue<&'a str>> {
    rule.and_then(|rule| rule.group).map(tracing::field::display)
}

fn file<'a>(rule: Option<&RuleFacts<'a>>) -> Option<tracing::field::DisplayValue<&'a str>> {
    rule.and_then(|rule| rule.file).map(tracing::field::display)
}

fn entry<'a>(
    rule: Option<&'a RuleFacts<'a>>,
) -> Option<tracing::field::DisplayValue<impl fmt::Display + 'a>> {
    rule.map(|rule| tracing::field::display(&rule.entry))
}

/// The `tracing` target of log lines whose facts are also in the audit trail.
pub(crate) const LOG_TARGET: &str = "portcullis::audit";

/// The time that [`Audit::finish`] waits for a slow output.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);
