//! Encodes RESP: the commands and replies that the proxy itself sends. Each function appends to a buffer.

/// Appends a command in canonical form.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

/// Appends `+text`. Control bytes become spaces.
pub fn status(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    line(out, text.as_bytes());
}

/// Appends `-text`. Control bytes become spaces. `text` begins with the error code (`ERR ...`).
pub fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    line(out, text.as_bytes());
}

/// Appends a bulk string (`$N`).
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends an integer (`:N`).
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    digits(out, value.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

/// Appends the header of an array. The caller appends the elements.
pub fn array(out: &mut Vec<u8>, elements: usize) {
    header(out, b'*', elements);
}

/// Appends the header of a map with this number of pairs. In RESP2 it is the header of a flat array.
pub fn map(out: &mut Vec<u8>, pairs: usize, resp3: bool) {
    if resp3 { header(out, b'%', pairs) } else { header(out, b'*', pairs.saturating_mul(2)) }
}

/// Appends the header of a push. In RESP2 it is the header of an array.
pub fn push(out: &mut Vec<u8>, elements: usize, resp3: bool) {
    header(out, if resp3 { b'>' } else { b'*' }, elements);
}

/// Appends the header of a set. In RESP2 it is the header of an array.
pub fn set(out: &mut Vec<u8>, elements: usize, resp3: bool) {
    header(out, if resp3 { b'~' } else { b'*' }, elements);
}

/// Appends a null. In RESP2 it is the null bulk string.
pub fn null(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// Appends a null in place of an array. In RESP2 it is the null array.
pub fn null_array(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"*-1\r\n" });
}

/// Appends a verbatim string of plain text, as INFO returns it. In RESP2 it is a bulk string.
pub fn verbatim(out: &mut Vec<u8>, text: &[u8], resp3: bool) {
    if !resp3 {
        return bulk(out, text);
    }
    header(out, b'=', text.len().saturating_add(VERBATIM.len()));
    out.extend_from_slice(VERBATIM);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Appends text of a client to a line. Control bytes become spaces, and only the first [`MAX_QUOTED`] bytes are used.
pub fn sanitise(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take(MAX_QUOTED).map(|&byte| if is_control(byte) { b' ' } else { byte }));
}

/// The number of bytes of a client's text that an error quotes. Redis has the same limit.
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
