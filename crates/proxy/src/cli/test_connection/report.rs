//! The output of a test: lines while it runs, or one JSON object at its end.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use portcullis_config::Listener;
use serde_json::{Value, json};

use super::step::{Severity, Step};

/// The columns of a line.
const WIDTH: usize = 80;
/// The columns before the text of a step.
const INDENT: usize = 11;
/// The columns of a time with the space before it.
const TIME: usize = 10;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// The kind of a tested part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    Upstream,
    Listener,
}

impl PartKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Listener => "listener",
        }
    }
}

/// The mode of the client that tests a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Sentinel,
    Cluster,
}

impl Mode {
    pub(super) const ALL: [Self; 3] = [Self::Standalone, Self::Sentinel, Self::Cluster];

    /// Returns the word of `present_as`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }

    /// Describes the client.
    pub(super) const fn client(self) -> &'static str {
        match self {
            Self::Standalone => "as a plain client",
            Self::Sentinel => "as a Sentinel client",
            Self::Cluster => "as a Cluster client",
        }
    }

    /// Returns whether the listener presents itself as what such a client expects.
    pub(super) fn is_of(self, listener: &Listener) -> bool {
        let presentation = listener.presentation();
        match self {
            Self::Standalone => presentation.is_standalone(),
            Self::Sentinel => presentation.is_sentinel(),
            Self::Cluster => presentation.is_cluster(),
        }
    }
}

/// A tested part of the configuration.
#[derive(Debug)]
struct Part {
    kind: PartKind,
    name: String,
    /// The mode of the client, for a listener.
    mode: Option<Mode>,
    steps: Vec<Step>,
    works: bool,
}

/// The results so far. In the text form each step is written as soon as it ends.
#[derive(Debug)]
pub(super) struct Report {
    form: Form,
    parts: Vec<Part>,
}

impl Report {
    /// Makes a report without results.
    pub(super) const fn new(form: Form) -> Self {
        Self { form, parts: Vec::new() }
    }

    /// Begins a part. `about` describes it.
    pub(super) fn begin(&mut self, kind: PartKind, name: &str, about: &str) {
        self.parts.push(Part { kind, name: name.to_owned(), mode: None, steps: Vec::new(), works: false });
        self.write(&format!("{} {name} ({about})\n", kind.as_str()));
    }

    /// Begins the test of a listener by a client in this mode.
    pub(super) fn begin_as(&mut self, mode: Mode, name: &str, about: &str) {
        self.begin(PartKind::Listener, name, about);
        if let Some(part) = self.parts.last_mut() {
            part.mode = Some(mode);
        }
    }

    /// Adds a step to the last part.
    pub(super) fn add(&mut self, step: Step) {
        self.write(&lines(&step));
        if let Some(part) = self.parts.last_mut() {
            part.steps.push(step);
        }
    }

    /// Ends the last part.
    pub(super) fn end(&mut self, works: bool) {
        if let Some(part) = self.parts.last_mut() {
            part.works = works;
        }
    }

    /// Writes the verdict, and in the JSON form everything. Returns whether all parts work.
    pub(super) fn finish(self) -> bool {
        let works = self.parts.iter().all(|part| part.works);
        match self.form {
            Form::Text => self.write(&wrapped(&self.verdict(), 0, 4, WIDTH, None)),
            Form::Json => write_out(&format!("{:#}\n", self.json(works))),
        }
        works
    }

    /// Returns the last line.
    fn verdict(&self) -> String {
        let failed: Vec<String> =
            self.parts.iter().filter(|part| !part.works).map(|part| part.failure()).collect();
        if !failed.is_empty() {
            return format!("does not work: {}", failed.join(", "));
        }
        let counted = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        };
        let warnings = counted(self.warnings(), "warning", "warnings");
        let untested =
            counted(self.count(|step| step.has(Severity::NotTested)), "step not tested", "steps not tested");
        let besides: Vec<String> = [warnings, untested].into_iter().flatten().collect();
        if besides.is_empty() { "works".to_owned() } else { format!("works, with {}", besides.join(" and ")) }
    }

    /// Returns the number of warnings. A step that failed is one where its part works nevertheless.
    fn warnings(&self) -> usize {
        self.count(|step| step.has(Severity::Warning))
            + self.parts.iter().filter(|part| part.works).map(Part::failed_steps).sum::<usize>()
    }

    fn count(&self, is_counted: impl Fn(&Step) -> bool) -> usize {
        self.parts.iter().flat_map(|part| &part.steps).filter(|step| is_counted(step)).count()
    }

    fn json(&self, works: bool) -> Value {
        let of = |kind| -> Vec<Value> {
            self.parts.iter().filter(|part| part.kind == kind).map(Part::json).collect()
        };
        json!({
            "works": works,
            "verdict": self.verdict(),
            "warnings": self.warnings(),
            "not_tested": self.count(|step| step.has(Severity::NotTested)),
            "upstreams": of(PartKind::Upstream),
            "listeners": of(PartKind::Listener),
        })
    }

    fn write(&self, text: &str) {
        if self.form == Form::Text {
            write_out(text);
        }
    }
}

impl Part {
    fn failed_steps(&self) -> usize {
        self.steps.iter().filter(|step| step.failed()).count()
    }

    /// Names the part and the step that failed.
    fn failure(&self) -> String {
        let client = match self.mode {
            Some(mode @ (Mode::Sentinel | Mode::Cluster)) => format!(" {}", mode.client()),
            Some(Mode::Standalone) | None => String::new(),
        };
        let named = format!("{} {}{client}", self.kind.as_str(), self.name);
        match self.steps.iter().find(|step| step.failed()) {
            Some(step) => format!("{named} ({})", step.name),
            None => named,
        }
    }

    fn json(&self) -> Value {
        let mut part = json!({
            "name": self.name,
            "works": self.works,
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
        });
        if let Some(mode) = self.mode {
            part["as"] = mode.as_str().into();
        }
        part
    }
}

/// Renders a step as lines.
fn lines(step: &Step) -> String {
    let took = time(step.took);
    let target = step.target.as_deref();
    let finding = step.finding.as_ref().map(ToString::to_string);
    let failure = step.trouble.as_ref().filter(|trouble| trouble.severity != Severity::Warning);
    let failed = failure.map(|trouble| match trouble.severity {
        Severity::NotTested => format!("not tested: {}", trouble.text),
        _ => format!("FAILED after {took}: {}", trouble.text),
    });
    let words = [target, finding.as_deref(), failed.as_deref()];
    let text = words.into_iter().flatten().collect::<Vec<_>>().join("  ");
    let took = failure.is_none().then_some(took.as_str());
    let mut out = format!("  {:<8} ", step.name);
    out += wrapped(&text, INDENT, INDENT, WIDTH, took).trim_start();
    if let Some(trouble) = &step.trouble {
        if trouble.severity == Severity::Warning {
            out += &wrapped(&format!("warning: {}", trouble.text), INDENT, INDENT, WIDTH, None);
        }
        out += &wrapped(&trouble.advice, INDENT, INDENT, WIDTH, None);
    }
    out
}

/// Breaks a text into lines between words, and puts a time at the end of the first. A longer word stays whole, so that
/// it can be copied.
fn wrapped(text: &str, first: usize, indent: usize, width: usize, time: Option<&str>) -> String {
    let room = width - time.map_or(0, |_| TIME);
    let mut lines = vec![" ".repeat(first)];
    let mut is_empty = true;
    for word in text.split(' ') {
        if is_empty && word.is_empty() {
            continue;
        }
        let column = lines.last().map_or(0, |line| line.chars().count());
        if !is_empty && column + 1 + word.chars().count() > room {
            lines.push(" ".repeat(indent));
            is_empty = true;
        }
        let Some(line) = lines.last_mut() else { break };
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    if let (Some(time), Some(line)) = (time, lines.first_mut()) {
        let _ = write!(line, "{:>1$}", time, width.saturating_sub(line.chars().count()).max(time.len() + 1));
    }
    lines.iter().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Renders a duration: `0.2 ms`, `2.0 s`.
fn time(took: Duration) -> String {
    match took.as_secs() {
        0 => format!("{:.1} ms", took.as_secs_f64() * 1000.0),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

fn write_out(text: &str) {
    let mut stdout = io::stdout().lock();
    // A reader that closes the pipe has read enough; the exit code still tells the result.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests;
