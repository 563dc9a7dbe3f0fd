//! Decodes the bytes of a file as text.

/// Decodes UTF-16 of either byte order if there is a byte order mark, as in files that PowerShell writes. Other bytes
/// are read as UTF-8. Each invalid sequence becomes U+FFFD, which no name and no address contains.
pub(super) fn decode(bytes: &[u8]) -> String {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        bytes => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text: String = char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "add v4tov4 ü\r\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let le: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(units.iter().flat_map(|unit| unit.to_le_bytes())).collect();
        let be: Vec<u8> =
            [0xfe, 0xff].into_iter().chain(units.iter().flat_map(|unit| unit.to_be_bytes())).collect();
        let bom = [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat();
        for bytes in [le.as_slice(), &be, &bom, text.as_bytes()] {
            assert_eq!(decode(bytes), text);
        }
    }

    #[test]
    fn what_is_no_text_cannot_pass_for_an_address() {
        assert_eq!(decode(b"10.0.0.\xff1"), "10.0.0.\u{fffd}1");
        assert_eq!(decode(b"\xff\xfe1\x00\x00"), "1\u{fffd}");
        assert_eq!(decode(b"\xff\xfe\x00\xd8"), "\u{fffd}");
        assert_eq!(decode(b""), "");
    }
}
