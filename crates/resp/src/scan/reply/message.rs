//! Finds the channel of a published message.

use super::{FirstElement, aggregate_header, first_element};
use crate::scan::number;

/// The channel of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageChannel<'b> {
    /// The whole name.
    Whole(&'b [u8]),
    /// The beginning of the name, because the buffer ends within the name.
    Cut(&'b [u8]),
    /// Bytes that are not a message in a form that servers send.
    Unknown,
}

/// Returns the channel of the `message`, `smessage` or `pmessage` at the start of `buf`.
#[must_use]
pub fn message_channel(buf: &[u8]) -> MessageChannel<'_> {
    let (place, count) = match first_element(buf) {
        FirstElement::Text(b"message" | b"smessage") => (1, 3),
        FirstElement::Text(b"pmessage") => (2, 4),
        FirstElement::Need => return MessageChannel::Cut(&[]),
        FirstElement::Text(_) | FirstElement::Other => return MessageChannel::Unknown,
    };
    let Ok(Some((head, mut at))) = aggregate_header(buf) else { return MessageChannel::Unknown };
    if head.count != count {
        return MessageChannel::Unknown;
    }
    for _ in 0..place {
        match bulk(buf, at) {
            Bulk::Whole { after, .. } => at = after,
            Bulk::Cut(_) => return MessageChannel::Cut(&[]),
            Bulk::None => return MessageChannel::Unknown,
        }
    }
    match bulk(buf, at) {
        Bulk::Whole { body, .. } => MessageChannel::Whole(body),
        Bulk::Cut(beginning) => MessageChannel::Cut(beginning),
        Bulk::None => MessageChannel::Unknown,
    }
}

enum Bulk<'b> {
    Whole { body: &'b [u8], after: usize },
    Cut(&'b [u8]),
    None,
}

/// Parses the bulk string at `at`.
fn bulk(buf: &[u8], at: usize) -> Bulk<'_> {
    let Some((kind, rest)) = buf.get(at..).and_then(<[u8]>::split_first) else { return Bulk::Cut(&[]) };
    if *kind != b'$' {
        return Bulk::None;
    }
    match number::unsigned(rest, 0) {
        Ok(Some((len, body))) => {
            let here = rest.get(body..).unwrap_or_default();
            let whole =
                usize::try_from(len).ok().and_then(|len| Some((here.get(..len)?, at + 1 + body + len + 2)));
            match whole {
                Some((body, after)) if after <= buf.len() => Bulk::Whole { body, after },
                Some((beginning, _)) => Bulk::Cut(beginning),
                None => Bulk::Cut(here),
            }
        }
        Ok(None) => Bulk::Cut(&[]),
        Err(_) => Bulk::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> String {
        let wire = text.replace('|', "\r\n");
        match message_channel(wire.as_bytes()) {
            MessageChannel::Whole(name) => String::from_utf8_lossy(name).into_owned(),
            MessageChannel::Cut(name) => format!("{}..", String::from_utf8_lossy(name)),
            MessageChannel::Unknown => "?".to_owned(),
        }
    }

    #[test]
    fn of_every_kind_of_message() {
        for head in ["*3|", ">3|"] {
            assert_eq!(channel(&format!("{head}$7|message|$4|news|$1|x|")), "news");
            assert_eq!(channel(&format!("{head}$7|message|$0||$1|x|")), "");
            assert_eq!(channel(&format!("{head}$8|smessage|$4|news|$9|")), "news");
        }
        assert_eq!(channel("*4|$8|pmessage|$1|*|$4|news|$1|x|"), "news");
    }

    #[test]
    fn as_far_as_it_is_there() {
        let whole = "*4|$8|pmessage|$2|n*|$4|news|$1|x|".replace('|', "\r\n");
        let known = whole.find("\r\n$1\r\nx").unwrap() + 2;
        for cut in 0..whole.len() {
            let seen = message_channel(&whole.as_bytes()[..cut]);
            if cut >= known {
                assert_eq!(seen, MessageChannel::Whole(b"news"), "{cut}");
            } else {
                assert!(
                    matches!(seen, MessageChannel::Cut(name) if b"news".starts_with(name)),
                    "{cut}: {seen:?}"
                );
            }
        }
        assert_eq!(channel("*3|$7|message|$999999999999|ab"), "ab..");
    }

    #[test]
    fn nothing_is_guessed() {
        for odd in [
            "*3|$9|subscribe|$1|a|:1|",
            "*2|$7|message|$1|a|",
            "*4|$7|message|$1|a|",
            "*3|$7|message|:1|$1|x|",
            "+OK|",
            "*3|$7|message|$x|",
        ] {
            assert_eq!(channel(odd), "?", "{odd}");
        }
    }
}
