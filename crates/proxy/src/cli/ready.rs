//! `portcullis ready`: asks the running proxy whether it serves clients, for health checks of containers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use portcullis_config::{AdminBind, LoadOptions, load};

use super::check::report;
use super::reachable::reachable;
use super::{BAD_CONFIG, config_path, print, say};
use crate::platform::BlockingUnixStream;

/// The time limit of connecting and of each read. The answer needs no upstream, so it comes at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answer has a line for each upstream that is down.
const MAX_ANSWER: u64 = 64 * 1024;

/// Options of `ready`.
#[derive(clap::Args, Clone, Debug)]
pub struct ReadyArgs {
    /// The configuration of the running proxy [default: PORTCULLIS_CONFIG, ./portcullis.yaml,
    /// /etc/portcullis/portcullis.yaml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask only whether the process answers, even if Redis is down
    #[arg(long)]
    live: bool,
}

/// Prints the answer of `/ready` or `/live`. Exit 0 when the proxy is ready or alive; 1 when it is not, or does not
/// answer; 78 for a bad configuration.
pub fn run(args: &ReadyArgs) -> ExitCode {
    let path = match config_path(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let config = match load(&path, &LoadOptions::new().without_secrets()) {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            let _ = report(&mut io::stderr().lock(), &problems);
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let Some(admin) = config.admin() else {
        say(format_args!("the configuration has `admin: off`, so the proxy cannot be asked; set admin.bind"));
        return ExitCode::FAILURE;
    };
    match ask(admin.bind(), if args.live { "/live" } else { "/ready" }) {
        Ok(Answer { is_good, text }) => {
            let printed = print(text.as_bytes());
            if is_good { printed } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(format_args!(
                "no proxy answers on {}: {error}; check admin.bind, and whether it runs",
                admin.bind()
            ));
            ExitCode::FAILURE
        }
    }
}

/// The answer of the running proxy.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    is_good: bool,
    text: String,
}

fn ask(bind: &AdminBind, path: &str) -> io::Result<Answer> {
    match bind {
        AdminBind::Tcp(address) => {
            let address = reachable(*address);
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, &address.to_string(), path)
        }
        AdminBind::Unix(file) => {
            let stream = BlockingUnixStream::connect(file.path())?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, "localhost", path)
        }
    }
}

fn exchange(mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<Answer> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    answer(&String::from_utf8_lossy(&bytes))
}

/// Reads an HTTP response.
fn answer(response: &str) -> io::Result<Answer> {
    let (head, text) = response.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status =
        head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or(io::ErrorKind::InvalidData)?;
    let mut text = text.trim_end().to_owned();
    text.push('\n');
    Ok(Answer { is_good: status == "200", text })
}

#[cfg(test)]
mod tests;
