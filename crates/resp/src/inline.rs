//! Decodes inline commands like Redis's `sdssplitargs`, and encodes them in canonical form.

use crate::encode;
use crate::error::RequestError;

/// Appends the canonical form of `line` (with or without its newline) to `out`. Returns the number of arguments. For
/// a blank line it is 0, and nothing is appended.
///
/// # Errors
/// [`RequestError::UnbalancedQuotes`], or [`RequestError::InvalidFraming`] for a NUL. After an error `out` is
/// unchanged.
pub fn canonicalise(line: &[u8], out: &mut Vec<u8>) -> Result<u64, RequestError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&0) {
        return Err(RequestError::InvalidFraming);
    }
    // The line is parsed twice, because the frame begins with the number of arguments. Only `out` and one token are
    // allocated.
    let mut token = Vec::new();
    let mut rest = line;
    let mut count = 0_usize;
    while let Some(after) = next(rest, &mut token)? {
        rest = after;
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    encode::array(out, count);
    rest = line;
    while let Some(after) = next(rest, &mut token)? {
        encode::bulk(out, &token);
        rest = after;
    }
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Reads one token into `token`, and returns the bytes after it. `None` if the line has no more tokens.
fn next<'l>(line: &'l [u8], token: &mut Vec<u8>) -> Result<Option<&'l [u8]>, RequestError> {
    token.clear();
    let mut rest = line;
    // As C's `isspace` does: vertical tabs and form feeds before a token are skipped, but they do not end a token.
    while let [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, after @ ..] = rest {
        rest = after;
    }
    if rest.is_empty() {
        return Ok(None);
    }
    loop {
        match rest {
            [] => return Ok(Some(rest)),
            [b' ' | b'\t' | b'\n' | b'\r', after @ ..] => return Ok(Some(after)),
            [b'"', after @ ..] => return double_quoted(after, token).map(Some),
            [b'\'', after @ ..] => return single_quoted(after, token).map(Some),
            [byte, after @ ..] => {
                token.push(*byte);
                rest = after;
            }
        }
    }
}

/// Reads up to the closing quote, which must end the token.
fn double_quoted<'l>(line: &'l [u8], token: &mut Vec<u8>) -> Result<&'l [u8], RequestError> {
    let mut rest = line;
    loop {
        match rest {
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                token.push(nibble(*high) << 4 | nibble(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                token.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [b'"', after @ ..] => return closed(after),
            [byte, after @ ..] => {
                token.push(*byte);
                rest = after;
            }
            [] => return Err(RequestError::UnbalancedQuotes),
        }
    }
}

fn single_quoted<'l>(line: &'l [u8], token: &mut Vec<u8>) -> Result<&'l [u8], RequestError> {
    let mut rest = line;
    loop {
        match rest {
            [b'\\', b'\'', after @ ..] => {
                token.push(b'\'');
                rest = after;
            }
            [b'\'', after @ ..] => return closed(after),
            [byte, after @ ..] => {
                token.push(*byte);
                rest = after;
            }
            [] => return Err(RequestError::UnbalancedQuotes),
        }
    }
}

/// Checks that a blank (C's `isspace`) or the end of the line follows a closing quote.
const fn closed(rest: &[u8]) -> Result<&[u8], RequestError> {
    match rest {
        [] | [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..] => Ok(rest),
        _ => Err(RequestError::UnbalancedQuotes),
    }
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests;
