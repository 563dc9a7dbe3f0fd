//! Opening the files that a user names. A file that is no file must not block the program without end.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::platform::{is_null_device, is_own_terminal, is_pipe, is_socket, open_without_waiting};

/// The time limit for the next bytes of a pipe or a terminal. The program that writes into a pipe (`<(vault read ...)`)
/// may ask a server first.
const PIPE_WAITS: Duration = Duration::from_secs(10);

/// The interval between attempts to read from a pipe.
const AGAIN: Duration = Duration::from_millis(5);

/// A file that is open for reading. It can be a pipe or a terminal too, as with `--config <(...)` and `/dev/stdin`; their
/// next bytes are awaited for some seconds.
#[derive(Debug)]
pub struct Input {
    file: File,
    /// `None` for a file, which never keeps its reader waiting.
    waits: Option<Duration>,
    /// The end of a pipe can be seen before a program opens it for writing.
    has_begun: bool,
}

impl Input {
    /// Opens a file, a pipe, a terminal or `/dev/null`. Symbolic links are followed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a directory, a socket and other devices.
    pub fn open(path: &Path) -> io::Result<Self> {
        // To open a device can have an effect on it.
        refuse(&std::fs::metadata(path)?)?;
        let file = open_without_waiting(OpenOptions::new().read(true)).open(path)?;
        // Another file may have this name now.
        let kind = file.metadata()?;
        refuse(&kind)?;
        let is_terminal = file.is_terminal();
        let waits = (is_pipe(kind.file_type()) || is_terminal).then_some(PIPE_WAITS);
        Ok(Self { file, waits, has_begun: is_terminal })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    #[cfg(test)]
    fn waiting(self, wait: Duration) -> Self {
        Self { waits: self.waits.map(|_| wait), ..self }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(wait) = self.waits.filter(|_| !buffer.is_empty()) else { return self.file.read(buffer) };
        let began = Instant::now();
        loop {
            match self.file.read(buffer) {
                Ok(0) if !self.has_begun => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => {
                    self.has_begun = true;
                    return other;
                }
            }
            if began.elapsed() >= wait {
                let message = format!("it is a pipe or a terminal, and nothing came for {wait:?}");
                return Err(io::Error::new(ErrorKind::TimedOut, message));
            }
            sleep(AGAIN);
        }
    }
}

fn refuse(file: &Metadata) -> io::Result<()> {
    let kind = file.file_type();
    match kind.is_file() || is_pipe(kind) || is_null_device(file) || is_own_terminal(file) {
        true => Ok(()),
        false => Err(io::Error::new(ErrorKind::InvalidInput, name_of(kind))),
    }
}

/// Returns a sentence about a file that is no regular file.
pub fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "it is a directory"
    } else if is_pipe(kind) {
        "it is a pipe"
    } else if is_socket(kind) {
        "it is a socket"
    } else {
        "it is a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn read(mut input: Input) -> io::Result<String> {
        let mut text = String::new();
        input.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_awaited_with_a_limit() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let input = Input::open(&pipe).unwrap().waiting(Duration::from_millis(50));
        let error = read(input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("nothing came for 50ms"), "{error}");
        let input = Input::open(&pipe).unwrap();
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            let mut pipe = OpenOptions::new().write(true).open(pipe).unwrap();
            for piece in ["one\n", "two\n"] {
                pipe.write_all(piece.as_bytes()).unwrap();
                sleep(Duration::from_millis(30));
            }
        });
        assert_eq!(read(input).unwrap(), "one\ntwo\n");
        writer.join().unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (directory.path(), "it is a directory"),
            (&socket, "it is a socket"),
            (Path::new("/dev/zero"), "it is a device"),
        ] {
            let error = Input::open(path).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, what));
        }
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(read(Input::open(&link).unwrap()).unwrap(), "");
        assert_eq!(Input::open(&directory.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
