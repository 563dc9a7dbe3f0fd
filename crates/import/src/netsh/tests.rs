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
        let told = imported.notes.lines().count();
        assert_eq!(told, 10, "only that no client is listed and none gets in: {}", imported.notes);
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
        "netsh interface portproxy add v4tov4 listenaddress=0.0.0.0 listenport=6379 connectaddress=10.0.0.5\nnetsh interface portproxy add v6tov6 listenport=7000 connectport=7001\n",
    );
    assert_eq!(shape(&imported), ["0.0.0.0:6379 -> 10.0.0.5:6379", "[::]:7000 -> [::1]:7001"]);
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

/// Headings are recognized by their form in every language. If the heading names no family, the rows show it.
#[test]
fn headings_of_any_language() {
    let french = SHOW
        .replace(
            "Listen on ipv4:             Connect to ipv4:",
            "\u{c9}couter sur ipv4\u{a0}:        Se connecter \u{e0} ipv4\u{a0}:",
        )
        .replace(
            "Listen on ipv6:             Connect to ipv4:",
            "\u{c9}couter sur ipv6\u{a0}:        Se connecter \u{e0} ipv4\u{a0}:",
        )
        .replace("Address         Port ", "Adresse         Port ");
    assert_eq!(shape(&imported(Format::Netsh, &french)), SHAPE);
    let japanese = SHOW
        .replace("Listen on ipv4:", "ipv4 \u{3092}\u{30ea}\u{30c3}\u{30b9}\u{30f3}\u{3059}\u{308b}:")
        .replace("Listen on ipv6:", "ipv6 \u{3092}\u{30ea}\u{30c3}\u{30b9}\u{30f3}\u{3059}\u{308b}:")
        .replace("Connect to ipv4:", "ipv4 \u{306b}\u{63a5}\u{7d9a}\u{3059}\u{308b}:")
        .replace("Connect to ipv6:", "ipv6 \u{306b}\u{63a5}\u{7d9a}\u{3059}\u{308b}:")
        .replace("Address", "\u{30a2}\u{30c9}\u{30ec}\u{30b9}")
        .replace("Port", "\u{30dd}\u{30fc}\u{30c8}");
    let japanese = imported(Format::Netsh, &japanese);
    assert_eq!(shape(&japanese), SHAPE);
    assert_eq!(japanese.notes.lines().count(), 10, "{}", japanese.notes);
    // The words of these headings name no family, and fill one column or more.
    let foreign = SHOW.replace("ipv4", "").replace("ipv6", "").replace("Address         Port", "a b c  d");
    let foreign = imported(Format::Netsh, &foreign);
    foreign.says("its table does not say whether it listens on IPv4 or IPv6");
    assert!(!foreign.notes.contains("not a line of"), "{}", foreign.notes);
    let shape = shape(&foreign);
    assert!(shape.contains(&"[2001:db8::1]:6382 -> [2001:db8::5]:6379".to_owned()), "{shape:?}");
    assert!(shape.contains(&"192.168.1.10:6381 -> [2001:db8::5]:6379".to_owned()), "{shape:?}");
}

/// Scripts of cmd and PowerShell contain such lines.
#[test]
fn commands_of_batch_files_and_powershell() {
    for script in [
        "@echo off\r\nREM our forwards\r\nnetsh interface portproxy add v4tov4 listenport=6379 connectaddress=10.0.0.5 >nul 2>&1\r\n",
        "netsh interface portproxy add v4tov4 listenport=6379 connectaddress=10.0.0.5 | Out-Null\n",
        "netsh interface portproxy add v4tov4 `\n  listenport=6379 `\n  connectaddress=10.0.0.5\n",
        "netsh interface portproxy add v4tov4 ^\r\n  listenport=6379 ^\r\n  connectaddress=10.0.0.5\r\n",
        "netsh interface portproxy add v4tov4 listenport=\"6379\" connectaddress='10.0.0.5' *> $null\n",
        "netsh interface portproxy add v4tov4 \"listenport=6379\" \"connectaddress=10.0.0.5\"; Write-Host \"done\"\n",
        "& netsh interface portproxy add v4tov4 listenport=6379 connectaddress=10.0.0.5\n",
        "cmd /c \"netsh interface portproxy add v4tov4 listenport=6379 connectaddress=10.0.0.5\"\n",
        "netsh interface portproxy reset & netsh interface portproxy add v4tov4 6379 10.0.0.5\n",
        "netsh interface portproxy set v4tov4 listenport=6379 connectaddress=10.0.0.5\n",
        "netsh interface portproxy add v4tov4 listenport=6379 connectaddress=10.0.0.9\nnetsh interface portproxy set v4tov4 listenport=6379 connectaddress=10.0.0.5\n",
        "add v4tov4 listenport=6381 connectaddress=10.0.0.9\ndelete v4tov4 listenport=6381\nadd v4tov4 listenport=6379 connectaddress=10.0.0.5\n",
        "add v4tov4 listenport=6381 connectaddress=10.0.0.9\nreset\nadd v4tov4 listenport=6379 connectaddress=10.0.0.5\n",
        ":: old\nadd v4tov4 listenport=6379 connectaddress=10.0.0.5 2>nul || exit /b 1\n",
    ] {
        let imported = imported(Format::Netsh, script);
        assert_eq!(shape(&imported), ["0.0.0.0:6379 -> 10.0.0.5:6379"], "{script}\n{}", imported.notes);
    }
    for script in [
        "netsh interface portproxy add v4tov4 listenport=%PORT% connectaddress=10.0.0.5\n",
        "netsh interface portproxy add v4tov4 listenport=6379 connectaddress=$target\n",
        "netsh advfirewall firewall add rule name=redis dir=in action=allow protocol=TCP localport=6379 remoteip=10.0.0.0/8\n",
    ] {
        let Imported { yaml, notes } = import_text(Format::Netsh, script, std::path::Path::new("-"));
        assert_eq!(yaml, None, "{script}");
        assert!(notes.contains("not carried over"), "{script}: {notes}");
    }
}

const ADD: &str = "netsh interface portproxy add v4tov4 listenport=6379 connectaddress=10.0.0.5";
const OTHER: &str = "add v4tov4 listenport=7000 connectaddress=10.0.0.6";

/// Lines in which `ADD` is a comment or an argument of another command.
const COMMENTS: [&str; 16] = [
    "rem ADD",
    "REM ADD & ADD",
    "@rem ADD",
    "  rem\tADD",
    "echo x & rem ADD & ADD",
    ":: ADD",
    ":label",
    "# ADD",
    "Write-Host x # ADD",
    "echo ADD",
    "@echo ADD",
    "Write-Host 'ADD'",
    "<# ADD #>",
    "<#\nADD\n#>",
    "rem ADD ^",
    "# ADD `",
];
/// Lines in which a condition decides if `ADD` runs.
const CONDITIONAL: [&str; 24] = [
    "if exist x ADD",
    "IF NOT \"%1\"==\"\" ADD",
    "@if exist x ADD",
    "if exist x (ADD)",
    "if exist x (\nADD\n)",
    "if exist x (\nif exist y (\necho a\n)\nADD\n)",
    "if exist x (\necho a\n) else (\nADD\n)",
    "if exist x echo a & ADD",
    "for %%p in (6379 6380) do ADD",
    "for %%p in (6379 6380) do (\nADD\n)",
    "find x || ADD",
    "find x && ADD",
    "type x | ADD",
    "if ($x) { ADD }",
    "if ($x) {\nWrite-Host a; ADD\n}",
    "if ($x)\n{\nADD\n}",
    "if ($x) { a } else { ADD }",
    "try { a } catch { ADD }",
    "function f { ADD }",
    "function f\n{\nADD\n}",
    "foreach ($p in 1, 2) { ADD }",
    "6379, 6380 | ForEach-Object { ADD }",
    "echo ADD | netsh",
    "schtasks /create /tn x /tr ADD",
];
/// Lines in which `ADD` runs.
const CERTAIN: [&str; 11] = [
    "@ADD",
    "call ADD",
    "try { ADD } catch { Write-Host x }",
    "if exist x echo a\nADD",
    "if exist x (\necho a\n)\nADD",
    "if ($x) { a }\nADD",
    "netsh interface portproxy reset && ADD",
    "$out = ADD",
    "C:\\Windows\\System32\\ADD",
    "rem x\nADD",
    "(ADD)",
];

/// A comment adds no forward. A command under a condition adds none either, and a note says so.
#[test]
fn comments_and_conditions() {
    for comment in COMMENTS {
        let script = format!("{}\n{OTHER}\n", comment.replace("ADD", ADD));
        let imported = imported(Format::Netsh, &script);
        assert_eq!(shape(&imported), ["0.0.0.0:7000 -> 10.0.0.6:7000"], "{script}");
        assert!(!imported.notes.contains("6379"), "{script}: {}", imported.notes);
    }
    for condition in CONDITIONAL {
        let script = format!("{}\n{OTHER}\n", condition.replace("ADD", ADD));
        let imported = imported(Format::Netsh, &script);
        assert_eq!(shape(&imported), ["0.0.0.0:7000 -> 10.0.0.6:7000"], "{script}");
        let named = imported.notes.contains("it depends on a condition, so whether it changes the forwards")
            || imported.notes.contains("the words before it are not known here");
        assert!(named, "{script}: {}", imported.notes);
    }
    for plain in CERTAIN {
        let script = plain.replace("ADD", ADD);
        let imported = imported(Format::Netsh, &script);
        assert_eq!(shape(&imported), ["0.0.0.0:6379 -> 10.0.0.5:6379"], "{script}: {}", imported.notes);
    }
}

/// netsh takes any beginning of a word that is not ambiguous. Such a command is named.
#[test]
fn shortened_words_are_named() {
    for (command, why) in [
        ("netsh i p a v4tov4 6379 10.0.0.5", "write add, set, delete or reset in full"),
        ("netsh int port ad v4tov4 listenport=6379", "write add, set, delete or reset in full"),
        ("netsh.exe interface portproxy del v4tov4 7000", "write add, set, delete or reset in full"),
        ("netsh i p s v4tov4 7000 10.0.0.9", "write add, set, delete or reset in full"),
        ("netsh i p r", "write add, set, delete or reset in full"),
        ("a v4tov4 6379 10.0.0.5", "write add, set, delete or reset in full"),
        ("netsh interface portproxy add v4tov4 listenp=6379", "portproxy has no such parameter"),
        (
            "netsh -r other interface portproxy add v4tov4 6379 10.0.0.5",
            "the words before it are not known here",
        ),
        ("netsh interface ipv4 set address Ethernet dhcp", "not a command of portproxy"),
    ] {
        let script = format!("add v4tov4 listenport=7000 connectaddress=10.0.0.6\n{command}\n");
        let imported = imported(Format::Netsh, &script);
        assert_eq!(shape(&imported), ["0.0.0.0:7000 -> 10.0.0.6:7000"], "{script}");
        imported.says("old.conf:2: not carried over: ");
        imported.says(why);
    }
    // The words before the verb may be shortened.
    let imported = imported(Format::Netsh, "netsh int port add v4tov4 6379 10.0.0.5\n");
    assert_eq!(shape(&imported), ["0.0.0.0:6379 -> 10.0.0.5:6379"]);
}

/// Forwards to ports of other services are reported.
#[test]
fn ports_of_other_services() {
    let imported = imported(
        Format::Netsh,
        "add v4tov4 listenport=6379 connectaddress=10.0.0.5\nadd v4tov4 listenport=2222 connectaddress=10.0.0.5 connectport=22\nadd v4tov4 listenport=3390 connectaddress=10.0.0.5 connectport=3389\n",
    );
    imported.says("old.conf:2: note: port 22 is that of SSH");
    imported.says("old.conf:3: note: port 3389 is that of Remote Desktop");
    assert_eq!(imported.notes.matches("is that of").count(), 2);
}
