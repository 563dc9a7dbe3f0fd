//! Replies of redis-server 7.0.15, and of 8.0.2 for SETINFO and MAXAGE, without the values of counters.

use portcullis_resp::command::lookup_subcommand;

use super::*;
use std::net::SocketAddr;
use std::time::Duration;

use crate::shape::Verb;

struct TestPeer;

impl Peer for TestPeer {
    fn id(&self) -> u64 {
        7
    }

    fn address(&self) -> String {
        "192.0.2.1:50000".to_owned()
    }

    fn local_address(&self) -> String {
        "[2001:db8::1]:6379".to_owned()
    }

    fn reached_at(&self) -> Option<SocketAddr> {
        None
    }

    fn age(&self) -> Duration {
        Duration::from_millis(12_900)
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(3_999)
    }

    fn resp3(&self) -> bool {
        false
    }

    fn subscriptions(&self) -> Subscriptions {
        Subscriptions::default()
    }

    fn is_subscribed(&self, _verb: Verb, _name: &[u8]) -> bool {
        false
    }

    fn listens_in_resp2(&self) -> bool {
        false
    }
}

fn view() -> View<'static> {
    View {
        peer: &TestPeer,
        user: "reporting",
        db: 3,
        resp3: false,
        subscriptions: Subscriptions::default(),
        monitors: false,
        blocks: false,
        queued: None,
        narrow: true,
        masked: Masked::None,
    }
}

/// Returns whether the filter of a command from `asker` selects the client of the view.
fn selects(line: &str, view: &View<'_>, asker: u64) -> bool {
    let Said::Ask(_, filter) = answer(line) else { panic!("{line}: {:?}", answer(line)) };
    let (line, view) = ClientInfo::default().listed(view, asker == 7);
    filter.takes(&crate::local::clients::Listed { id: 7, line, blocked_as: None, view }, asker)
}

/// Runs a CLIENT command. Blanks separate words, and `''` is an empty word.
fn ask(client_info: &mut ClientInfo, view: &View<'_>, line: &str) -> Said {
    let words: Vec<&[u8]> =
        line.split(' ').map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect();
    match words.split_first() {
        Some((word, rest)) => match lookup_subcommand(id::CLIENT, word) {
            Some(subcommand) => client_info.client(subcommand, rest, view),
            None => client_info.client(id::CLIENT, &words, view),
        },
        None => client_info.client(id::CLIENT, &[], view),
    }
}

fn answer(line: &str) -> Said {
    ask(&mut ClientInfo::default(), &view(), line)
}

fn reply(text: &str) -> Said {
    Said::Reply(text.as_bytes().to_vec())
}

fn fault(text: &str) -> Said {
    Said::Error(text.as_bytes().to_vec())
}

#[test]
fn arguments_are_counted_as_in_redis() {
    let client_info = &mut ClientInfo::default();
    let view = view();
    assert_eq!(
        client_info.client(id::CLIENT, &[], &view),
        fault("-ERR wrong number of arguments for 'client' command\r\n")
    );
    for line in [
        "id x",
        "getname x",
        "setname",
        "setname a b",
        "setinfo",
        "setinfo lib-name",
        "setinfo a b c",
        "info x",
        "kill",
        "unblock",
    ] {
        let name = line.split(' ').next().unwrap();
        let text = format!("-ERR wrong number of arguments for 'client|{name}' command\r\n");
        assert_eq!(answer(line), fault(&text), "{line}");
    }
}

#[test]
fn other_subcommands_are_unknown() {
    assert_eq!(answer("foo"), fault("-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n"));
    assert_eq!(answer("f\r\n+OK bar"), fault("-ERR unknown subcommand 'f  +OK'. Try CLIENT HELP.\r\n"));
}

#[test]
fn a_name_is_kept_until_reset() {
    let (client_info, view) = (&mut ClientInfo::default(), view());
    let with3 = View { resp3: true, ..self::view() };
    assert_eq!(ask(client_info, &view, "GETNAME"), reply("$-1\r\n"));
    assert_eq!(ask(client_info, &with3, "GETNAME"), reply("_\r\n"));
    assert_eq!(ask(client_info, &view, "setname abc"), reply("+OK\r\n"));
    assert_eq!(ask(client_info, &view, "getname"), reply("$3\r\nabc\r\n"));
    assert_eq!(ask(client_info, &with3, "getname"), reply("$3\r\nabc\r\n"));
    let bad = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
    for name in ["a\tb", "a\n", "é", "\x7f", "\0"] {
        assert_eq!(ask(client_info, &view, &format!("setname {name}")), fault(bad));
    }
    assert_eq!(client_info.client(id::CLIENT_SETNAME, &[b"a b"], &view), fault(bad));
    assert_eq!(client_info.client(id::CLIENT_SETNAME, &[b"\xff"], &view), fault(bad));
    assert_eq!(ask(client_info, &view, "getname"), reply("$3\r\nabc\r\n"));
    assert_eq!(ask(client_info, &view, "setname ''"), reply("+OK\r\n"));
    assert_eq!(ask(client_info, &view, "getname"), reply("$-1\r\n"));
    assert_eq!(client_info.set_name(b"!~"), Ok(()));
    client_info.clear();
    assert_eq!(ask(client_info, &view, "getname"), reply("$-1\r\n"));
}

#[test]
fn library_information_is_kept_over_reset() {
    let (client_info, view) = (&mut ClientInfo::default(), view());
    assert_eq!(ask(client_info, &view, "setinfo LIB-NAME redis-py"), reply("+OK\r\n"));
    assert_eq!(ask(client_info, &view, "setinfo lib-ver 5.0"), reply("+OK\r\n"));
    let bad = " cannot contain spaces, newlines or special characters.\r\n";
    assert_eq!(ask(client_info, &view, "setinfo LIB-NAME a\tb"), fault(&format!("-ERR LIB-NAME{bad}")));
    assert_eq!(ask(client_info, &view, "setinfo lib-ver é"), fault(&format!("-ERR lib-ver{bad}")));
    assert_eq!(ask(client_info, &view, "setinfo foo bar"), fault("-ERR Unrecognized option 'foo'\r\n"));
    assert_eq!(
        ask(client_info, &view, "setinfo f\r\n+oo bar"),
        fault("-ERR Unrecognized option 'f  +oo'\r\n")
    );
    client_info.clear();
    assert!(
        client_info
            .line("client|info", &view, &view.addresses())
            .ends_with(" resp=2 lib-name=redis-py lib-ver=5.0\n")
    );
    assert_eq!(ask(client_info, &view, "setinfo lib-ver ''"), reply("+OK\r\n"));
    assert!(
        client_info.line("client|info", &view, &view.addresses()).ends_with(" lib-name=redis-py lib-ver=\n")
    );
}

#[test]
fn texts_have_a_maximum_length() {
    let (client_info, view) = (&mut ClientInfo::default(), view());
    let (fits, long) = (vec![b'x'; MAX_TEXT], vec![b'x'; MAX_TEXT + 1]);
    let text = "-ERR portcullis: a name can have 1024 bytes at most\r\n";
    for (subcommand, before) in [(id::CLIENT_SETNAME, None), (id::CLIENT_SETINFO, Some(&b"lib-name"[..]))] {
        let args = |value| before.into_iter().chain([value]).collect::<Vec<&[u8]>>();
        assert_eq!(client_info.client(subcommand, &args(&fits), &view), reply("+OK\r\n"));
        assert_eq!(client_info.client(subcommand, &args(&long), &view), fault(text));
    }
    assert_eq!(
        (client_info.name.len(), client_info.lib_name.len(), client_info.lib_ver.len()),
        (MAX_TEXT, MAX_TEXT, 0)
    );
}

const LINE: &str = "id=7 addr=192.0.2.1:50000 laddr=[2001:db8::1]:6379 fd=0 name=me age=12 idle=3 flags=N db=3 sub=0 psub=0 \
    ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r \
    cmd=client|info user=reporting redir=-1 resp=2 lib-name= lib-ver=\n";

#[test]
fn the_line_has_the_fields_in_redis_order() {
    let (client_info, view) = (&mut ClientInfo::default(), view());
    client_info.set_name(b"me").unwrap();
    assert_eq!(ask(client_info, &view, "info"), reply(&format!("${}\r\n{LINE}\r\n", LINE.len())));
    let listed = LINE.replace("client|info", "client|list");
    assert_eq!(client_info.listed(&view, true).0, listed);
    assert_eq!(client_info.listed(&view, false).0, LINE.replace("client|info", "NULL"));

    let with3 = View { resp3: true, ..self::view() };
    let with_resp3 = LINE.replace("resp=2", "resp=3");
    assert_eq!(
        ask(client_info, &with3, "INFO"),
        reply(&format!("={}\r\ntxt:{with_resp3}\r\n", with_resp3.len() + 4))
    );
}

#[test]
fn the_line_shows_modes_counts_and_addresses() {
    let fields = |view: View<'_>, wanted: &[&str]| {
        let line = ClientInfo::default().line("client|info", &view, &view.addresses());
        line.split_ascii_whitespace()
            .filter(|field| wanted.iter().any(|name| field.split('=').next() == Some(name)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let subscriptions = Subscriptions { channels: 2, patterns: 3, shards: 4 };
    let all = &["flags", "sub", "psub", "ssub"];
    assert_eq!(fields(View { subscriptions, ..view() }, all), "flags=P sub=2 psub=3 ssub=4");
    let subscriptions = Subscriptions { shards: 1, ..Subscriptions::default() };
    assert_eq!(fields(View { subscriptions, ..view() }, &["flags"]), "flags=P");
    assert_eq!(fields(View { monitors: true, ..view() }, &["flags"]), "flags=O");
    assert_eq!(fields(View { blocks: true, ..view() }, &["flags"]), "flags=b");
    assert_eq!(fields(View { queued: Some(3), ..view() }, &["flags", "multi"]), "flags=x multi=3");
    let all = &["addr", "laddr"];
    assert_eq!(fields(View { masked: Masked::Local, ..view() }, all), "addr=192.0.2.1:50000 laddr=0.0.0.0:0");
    assert_eq!(fields(View { masked: Masked::Both, ..view() }, all), "addr=0.0.0.0:0 laddr=0.0.0.0:0");
}

/// Redis first reports an unknown subcommand or wrong arguments.
#[test]
fn a_subscriber_in_resp2_gets_an_error() {
    let subscriptions = Subscriptions { channels: 1, ..Subscriptions::default() };
    let (client_info, view) = (&mut ClientInfo::default(), View { subscriptions, ..view() });
    let rest = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n";
    for (line, name) in [("info", "info"), ("SETNAME me", "setname"), ("kill id 7", "kill")] {
        assert_eq!(
            ask(client_info, &view, line),
            fault(&format!("-ERR Can't execute 'client|{name}': {rest}"))
        );
    }
    for line in ["setname", "info x", "nosuch"] {
        assert_eq!(ask(client_info, &view, line), answer(line));
    }
    assert_eq!(client_info.held(), 0);
}

#[test]
fn list_shows_the_selected_clients() {
    for line in ["list", "list type normal", "LIST TYPE Normal", "list id 7", "list ID 1 7 99", "list id 7 7"]
    {
        assert!(selects(line, &view(), 7) && selects(line, &view(), 8), "{line}");
    }
    for line in
        ["list type pubsub", "list type replica", "list type slave", "list type master", "list id 1 0 -1"]
    {
        assert!(!selects(line, &view(), 7), "{line}");
    }
    let subscriptions = Subscriptions { patterns: 1, ..Subscriptions::default() };
    let subscribed = View { subscriptions, resp3: true, ..view() };
    assert!(!selects("list type normal", &subscribed, 7));
    assert!(selects("list type pubsub", &subscribed, 7));
    for line in ["list x", "list type", "list type normal x", "list id", "list foo 7"] {
        assert_eq!(answer(line), fault("-ERR syntax error\r\n"), "{line}");
    }
    assert_eq!(answer("list type foo"), fault("-ERR Unknown client type 'foo'\r\n"));
    assert_eq!(answer("list type f\r\no"), fault("-ERR Unknown client type 'f  o'\r\n"));
    for line in ["list id x", "list id 7 07", "list id 7 9223372036854775808", "list id ''"] {
        assert_eq!(answer(line), fault("-ERR Invalid client ID\r\n"), "{line}");
    }
}

#[test]
fn kill_closes_the_selected_clients() {
    assert_eq!(answer("id"), reply(":7\r\n"));
    for line in [
        "kill 192.0.2.1:50000",
        "kill skipme no",
        "KILL ADDR 192.0.2.1:50000 SKIPME NO",
        "kill skipme no laddr [2001:db8::1]:6379",
        "kill id 7 skipme no",
        "kill type normal skipme no",
        "kill user reporting skipme no",
        "kill maxage 12 skipme no",
        "kill skipme yes skipme no",
        "kill id 7 type NORMAL addr 192.0.2.1:50000 laddr [2001:db8::1]:6379 user reporting maxage 1 skipme no",
    ] {
        assert!(selects(line, &view(), 7) && selects(line, &view(), 8), "{line}");
    }
    for line in [
        "kill skipme yes",
        "kill skipme no skipme yes",
        "kill id 7",
        "kill addr 192.0.2.1:50000",
        "kill type normal",
        "kill user reporting",
    ] {
        assert!(!selects(line, &view(), 7), "{line}");
        assert!(selects(line, &view(), 8), "{line}");
    }
    for line in [
        "kill 192.0.2.1:50001",
        "kill [2001:db8::1]:6379",
        "kill ID",
        "kill SKIPME",
        "kill ''",
        "kill user default skipme no",
        "kill id 8 skipme no",
        "kill addr 192.0.2.1:1 skipme no",
        "kill laddr 192.0.2.1:50000 skipme no",
        "kill type pubsub skipme no",
        "kill type master skipme no",
        "kill maxage 13 skipme no",
        "kill maxage 9223372036854775807 skipme no",
    ] {
        assert!(!selects(line, &view(), 7) && !selects(line, &view(), 8), "{line}");
    }
}

/// A client that may not see an address must not be able to guess it either.
#[test]
fn kill_selects_no_client_by_a_hidden_address() {
    let own = View { masked: Masked::Local, ..view() };
    let other = View { masked: Masked::Both, ..view() };
    assert!(selects("kill 192.0.2.1:50000", &own, 7));
    for line in [
        "kill addr 192.0.2.1:50000 skipme no",
        "kill addr 0.0.0.0:0 skipme no",
        "kill 192.0.2.1:50000",
        "kill 0.0.0.0:0",
        "kill laddr 0.0.0.0:0 skipme no",
    ] {
        assert!(!selects(line, &other, 8), "{line}");
    }
    for line in ["kill laddr [2001:db8::1]:6379 skipme no", "kill laddr 0.0.0.0:0 skipme no"] {
        assert!(!selects(line, &own, 7), "{line}");
    }
}

#[test]
fn replies_to_findings_are_those_of_redis() {
    let inquiry =
        |line: &str, narrow: bool| match ask(&mut ClientInfo::default(), &View { narrow, ..view() }, line) {
            Said::Ask(action, filter) => Inquiry { action, filter, narrow, masked: false },
            reply_or_error => panic!("{line}: {reply_or_error:?}"),
        };
    let found = |clients: u64, knows_user: bool| Findings { clients, knows_user, ..Findings::default() };
    let cases = [
        ("kill id 7", found(1, true), reply(":1\r\n")),
        ("kill id 7", found(0, true), reply(":0\r\n")),
        ("kill 192.0.2.1:1", found(1, true), reply("+OK\r\n")),
        ("kill 192.0.2.1:1", found(0, true), fault("-ERR No such client\r\n")),
        ("kill user alice", found(0, false), fault("-ERR No such user 'alice'\r\n")),
        ("kill user default", found(0, false), reply(":0\r\n")),
        ("kill user alice", found(0, true), reply(":0\r\n")),
    ];
    for (line, findings, reply_or_error) in cases {
        assert_eq!(reply_to(&inquiry(line, false), &findings, false), reply_or_error, "{line}");
    }
    let findings = Findings { lines: "id=1 \n".to_owned(), ..found(1, true) };
    assert_eq!(reply_to(&inquiry("list", true), &findings, false), reply("$6\r\nid=1 \n\r\n"));
    assert_eq!(reply_to(&inquiry("list", true), &findings, true), reply("=10\r\ntxt:id=1 \n\r\n"));
}

#[test]
fn invalid_filters_of_kill_are_refused() {
    for line in ["kill id 1 addr", "kill id 1 id", "kill foo bar", "kill skipme maybe", "kill skipme '' id x"]
    {
        assert_eq!(answer(line), fault("-ERR syntax error\r\n"), "{line}");
    }
    for id in ["0", "-1", "x", "01", "+7", "9223372036854775808", "''"] {
        let text = "-ERR client-id should be greater than 0\r\n";
        assert_eq!(answer(&format!("kill id {id} skipme no")), fault(text));
    }
    assert_eq!(answer("kill type foo"), fault("-ERR Unknown client type 'foo'\r\n"));
    assert_eq!(answer("kill user unknown"), fault("-ERR No such user 'unknown'\r\n"));
    assert_eq!(answer("kill user n\r\n+OK"), fault("-ERR No such user 'n  +OK'\r\n"));
    assert_eq!(answer("kill maxage x"), fault("-ERR maxage is not an integer or out of range\r\n"));
    assert_eq!(answer("kill maxage 0"), fault("-ERR maxage should be greater than 0\r\n"));
    assert_eq!(answer("kill maxage -5"), fault("-ERR maxage should be greater than 0\r\n"));
    assert_eq!(answer("kill user unknown foo bar"), fault("-ERR No such user 'unknown'\r\n"));
}

#[test]
fn unblock_behaves_as_in_redis() {
    for (line, with_error) in
        [("unblock 5", false), ("unblock 7 TIMEOUT", false), ("unblock -1 error", true), ("unblock 0", false)]
    {
        let Said::Ask(action, _) = answer(line) else { panic!("{line}") };
        assert_eq!(action, Action::Unblock { error: with_error }, "{line}");
    }
    assert!(selects("unblock 7", &view(), 7) && !selects("unblock 8", &view(), 7));
    let command = |id, error| String::from_utf8(unblock_command(id, error)).unwrap().replace("\r\n", "|");
    assert_eq!(command(Some(12), true), "*4|$6|CLIENT|$7|UNBLOCK|$2|12|$5|ERROR|");
    assert_eq!(command(None, false), "*4|$6|CLIENT|$7|UNBLOCK|$1|0|$7|TIMEOUT|");
    assert_eq!(answer("unblock x"), fault("-ERR value is not an integer or out of range\r\n"));
    let reason = "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n";
    assert_eq!(answer("unblock 5 foo"), fault(reason));
    assert_eq!(answer("unblock x foo"), fault(reason));
    assert_eq!(
        answer("UNBLOCK 5 ERROR x"),
        fault("-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.\r\n")
    );
}

#[test]
fn redirect_finds_no_client() {
    let redirected = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        redirect(&words).map(|line| std::str::from_utf8(line).unwrap().trim_end())
    };
    let unknown_client = Some("-ERR The client ID you want redirect to does not exist");
    for line in [
        "on redirect 999",
        "ON REDIRECT 7",
        "off redirect 0",
        "maybe redirect 5",
        "on bcast optin optout NOLOOP redirect 999",
        "on prefix redirect redirect 1",
    ] {
        assert_eq!(redirected(line), unknown_client, "{line}");
    }
    assert_eq!(redirected("on redirect x"), Some("-ERR value is not an integer or out of range"));
    for line in [
        "on",
        "off",
        "on bcast prefix a prefix b",
        "on redirect",
        "on foo redirect 9",
        "on prefix redirect 9",
    ] {
        assert_eq!(redirected(line), None, "{line}");
    }
    assert_eq!(redirect(&[]), None);
}

#[test]
fn options_of_tracking_are_parsed_or_unknown() {
    let read = |line: &str| redirects_to(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    let cases = [
        ("on", Redirect::None),
        ("on bcast prefix redirect noloop", Redirect::None),
        ("on redirect 5", Redirect::To { id: Some(5), place: 2 }),
        ("on prefix redirect REDIRECT 07", Redirect::To { id: None, place: 4 }),
        ("on redirect", Redirect::Unknown),
        ("on future redirect 5", Redirect::Unknown),
    ];
    for (line, expected) in cases {
        assert_eq!(read(line), expected, "{line}");
    }
}
