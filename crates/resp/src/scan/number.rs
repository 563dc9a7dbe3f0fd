//! Parses canonical decimal numbers: no sign except `-`, no leading zeros, no `-0`, and CRLF at the end.

/// The reason why the bytes are not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The number is not canonical, or has more than 19 digits.
    NotCanonical,
    /// The number ends with a CR that no LF follows.
    NotCrlf,
}

/// Parses a complete header at the start of `rest`: its type byte, a canonical number of at most three digits, and
/// CRLF. Returns the number and the length of the header. `None` if the slower functions must decide.
///
/// Nearly every argument and element begins with such a header, so each form costs only one load and one comparison.
/// A header in the last seven bytes of a buffer always goes to the slower functions.
#[inline(always)]
pub(super) fn short(rest: &[u8], kind: u8) -> Option<(usize, usize)> {
    let bytes @ [_, a, b, c, ..] = *rest.first_chunk::<8>()?;
    let word = u64::from_le_bytes(bytes);
    if fits(word, [kind, 0, b'\r', b'\n', 0, 0, 0, 0]) {
        return Some((digit(a, b'0')?, 4));
    }
    if fits(word, [kind, 0, 0, b'\r', b'\n', 0, 0, 0]) {
        return Some((10 * digit(a, b'1')? + digit(b, b'0')? + 10, 5));
    }
    if fits(word, [kind, 0, 0, 0, b'\r', b'\n', 0, 0]) {
        return Some((100 * digit(a, b'1')? + 10 * digit(b, b'0')? + digit(c, b'0')? + 100, 6));
    }
    None
}

/// Returns whether `word` equals `form` in all bytes of `form` that are not 0.
#[inline(always)]
fn fits(word: u64, form: [u8; 8]) -> bool {
    let mask = u64::from_le_bytes(form.map(|byte| if byte == 0 { 0 } else { 0xff }));
    word & mask == u64::from_le_bytes(form)
}

/// Returns the value of a digit minus the digit `least`. `None` if the byte is not a digit, or is a smaller one.
#[inline(always)]
fn digit(byte: u8, least: u8) -> Option<usize> {
    let above = byte.wrapping_sub(least);
    (above <= b'9' - least).then_some(usize::from(above))
}

/// Parses the number whose first digit is `buf[at]`. Returns it with the offset after its CRLF. `None` if its end has
/// not arrived.
#[inline(always)]
pub(super) fn unsigned(buf: &[u8], at: usize) -> Result<Option<(u64, usize)>, Fault> {
    let Some(rest) = buf.get(at..) else { return Ok(None) };
    let mut value = 0_u64;
    for (i, &byte) in rest.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            if i >= MAX_DIGITS || (i == 1 && value == 0) {
                return Err(Fault::NotCanonical);
            }
            // 19 digits stay below 2^64, so the number cannot wrap. Wrapping arithmetic only avoids a second check.
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            continue;
        }
        if byte != b'\r' || i == 0 {
            return Err(Fault::NotCanonical);
        }
        return match rest.get(i + 1) {
            Some(b'\n') => Ok(Some((value, at + i + 2))),
            Some(_) => Err(Fault::NotCrlf),
            None => Ok(None),
        };
    }
    Ok(None)
}

/// Parses a number like [`unsigned`], but with an optional `-`. The number must fit an `i64`.
pub(super) fn signed(buf: &[u8], at: usize) -> Result<Option<(i64, usize)>, Fault> {
    let negative = buf.get(at) == Some(&b'-');
    let digits = if negative { at + 1 } else { at };
    let Some((magnitude, next)) = unsigned(buf, digits)? else { return Ok(None) };
    let value = if negative && magnitude != 0 { 0_i64.checked_sub_unsigned(magnitude) } else { None };
    let value = if negative { value } else { i64::try_from(magnitude).ok() };
    value.map(|value| Some((value, next))).ok_or(Fault::NotCanonical)
}

/// The number of digits of `i64::MAX`.
const MAX_DIGITS: usize = 19;
