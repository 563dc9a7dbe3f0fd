use crate::tests::{Outcome, imported};
use crate::{Format, Imported, import_text, text};

const SHOW: &str = "\r
Listen on ipv4:             Connect to ipv4:\r
\r
Address         Port        Address         Port\r
--------------- ----------  --------------- ----------\r
0.0.0.0         6379        10.0.0.5        6379\r
*               6380        redis.internal  6379\r
\r
Listen on ipv6:             Connect to ipv4:\r
\r
Address         Port        Address         Port\r
--------------- ----------  --------------- ----------\r
*               6379        10.0.0.5        6379\r
\r
Listen on ipv4:             Connect to ipv6:\r
\r
Address         Port        Address         Port\r
--------------- ----------  --------------- ----------\r
192.168.1.10    6381        2001:db8::5     6379\r
\r
Listen on ipv6:             Connect to ipv6:\r
\r
Address         Port        Address         Port\r
--------------- ----------  --------------- ----------\r
2001:db8::1     6382        2001:db8::5     6379\r
";

const DUMP: &str = "\r
#========================\r
# Port Proxy configuration\r
#========================\r
pushd interface portproxy\r
\r
reset\r
add v4tov4 listenport=6379 connectaddress=10.0.0.5 connectport=6379 listenaddress=0.0.0.0\r
add v4tov4 listenport=6380 connectaddress=redis.internal connectport=6379\r
add v6tov4 listenport=6379 connectaddress=10.0.0.5 connectport=6379\r
add v4tov6 listenport=6381 connectaddress=2001:db8::5 connectport=6379 listenaddress=192.168.1.10 protocol=tcp\r
add v6tov6 listenport=6382 connectaddress=2001:db8::5 connectport=6379 listenaddress=2001:db8::1\r
\r
popd\r
\r
# End of Port Proxy configuration\r
";

fn shape(imported: &Outcome) -> Vec<String> {
    let listeners = imported.config.listeners().iter();
    let shape = listeners.map(|listener| {
        let upstream = listener.upstream();
        format!("{} -> {}", listener.binds()[0], upstream.addresses()[0])
    });
    shape.collect()
}

const SHAPE: [&str; 5] = [
    "0.0.0.0:6379 -> 10.0.0.5:6379",
    "0.0.0.0:6380 -> redis.internal:6379",
    "[::]:6379 -> 10.0.0.5:6379",
    "192.168.1.10:6381 -> [2001:db8::5]:6379",
    "[2001:db8::1]:6382 -> [2001:db8::5]:6379",
];

#[test]
fn both_commands_say_the_same() {
    let (show, dump) = (imported(Format::Netsh, SHOW), imported(Format::Netsh, DUMP));
    for imported in [&show, &dump] {
        assert_eq!(
            shape(imported).iter().collect::<std::collections::BTreeSet<_>>(),
            SHAPE.map(str::to_owned).iter().collect()
        );
        assert_eq!(imported.notes.lines().count(), 5, "only that nobody is listed: {}", imported.notes);
    }
    show.says(
        "old.conf:6: not carried over: the clients of '0.0.0.0 6379 10.0.0.5 6379': portproxy has no list",
    );
    assert!(!show.admits("public-6379", "10.0.0.1"), "portproxy says nothing of clients");
}

#[test]
fn as_powershell_redirects_it() {
    for endian in [u16::to_le_bytes, u16::to_be_bytes] {
        let bytes: Vec<u8> = "\u{feff}".encode_utf16().chain(SHOW.encode_utf16()).flat_map(endian).collect();
        assert_eq!(shape(&imported(Format::Netsh, &text::decode(&bytes))), SHAPE);
    }
}

#[test]
fn other_languages_keep_what_counts() {
    let text = SHOW
        .replace("Listen on", "Abhören auf")
        .replace("Connect to", "Verbinden mit")
        .replace("Address", "Adresse");
    assert_eq!(shape(&imported(Format::Netsh, &text)), SHAPE);
}

#[test]
fn commands_of_a_script() {
    let imported = imported(
        Format::Netsh,
        "netsh interface portproxy add v4tov4 listenaddress=0.0.0.0 listenport=6379 connectaddress=10.0.0.5\nnetsh interface portproxy add v6tov6 listenport=7000\n",
    );
    assert_eq!(shape(&imported), ["0.0.0.0:6379 -> 10.0.0.5:6379", "[::]:7000 -> [::1]:7000"]);
}

#[test]
fn what_is_wrong_is_said() {
    for (line, why) in [
        ("add v4tov4 listenport=6379 connectaddress=2001:db8::5", "not of the family"),
        ("add v6tov4 listenport=6379 listenaddress=10.0.0.1 connectaddress=10.0.0.5", "not of the family"),
        ("add v4tov4 listenport=6379 connectaddress=10.0.0.5 protocol=udp", "TCP only"),
        ("add v4tov4 connectaddress=10.0.0.5", "no listenport"),
        ("add v4tov5 listenport=6379", "not one of"),
        ("add v4tov4 listenport=6379 listenaddress=server1 connectaddress=10.0.0.5", "not a name"),
        ("add v4tov4 listenport=6379 fast=yes", "no such parameter"),
        ("The system cannot find the file specified.", "not a line of"),
    ] {
        let Imported { yaml, notes } = import_text(Format::Netsh, line, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{line}");
        assert!(notes.contains(why), "{line}: {notes}");
    }
}
