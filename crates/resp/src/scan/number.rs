//! Canonical decimal numbers: no sign but `-`, no leading zeros, no `-0`, and CRLF at the end.

/// The reason why the bytes are not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not canonical, or more than 19 digits.
    NotCanonical,
    /// CR is not followed by LF.
    NotCrlf,
}

/// The whole header at the start of `rest`: its type byte, a canonical number of up to three digits, CRLF. Returns
/// the number and the length of the header, or `None` if the slower functions must decide.
///
/// Nearly every argument and element begins with such a header, so each form costs one comparison of one load. A
/// header in the last seven bytes of a buffer is always left to the slower functions.
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

/// Whether `word` equals `form` in all bytes that are not 0 in `form`.
#[inline(always)]
fn fits(word: u64, form: [u8; 8]) -> bool {
    let mask = u64::from_le_bytes(form.map(|byte| if byte == 0 { 0 } else { 0xff }));
    word & mask == u64::from_le_bytes(form)
}

/// The difference of a digit and `least`.
#[inline(always)]
fn digit(byte: u8, least: u8) -> Option<usize> {
    let above = byte.wrapping_sub(least);
    (above <= b'9' - least).then_some(usize::from(above))
}

/// The number whose first digit is `buf[at]`, and the offset after its CRLF. `None` means that its end has not
/// arrived.
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
            // 19 digits stay below 2^64, so wrapping cannot happen; it only avoids a second check of the bound above.
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

/// Like [`unsigned`], but `-` is allowed, and the number must fit an `i64`.
pub(super) fn signed(buf: &[u8], at: usize) -> Result<Option<(i64, usize)>, Fault> {
    let negative = buf.get(at) == Some(&b'-');
    let digits = if negative { at + 1 } else { at };
    let Some((magnitude, next)) = unsigned(buf, digits)? else { return Ok(None) };
    let value = if negative && magnitude != 0 { 0_i64.checked_sub_unsigned(magnitude) } else { None };
    let value = if negative { value } else { i64::try_from(magnitude).ok() };
    value.map(|value| Some((value, next))).ok_or(Fault::NotCanonical)
}

/// Digits of `i64::MAX`.
const MAX_DIGITS: usize = 19;
