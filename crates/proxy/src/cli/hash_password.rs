//! `portcullis hash-password`: the SHA-256 digest of a password, as Redis ACL files have it.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_config::Input;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BAD_USAGE;

/// Longer than any password; the wrong file on standard input should not fill the memory.
const MAX_PASSWORD: u64 = 64 << 10;

/// Print the SHA-256 digest of a password, read from the terminal without echo or from standard input.
///
/// Write the digest as {sha256: DIGEST} in the configuration, or as #DIGEST in ACL SETUSER of Redis.
#[derive(clap::Args, Clone, Debug)]
pub struct HashPasswordArgs {
    /// Read the password from this file; one newline at its end is removed
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Prints the digest as 64 hexadecimal digits. Exit 0; 64 for an empty password; 1 when it cannot be read.
pub fn run(args: &HashPasswordArgs) -> ExitCode {
    let password = match read(args) {
        Ok(password) => password,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "error: cannot read the password: {error}");
            return ExitCode::FAILURE;
        }
    };
    if password.is_empty() {
        let _ = writeln!(io::stderr().lock(), "error: the password is empty");
        return ExitCode::from(BAD_USAGE);
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", digest(&password)).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// SHA-256 in small hexadecimal digits.
fn digest(password: &[u8]) -> String {
    Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(args: &HashPasswordArgs) -> io::Result<Zeroizing<Vec<u8>>> {
    if let Some(path) = &args.file {
        return read_all(Input::open(path)?);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_all(stdin.lock());
    }
    let _ = write!(io::stderr().lock(), "password: ");
    let _silence = Silence::begin()?;
    let mut line = Zeroizing::new(String::new());
    stdin.read_line(&mut line)?;
    Ok(without_newline(Zeroizing::new(line.as_bytes().to_vec())))
}

fn read_all(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Allocated at once: a buffer that grows leaves copies behind that are not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_PASSWORD).unwrap_or(0) + 1));
    source.take(MAX_PASSWORD + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PASSWORD {
        return Err(io::Error::other(format!("it is larger than {MAX_PASSWORD} bytes")));
    }
    Ok(without_newline(bytes))
}

/// Removes one newline at the end, as for passwords in files: editors add it.
fn without_newline(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    bytes
}

/// Turns the echo of the terminal off until it is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        let _ = writeln!(io::stderr().lock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_the_one_redis_uses() {
        // ACL SETUSER x >foobared, then ACL LIST.
        assert_eq!(digest(b"foobared"), "1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf");
    }

    #[test]
    fn one_newline_is_cut() {
        let cut = |text: &str| without_newline(Zeroizing::new(text.as_bytes().to_vec())).to_vec();
        assert_eq!(cut("a b \n"), b"a b ");
        assert_eq!(cut("ab\r\n"), b"ab");
        assert_eq!(cut("ab\n\n"), b"ab\n");
        assert_eq!(cut("ab"), b"ab");
    }
}
