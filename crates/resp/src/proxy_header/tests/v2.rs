use super::{outcome, tcp};
use crate::proxy_header::ProxyHeaderError as Error;
use crate::proxy_header::{HeaderSource, MAX_V2, Parsed};

const V4: &[u8] = b"\xcb\x00\x71\x09\xc0\x00\x02\x01\x12\x67\x18\xeb";

fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &len.to_be_bytes(), block].concat()
}

fn read(command: u8, family: u8, block: &[u8]) -> Result<HeaderSource, Error> {
    let header = header(command, family, block);
    let glued = [&header[..], b"\x16\x03\x01"].concat();
    match outcome(&glued)? {
        Parsed::Header { len, source } => {
            assert_eq!(len, header.len());
            Ok(source)
        }
        need => panic!("{need:?}"),
    }
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

#[test]
fn addresses() {
    let source = tcp("203.0.113.9:4711", "192.0.2.1:6379");
    assert_eq!(read(0x21, 0x11, V4), Ok(source));
    assert_eq!(read(0x21, 0x11, &[V4, &tlv(0xee, b"endpoint"), &tlv(4, b"")].concat()), Ok(source));
    let v6 = [[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]; 2].concat();
    let v6 = [&v6[..], b"\x12\x67\x18\xeb"].concat();
    assert_eq!(read(0x21, 0x21, &v6), Ok(tcp("[2001:db8::9]:4711", "[2001:db8::9]:6379")));
}

#[test]
fn unspecified_addresses_are_unknown() {
    assert_eq!(read(0x21, 0x00, b""), Ok(HeaderSource::Unknown));
    assert_eq!(read(0x21, 0x00, b"anything"), Ok(HeaderSource::Unknown));
    assert_eq!(read(0x21, 0x31, &[0; 216]), Ok(HeaderSource::Unknown));
    assert_eq!(read(0x21, 0x31, &[0; 215]), Err(Error::Block));
}

#[test]
fn local_skips_any_addresses() {
    for (family, block) in [(0x00, &b""[..]), (0x11, V4), (0x11, b"short"), (0x21, V4), (0xff, b"x")] {
        assert_eq!(read(0x20, family, block), Ok(HeaderSource::Local), "{family:#x}");
    }
}

#[test]
fn refuses_unknown_commands_and_families() {
    for command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        assert_eq!(read(command, 0x11, V4), Err(Error::Unsupported), "{command:#x}");
    }
    for family in [0x01, 0x10, 0x12, 0x22, 0x32, 0x13, 0x41, 0xff] {
        assert_eq!(read(0x21, family, V4), Err(Error::Unsupported), "{family:#x}");
    }
}

#[test]
fn refuses_blocks_shorter_than_their_addresses() {
    for len in 0..V4.len() {
        assert_eq!(read(0x21, 0x11, &V4[..len]), Err(Error::Block), "{len}");
    }
    assert_eq!(read(0x21, 0x21, &[0; 35]), Err(Error::Block));
}

#[test]
fn tlvs_end_with_the_header() {
    for tail in [&b"\x04"[..], b"\x04\x00", b"\x04\x00\x01", b"\x04\xff\xff", b"\x04\x00\x02x"] {
        assert_eq!(read(0x21, 0x11, &[V4, tail].concat()), Err(Error::Block), "{}", tail.escape_ascii());
    }
}

#[test]
fn length_is_bounded() {
    let pad = |len: usize| [V4, &tlv(4, &vec![0; len - 16 - V4.len() - 3])].concat();
    let longest = header(0x21, 0x11, &pad(MAX_V2));
    assert!(matches!(crate::proxy_header::parse(&longest), Ok(Parsed::Header { .. })));
    let longer = header(0x21, 0x11, &pad(MAX_V2 + 1));
    assert_eq!(crate::proxy_header::parse(&longer[..16]), Err(Error::TooLong), "the length alone decides");
}

#[test]
fn checks_the_checksum() {
    let begin = [V4, &tlv(0xee, b"abc")].concat();
    let mut whole = header(0x21, 0x11, &[&begin[..], &tlv(3, &[0; 4])].concat());
    let checksum = reference_crc32c(&whole).to_be_bytes();
    let at = whole.len() - 4;
    whole[at..].copy_from_slice(&checksum);
    assert!(matches!(outcome(&whole), Ok(Parsed::Header { .. })));
    for byte in [at, 17, whole.len() - 1] {
        let mut wrong = whole.clone();
        wrong[byte] ^= 1;
        assert_eq!(crate::proxy_header::parse(&wrong), Err(Error::Checksum), "{byte}");
    }
    assert_eq!(read(0x21, 0x11, &[&begin[..], &tlv(3, &[0; 3])].concat()), Err(Error::Block));
    let twice = [&begin[..], &tlv(3, &[0; 4]), &tlv(3, &[0; 4])].concat();
    assert!(read(0x21, 0x11, &twice).is_err());
}

/// Computes the CRC32C by long division of the reversed bits. The check value of "123456789" is known.
fn reference_crc32c(bytes: &[u8]) -> u32 {
    let crc = |bytes: &[u8]| {
        let mut remainder = u32::MAX;
        for bit in bytes.iter().flat_map(|byte| (0..8).map(move |i| u32::from(byte >> i & 1))) {
            let top = remainder >> 31;
            remainder <<= 1;
            if top != bit {
                remainder ^= 0x1edc_6f41;
            }
        }
        !remainder.reverse_bits()
    };
    assert_eq!(crc(b"123456789"), 0xe306_9283);
    crc(bytes)
}
