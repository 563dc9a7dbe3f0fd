//! The log: text or JSON lines on standard error, written by a thread of their own so that a slow terminal or a full
//! disk never holds up a client. Lines that find the queue full are dropped and counted.
//!
//! Text that came from outside goes into a line through [`Escaped`]. As a second net, no line leaves with a control character
//! in it, so one event is one line and a terminal cannot be told anything (CVE-2024-45808).
//!
//! Where standard error is a terminal, text lines have a form for people: see [`terminal`].

mod escape;
mod key;
mod terminal;
mod throttle;
mod timestamp;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portcullis_config::{Log, LogFormat, LogLevel};
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{Layer, reload};

pub(crate) use self::escape::Escaped;
use self::escape::Form;
pub(crate) use self::key::shown_key;
pub(crate) use self::terminal::ForTerminal;
pub(crate) use self::throttle::LogThrottle;
pub(crate) use self::timestamp::Timestamp;

/// Lines that wait for standard error. At some 150 bytes each this is a megabyte, and a second of a log in a loop.
const QUEUE_LINES: usize = 8192;

/// Keeps the log running until the end of the process: dropping it writes the lines that are still queued.
#[must_use = "dropping the guard stops the log"]
#[derive(Debug)]
pub(crate) struct Guard(#[expect(dead_code, reason = "it does its work when it is dropped")] WorkerGuard);

/// The handle that changes the log's form and level while it runs.
#[derive(Clone, Debug)]
struct Levels {
    text: reload::Handle<Targets, Registry>,
    json: reload::Handle<Targets, Registry>,
}

/// The reason why the log could not be started.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    /// A process has one log, and it is already started.
    #[error("the log has already been started")]
    AlreadyStarted,
}

/// Starts the log of this process. `RUST_LOG` has no effect: only the configuration sets what is logged.
///
/// # Errors
/// The log was started before.
pub(crate) fn start(settings: &Log) -> Result<Guard, LogError> {
    start_with(settings, io::stderr(), ForTerminal::detect())
}

/// Starts the log, which goes into `out`, with a form for terminals if `out` is one.
///
/// # Errors
/// The log was started before.
pub(crate) fn start_with(
    settings: &Log,
    out: impl Write + Send + 'static,
    form: Option<ForTerminal>,
) -> Result<Guard, LogError> {
    let (lines, guard) = queue(Lossy(out));
    let _ = DROPPED.set(lines.error_counter());
    let (text, text_level) = reload::Layer::new(level_of(settings, LogFormat::Text));
    let (json, json_level) = reload::Layer::new(level_of(settings, LogFormat::Json));
    let text = match form {
        Some(form) => terminal_layer(lines.clone(), form, text),
        None => text_layer(lines.clone(), text),
    };
    let layers = vec![text, json_layer(lines, json)];
    tracing::subscriber::set_global_default(Registry::default().with(layers))
        .map_err(|_| LogError::AlreadyStarted)?;
    let _ = LEVELS.set(Levels { text: text_level, json: json_level });
    log_panics();
    Ok(Guard(guard))
}

/// Changes to another form or level. Without a log (in a test) nothing happens.
pub(crate) fn change(settings: &Log) {
    if let Some(levels) = LEVELS.get() {
        levels.change(settings);
    }
}

impl Levels {
    fn change(&self, settings: &Log) {
        // They fail only when the log is gone.
        let _ = self.text.reload(level_of(settings, LogFormat::Text));
        let _ = self.json.reload(level_of(settings, LogFormat::Json));
    }
}

/// Returns the number of dropped lines of this process, for [`crate::metrics::Metrics::new`].
pub(crate) fn dropped_lines() -> u64 {
    let full = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(full).unwrap_or(u64::MAX).saturating_add(FAILED.load(Relaxed))
}

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
static LEVELS: OnceLock<Levels> = OnceLock::new();
static FAILED: AtomicU64 = AtomicU64::new(0);

fn queue(out: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES).thread_name("log").finish(out)
}

fn text_layer<W, F>(out: W, filter: F) -> BoxedLayer
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    F: Filter<Registry> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_timer(Clock)
        .with_target(false)
        .with_writer(OneLine(out, Form::TextLine))
        .with_filter(filter)
        .boxed()
}

/// The text form where standard error is a terminal. [`ForTerminal`] escapes what it writes, so that its own colours pass.
fn terminal_layer<W, F>(out: W, form: ForTerminal, filter: F) -> BoxedLayer
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    F: Filter<Registry> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().event_format(form).with_writer(out).with_filter(filter).boxed()
}

fn json_layer<W, F>(out: W, filter: F) -> BoxedLayer
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    F: Filter<Registry> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_timer(Clock)
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(OneLine(out, Form::JsonLine))
        .with_filter(filter)
        .boxed()
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The filter of the layer of that form: it passes nothing when the log has the other form.
fn level_of(settings: &Log, form: LogFormat) -> Targets {
    if settings.format() == form { filter(settings.level()) } else { Targets::new() }
}

/// The text that this thread logs during a test.
#[cfg(test)]
pub(crate) fn captured(events: impl FnOnce()) -> String {
    tests::logged(LogFormat::Text, LogLevel::Debug, events)
}

/// The level applies to our own events; of libraries only warnings and errors are logged.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target("portcullis", level).with_default(level.min(LevelFilter::WARN))
}

/// A panic ends one session, and the log says where. Not what: a panic's text can quote the data it choked on.
fn log_panics() {
    panic::set_hook(Box::new(|info| log_panic(info.location())));
}

fn log_panic(location: Option<&panic::Location<'_>>) {
    match location {
        Some(at) => {
            tracing::error!("panicked at {}:{}: this is a bug in portcullis", at.file(), at.line());
        }
        None => tracing::error!("panicked: this is a bug in portcullis"),
    }
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        write!(to, "{}", Timestamp::now())
    }
}

/// A sink whose failures are counted and otherwise ignored: there is nowhere to report them.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            FAILED.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes writers that let no control character through but the newline at the end.
struct OneLine<W>(W, Form);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLineWriter(self.0.make_writer(), self.1)
    }

    fn make_writer_for(&'w self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        OneLineWriter(self.0.make_writer_for(meta), self.1)
    }
}

struct OneLineWriter<W>(W, Form);

impl<W: Write> Write for OneLineWriter<W> {
    /// The layer hands over each event whole.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        if escape::is_clean(line) {
            self.0.write_all(event)?;
        } else {
            self.0.write_all(format!("{}\n", Escaped::line(line, self.1)).as_bytes())?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
