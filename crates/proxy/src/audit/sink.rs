//! The output of audit lines: a file descriptor that may be full, slow or closed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use portcullis_config::{AuditPath, is_null_device, name_of, open_without_waiting};

use super::AuditError;
use super::syslog::Syslog;
use crate::platform::{audit_mode, is_own_output, own_stderr, own_stdout};

/// The output, and the path to reopen it.
pub(super) struct Sink {
    to: AuditPath,
    out: Box<dyn Write + Send>,
    /// Lines go nowhere, because standard output is a terminal and the configuration asks for no audit there.
    silent: bool,
    /// An error cut off a line. The next write begins with a newline, so that the next line stands alone.
    torn: bool,
    failing: bool,
}

impl Sink {
    pub(super) fn open(to: &AuditPath) -> Result<Self, AuditError> {
        if *to == AuditPath::Unset && io::stdout().is_terminal() {
            tracing::info!("no audit lines: standard output is a terminal; set audit.path to write them");
            return Ok(Self { silent: true, ..Self::on(to.clone(), Box::new(io::sink())) });
        }
        let out = open(to).map_err(|source| AuditError::Open { to: to.clone(), source })?;
        Ok(Self::on(to.clone(), out))
    }

    pub(super) fn on(to: AuditPath, out: Box<dyn Write + Send>) -> Self {
        Self { to, out, silent: false, torn: false, failing: false }
    }

    /// Reopens the file by its path, after log rotation has moved the old file away. If that fails, the old file
    /// stays in use.
    pub(super) fn reopen(&mut self) {
        if self.silent {
            return;
        }
        match open(&self.to) {
            Ok(out) => {
                self.out = out;
                self.torn = false;
                tracing::info!("audit output '{}' reopened", self.to);
            }
            Err(error) => tracing::error!(
                "cannot reopen audit output '{}': {error}; still writing to the old file",
                self.to
            ),
        }
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// The number of bytes at the end of `lines` that were not written.
    pub(super) fn write(&mut self, mut lines: &[u8]) -> Result<(), usize> {
        if self.torn && self.write_some(b"\n").is_ok() {
            self.torn = false;
        }
        while !lines.is_empty() {
            match self.write_some(lines) {
                Ok(n) => lines = lines.get(n..).unwrap_or_default(),
                Err(error) => {
                    self.failed(&error);
                    return Err(lines.len());
                }
            }
        }
        self.recovered();
        Ok(())
    }

    /// Records that the lost bytes began in the middle of a line.
    pub(super) fn cut(&mut self) {
        self.torn = true;
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.out.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process has set the terminal or pipe to non-blocking mode.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
                other => return other,
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::error!("cannot write to audit output '{}': {error}", self.to);
        }
        self.failing = true;
    }

    fn recovered(&mut self) {
        if self.failing {
            tracing::info!("audit output '{}' works again", self.to);
        }
        self.failing = false;
    }
}

fn open(to: &AuditPath) -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(match to {
        AuditPath::Unset | AuditPath::Stdout => own_stdout()?,
        AuditPath::Stderr => own_stderr()?,
        AuditPath::File(path) => open_file(path, Missing::Created)?,
        // The server may start later than the proxy.
        AuditPath::Syslog(server) => return Ok(Box::new(Syslog::to(server.clone()))),
    }))
}

/// Writes one line in one call, so that it is not torn by lines of the running proxy.
pub(super) fn append(to: &AuditPath, line: &[u8]) -> io::Result<()> {
    let mut out = match to {
        AuditPath::File(path) => Box::new(open_file(path, Missing::Fails)?),
        other => open(other)?,
    };
    match out.write(line)? {
        n if n == line.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Tries whether [`Sink::open`] would succeed, and leaves no file behind.
pub(super) fn try_open(to: &AuditPath) -> io::Result<()> {
    let AuditPath::File(path) = to else { return open(to).map(drop) };
    match fs::metadata(path) {
        Ok(_) => open_file(path, Missing::Fails).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => try_create(path),
        Err(error) => Err(error),
    }
}

/// Tries whether the file can be made, under another name: the proxy may make it at this moment.
fn try_create(path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    // A link to a file that does not exist yet: the file is made where the link leads to.
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| target.clone(), |parent| parent.join(&target));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let trial = tempfile::Builder::new()
        .prefix(".portcullis-")
        .tempfile_in(directory.unwrap_or_else(|| Path::new(".")));
    // The text of the error names the trial.
    trial.map(drop).map_err(|error| error.kind().into())
}

/// The treatment of a file that does not exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Created,
    Fails,
}

fn open_file(path: &Path, missing: Missing) -> io::Result<File> {
    // To open a pipe waits for a reader, and to open a device can have an effect on it.
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        kind => refuse(&kind?)?,
    }
    let mut options = OpenOptions::new();
    audit_mode(options.append(true).create(missing == Missing::Created));
    let file = open_without_waiting(&mut options).open(path)?;
    // Another file may have this name now.
    refuse(&file.metadata()?)?;
    Ok(file)
}

/// A pipe would lose lines whenever no program reads it. The own outputs may be pipes, as in a container.
fn refuse(file: &Metadata) -> io::Result<()> {
    if file.is_file() || is_null_device(file) || is_own_output(file) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, name_of(file.file_type())))
}

/// Links that Linux follows in a path (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;
const FULL_PAUSE: Duration = Duration::from_millis(10);
