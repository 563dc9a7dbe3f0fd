//! The side of the new process.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;

use super::message::{Answer, Block, Granted, Listening, Request, State, VERSIONS, line};
use super::{LONGEST_LINE, PATIENCE};
use crate::generation::store::Generation;
use crate::net::descriptors::Lines;
use crate::net::ready::{Binder, ReadyAddress, ReadySocket, ReadySockets};
use crate::net::socket::Ownership;

/// The reason why the sockets of the running process cannot be taken over.
#[derive(Debug, thiserror::Error)]
#[error("cannot take over the sockets of the running process at {}: {fault}", path.display())]
pub(crate) struct TakeError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("permission denied; run as the user of that process")]
    Forbidden,
    #[error("it runs as user {theirs}, and this process as user {ours}; run as the same user")]
    User { theirs: u32, ours: u32 },
    #[error("it refuses: {0}")]
    Refused(String),
    #[error(
        "it speaks version {0} of the messages, and this release {VERSIONS:?}; stop it, then start this one"
    )]
    Version(u32),
    #[error("it does not answer within {PATIENCE:?}; stop it, then start this one")]
    Silent,
    #[error("it ended, or goes on alone because this process took longer than {PATIENCE:?} to serve")]
    Gone,
    #[error("it is no Portcullis, or its messages are damaged")]
    Garbage,
    #[error("{0}")]
    Broken(io::Error),
}

/// A take-over that has begun. If it is dropped, the running process goes on alone.
#[derive(Debug)]
pub(in crate::app) struct Taking {
    path: PathBuf,
    stream: UnixStream,
    lines: Lines,
    blocks: Vec<Block>,
    /// The owner of the files of unix sockets.
    files: Ownership,
}

/// Gets the sockets of the running process that offers them at `path`. `None` if there is no such process.
///
/// # Errors
/// There is a process, and it does not give its sockets to this one.
pub(in crate::app) fn take(path: &Path, ready: &mut ReadySockets) -> Result<Option<Taking>, TakeError> {
    let failed = |fault| TakeError { path: path.to_owned(), fault };
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(None),
                io::ErrorKind::ConnectionRefused => {
                    tracing::info!("{} is left of a process that has ended", path.display());
                    Ok(None)
                }
                io::ErrorKind::PermissionDenied => Err(failed(Fault::Forbidden)),
                _ => Err(failed(Fault::Broken(error))),
            };
        }
    };
    let mut taking = Taking {
        path: path.to_owned(),
        stream,
        lines: Lines::default(),
        blocks: Vec::new(),
        files: Ownership::of_another(),
    };
    taking.begin(ready).map_err(failed)?;
    Ok(Some(taking))
}

impl Taking {
    fn begin(&mut self, ready: &mut ReadySockets) -> Result<(), Fault> {
        let theirs = socket_peercred(&self.stream).map_err(|error| Fault::Broken(error.into()))?.uid.as_raw();
        let ours = geteuid().as_raw();
        if theirs != ours {
            return Err(Fault::User { theirs, ours });
        }
        self.stream.set_write_timeout(Some(PATIENCE)).map_err(Fault::Broken)?;
        self.send(&line(&Request::new()))?;
        let until = Instant::now() + PATIENCE;
        let granted = match self.receive(until)? {
            Answer::Refused(why) => return Err(Fault::Refused(why)),
            Answer::Granted(granted) => granted,
        };
        let Granted { version, release, sockets, blocks } = granted;
        if !VERSIONS.contains(&version) {
            return Err(Fault::Version(version));
        }
        for _ in 0..sockets {
            let listening: Listening = self.receive(until)?;
            let socket = self.lines.next_descriptor().ok_or(Fault::Garbage)?;
            ready.add(ReadySocket::new(socket, listening.into(), Binder::Former(self.files.clone())));
        }
        tracing::info!(sockets, blocked = blocks.len(), release, "taking over from the running process");
        self.blocks = blocks;
        Ok(())
    }

    /// Lets the running process close the sockets with these addresses, which overlap with addresses of this process.
    ///
    /// # Errors
    /// The running process does not answer.
    pub(in crate::app) fn release(&mut self, addresses: &[ReadyAddress]) -> Result<(), TakeError> {
        let release = State::Release(addresses.iter().map(Listening::from).collect());
        let released = self.send(&line(&release)).and_then(|()| self.receive(Instant::now() + PATIENCE));
        match released {
            Ok(State::Released) => Ok(()),
            Ok(_) => Err(TakeError { path: self.path.clone(), fault: Fault::Garbage }),
            Err(fault) => Err(TakeError { path: self.path.clone(), fault }),
        }
    }

    /// Blocks the sources that the running process has blocked.
    pub(in crate::app) fn block_sources(&self, generation: &Generation) {
        for block in &self.blocks {
            if let (Some(listener), Some(source)) = (generation.listener(&block.listener), block.source()) {
                listener.state().sources().block(source, block.left());
            }
        }
    }

    /// Tells the running process that this one serves, and waits until it has stopped accepting.
    ///
    /// # Errors
    /// The running process goes on.
    pub(in crate::app) fn finish(mut self) -> Result<(), TakeError> {
        match self.end() {
            Ok(()) => {
                self.files.acquire();
                Ok(())
            }
            Err(fault) => Err(TakeError { path: self.path, fault }),
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.send(&line(&State::Serving))?;
        match self.receive(Instant::now() + PATIENCE)? {
            State::Stopped => Ok(()),
            _ => Err(Fault::Garbage),
        }
    }

    fn send(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(line).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Fault::Gone,
            _ => Fault::Broken(error),
        })
    }

    fn receive<T: DeserializeOwned>(&mut self, until: Instant) -> Result<T, Fault> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return serde_json::from_slice(&line).map_err(|_| Fault::Garbage);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Fault::Silent);
            }
            self.stream.set_read_timeout(Some(left)).map_err(Fault::Broken)?;
            match self.lines.receive(&self.stream) {
                Ok(0) => return Err(Fault::Gone),
                Ok(_) if self.lines.waiting() > LONGEST_LINE => return Err(Fault::Garbage),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                    io::ErrorKind::ConnectionReset => return Err(Fault::Gone),
                    _ => return Err(Fault::Broken(error)),
                },
            }
        }
    }
}
