//! Log lines for people at a terminal: time, level, message, fields, with colours.

use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::io::{self, IsTerminal};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Timestamp;
use super::escape::{Escaped, Form};

/// The form of lines on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForTerminal {
    colours: bool,
}

impl ForTerminal {
    /// `None` if standard error is not a terminal.
    pub(super) fn detect() -> Option<Self> {
        let environment = |name| std::env::var_os(name);
        let (no_color, term) = (environment("NO_COLOR"), environment("TERM"));
        io::stderr().is_terminal().then(|| Self::of(no_color.as_deref(), term.as_deref()))
    }

    /// The form under these values of `NO_COLOR` (<https://no-color.org>: set, and not empty) and `TERM`.
    pub(super) fn of(no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let forbidden = no_color.is_some_and(|value| !value.is_empty());
        let capable = term.is_some_and(|term| !term.is_empty() && term != "dumb");
        Self { colours: capable && !forbidden }
    }

    fn paint(self, out: &mut Writer<'_>, style: &str, text: impl fmt::Display) -> fmt::Result {
        if self.colours { write!(out, "\x1b[{style}m{text}\x1b[0m") } else { write!(out, "{text}") }
    }
}

/// SGR codes of ECMA-48.
const DIM: &str = "2";

impl<S, N> FormatEvent<S, N> for ForTerminal
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        self.paint(&mut out, DIM, Timestamp::now().to_the_second())?;
        out.write_char(' ')?;
        self.paint(&mut out, style_of(level), format_args!("{level:<5}"))?;
        write!(out, " {}", safe(&line.message))?;
        for (name, value) in &line.fields {
            out.write_char(' ')?;
            self.paint(&mut out, DIM, format_args!("{name}="))?;
            write!(out, "{}", safe(value))?;
        }
        writeln!(out)
    }
}

/// Red, yellow, green, blue and magenta.
fn style_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "1;31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    }
}

/// A part of a line without control characters, as in the other forms.
fn safe(text: &str) -> Escaped<'_> {
    Escaped::line(text.as_bytes(), Form::TextLine)
}

/// An event's parts in the order in which they were given.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, format!("{value:?}"))),
        }
    }
}
