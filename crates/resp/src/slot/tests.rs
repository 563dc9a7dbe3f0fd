use super::*;

/// Computes CRC16/XMODEM, bit by bit.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[test]
fn slots_match_the_specification() {
    assert_eq!(crc16(b"123456789"), 0x31c3);
    assert_eq!(slot(b"123456789"), 0x31c3 % SLOTS);
    assert_eq!(slot(b""), 0);
    assert_eq!(slot(b"foo"), 12182);
}

#[test]
fn hash_tags() {
    assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
    assert_eq!(slot(b"x{user1000}{y}"), slot(b"user1000"));
    assert_eq!(slot(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    for whole in [&b"foo{}{bar}"[..], b"{}", b"foo{bar", b"foo}bar{", b"}{"] {
        assert_eq!(slot(whole), crc16(whole) % SLOTS, "{}", whole.escape_ascii());
    }
}

proptest::proptest! {
    #[test]
    fn any_key(key in proptest::collection::vec(proptest::sample::select(b"{}ab\0\xff".to_vec()), 0..10)) {
        let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
            let rest = &key[open + 1..];
            let close = rest.iter().position(|&byte| byte == b'}')?;
            (close > 0).then(|| &rest[..close])
        });
        proptest::prop_assert_eq!(slot(&key), crc16(tag.unwrap_or(&key)) % SLOTS);
    }
}
