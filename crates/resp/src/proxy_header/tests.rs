use std::net::SocketAddr;

use super::ProxyHeaderError as Error;
use super::*;

mod v2;

fn tcp(source: &str, destination: &str) -> HeaderSource {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    HeaderSource::Tcp { source: address(source), destination: address(destination) }
}

/// Returns the result for a header. Checks that it does not depend on the pieces: a prefix needs more bytes, or is
/// refused for the same reason.
fn outcome(input: &[u8]) -> Result<Parsed, Error> {
    let whole = parse(input);
    for cut in 0..input.len() {
        match parse(&input[..cut]) {
            Ok(Parsed::Need { at_least }) => {
                assert!(at_least > cut, "{} cut at {cut}", input.escape_ascii());
                if let Ok(Parsed::Header { len, .. }) = whole {
                    assert!(
                        cut < len && at_least <= len,
                        "{} cut at {cut}: {at_least}",
                        input.escape_ascii()
                    );
                }
            }
            other => assert_eq!(other, whole, "{} cut at {cut}", input.escape_ascii()),
        }
    }
    whole
}

fn v1(line: &str) -> Result<HeaderSource, Error> {
    let glued = format!("{line}PING\r\n");
    match outcome(glued.as_bytes())? {
        Parsed::Header { len, source } => {
            assert_eq!(len, line.len());
            Ok(source)
        }
        need => panic!("{line:?}: {need:?}"),
    }
}

#[test]
fn version_1() {
    assert_eq!(
        v1("PROXY TCP4 203.0.113.9 192.0.2.1 4711 6379\r\n"),
        Ok(tcp("203.0.113.9:4711", "192.0.2.1:6379"))
    );
    assert_eq!(
        v1("PROXY TCP6 2001:db8::9 2001:db8::1 65535 0\r\n"),
        Ok(tcp("[2001:db8::9]:65535", "[2001:db8::1]:0"))
    );
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert!(v1(longest).is_ok());
    assert_eq!(v1("PROXY UNKNOWN\r\n"), Ok(HeaderSource::Unknown));
    assert_eq!(v1("PROXY UNKNOWN ffff::1 junk  99999\r\n"), Ok(HeaderSource::Unknown));
}

#[test]
fn version_1_is_canonical() {
    let malformed = [
        "PROXY TCP4 203.0.113.9 192.0.2.1 +80 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 080 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 00\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 65536 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 -1 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 80 \r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 80 80\r\n",
        "PROXY TCP4  203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY  TCP4 203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY\tTCP4 203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY TCP4\t203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY TCP4 2001:db8::1 192.0.2.1 80 80\r\n",
        "PROXY TCP6 203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY TCP6 fe80::1%eth0 2001:db8::1 80 80\r\n",
        "PROXY TCP4 010.0.0.1 192.0.2.1 80 80\r\n",
        "PROXY TCP4 10.1 192.0.2.1 80 80\r\n",
        "PROXY TCP4 0x0a.0.0.1 192.0.2.1 80 80\r\n",
        "PROXY TCP4 203.0.113.9\0 192.0.2.1 80 80\r\n",
        "PROXY TCP5 203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY tcp4 203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY UDP4 203.0.113.9 192.0.2.1 80 80\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY UNKNOWN \0\r\n",
        "PROXY UNKNOWN \u{7f}\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 80\n\r\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 80\n",
        "PROXY TCP4 203.0.113.9 192.0.2.1 80 80\rX\n",
        "PROXY UNKNOWN \rx\r\n",
    ];
    for line in malformed {
        let glued = format!("{line}PING\r\n");
        let refusal = outcome(glued.as_bytes());
        let missing = line.starts_with("PROXY\t");
        assert_eq!(refusal, Err(if missing { Error::Missing } else { Error::Malformed }), "{line:?}");
    }
}

#[test]
fn version_1_is_bounded() {
    let pad = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(v1(&pad(MAX_V1)), Ok(HeaderSource::Unknown));
    assert_eq!(outcome(pad(MAX_V1 + 1).as_bytes()), Err(Error::TooLong));
    assert_eq!(outcome(pad(MAX_V1 + 2).as_bytes()), Err(Error::TooLong));
    let endless = format!("PROXY TCP4 {}", "1".repeat(200));
    assert_eq!(outcome(endless.as_bytes()), Err(Error::TooLong));
}

#[test]
fn refuses_other_bytes_at_the_first_wrong_byte() {
    assert_eq!(parse(b""), Ok(Parsed::Need { at_least: 1 }));
    for (input, at) in [
        (&b"*1\r\n$4\r\nPING\r\n"[..], 1),
        (b"PING\r\n", 2),
        (b"proxy TCP4", 1),
        (b"PROXX ", 5),
        (b"\r\n\r\n\0\r\nQUIX\n", 11),
        (b"\x16\x03\x01", 1),
        (b"\n", 1),
    ] {
        for cut in 1..=input.len() {
            let expected = if cut >= at { Err(Error::Missing) } else { outcome(&input[..cut]) };
            assert_eq!(parse(&input[..cut]), expected, "{} cut at {cut}", input.escape_ascii());
        }
    }
}
