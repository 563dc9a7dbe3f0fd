//! `portcullis hash-password`: the SHA-256 digest of a password, as Redis ACL files have it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_config::Input;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BAD_USAGE;
use super::password::{ask, read_all};

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
    ask("password: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_the_one_redis_uses() {
        // ACL SETUSER x >foobared, then ACL LIST.
        assert_eq!(digest(b"foobared"), "1b58ee375b42e41f0e48ef2ff27d10a5b1f6924a9acdcdba7cae868e7adce6bf");
    }
}
