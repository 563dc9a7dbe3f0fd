//! Reads passwords from the terminal without echo, or from standard input.

use std::io::{self, IsTerminal, Read, Write};

use zeroize::Zeroizing;

use crate::platform::read_line_without_echo;

/// Longer than any password; the wrong file on standard input should not fill the memory.
const MAX_PASSWORD: u64 = 64 << 10;

/// Reads a line from the terminal after `prompt`, without echo. If standard input is not a terminal, reads all of it.
///
/// # Errors
/// The input cannot be read, or is too long.
pub(super) fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_all(stdin.lock());
    }
    let _ = write!(io::stderr().lock(), "{prompt}");
    let mut line = Zeroizing::new(String::new());
    read_line_without_echo(&mut line)?;
    Ok(without_newline(Zeroizing::new(line.as_bytes().to_vec())))
}

/// Reads to the end, without one newline there.
///
/// # Errors
/// The input cannot be read, or is too long.
pub(super) fn read_all(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_cut() {
        let cut = |text: &str| without_newline(Zeroizing::new(text.as_bytes().to_vec())).to_vec();
        assert_eq!(cut("a b \n"), b"a b ");
        assert_eq!(cut("ab\r\n"), b"ab");
        assert_eq!(cut("ab\n\n"), b"ab\n");
        assert_eq!(cut("ab"), b"ab");
    }
}
