//! Encoding of RESP: the commands and replies that the proxy itself sends. Every function appends to a buffer.

/// A command in canonical form.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

/// `+text`, with spaces in place of control bytes.
pub fn status(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    line(out, text.as_bytes());
}

/// `-text`, with spaces in place of control bytes. `text` begins with the error's prefix (`ERR ...`).
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    line(out, text.as_bytes());
}

/// `$N`.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// `:N`.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    digits(out, value.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

/// The header of an array; its elements follow.
pub fn array(out: &mut Vec<u8>, elements: usize) {
    header(out, b'*', elements);
}

/// The header of a map with this number of pairs; in RESP2, the header of a flat array.
pub fn map(out: &mut Vec<u8>, pairs: usize, resp3: bool) {
    if resp3 { header(out, b'%', pairs) } else { header(out, b'*', pairs.saturating_mul(2)) }
}

/// The header of a push; in RESP2, of an array.
pub fn push(out: &mut Vec<u8>, elements: usize, resp3: bool) {
    header(out, if resp3 { b'>' } else { b'*' }, elements);
}

/// The header of a set; in RESP2, of an array.
pub fn set(out: &mut Vec<u8>, elements: usize, resp3: bool) {
    header(out, if resp3 { b'~' } else { b'*' }, elements);
}

/// A null; in RESP2, the null bulk string.
pub fn null(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// A null in the place of an array.
pub fn null_array(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"*-1\r\n" });
}

/// A verbatim string of plain text (the type of INFO); in RESP2, a bulk string.
pub fn verbatim(out: &mut Vec<u8>, text: &[u8], resp3: bool) {
    if !resp3 {
        return bulk(out, text);
    }
    header(out, b'=', text.len().saturating_add(VERBATIM.len()));
    out.extend_from_slice(VERBATIM);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Appends text of a client to a line. Control bytes become spaces, and at most [`MAX_QUOTED`] bytes are taken.
pub fn sanitise(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take(MAX_QUOTED).map(|&byte| if is_control(byte) { b' ' } else { byte }));
}

/// Bytes of a client's text that an error repeats; Redis has the same limit.
pub const MAX_QUOTED: usize = 128;

fn line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|&byte| if is_control(byte) { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

const fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

fn header(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    digits(out, u64::try_from(count).unwrap_or(u64::MAX));
    out.extend_from_slice(b"\r\n");
}

fn digits(out: &mut Vec<u8>, value: u64) {
    let mut text = [0_u8; 20];
    let mut at = text.len();
    let mut rest = value;
    loop {
        at = at.saturating_sub(1);
        if let (Some(slot), Ok(digit)) = (text.get_mut(at), u8::try_from(rest % 10)) {
            *slot = b'0' + digit;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or(&[]));
}

const VERBATIM: &[u8] = b"txt:";

#[cfg(test)]
mod tests;
