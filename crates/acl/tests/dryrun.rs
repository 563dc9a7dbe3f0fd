//! Our verdicts against those of a live redis-server: `ACL DRYRUN` over generated rules and command lines.
//!
//! Where the verdicts differ, ours must be the stricter one; [`stricter`] names each such case.

#[path = "dryrun/generate.rs"]
mod generate;
#[path = "dryrun/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_acl::command_rule::RedisUser;
use portcullis_acl::{CommandPlan, CommandRules, Judgement, Refused};
use portcullis_resp::command::keys::{Frame, keys};
use portcullis_resp::command::{Categories, CommandId, id, lookup, lookup_subcommand};
use portcullis_resp::encode;
use portcullis_resp::value::Value;

use self::generate::{Known, Random, Rules, SHAPES, line, shape};
use self::server::{Client, Server};

const SEED: u64 = 0x0ac1_0ac1;
/// Sets of rules. Each is tested with half of all commands and with some of the shapes.
const SETS: usize = 1500;
const SHAPES_PER_SET: usize = 40;

/// Categories that later servers give a command, and that the table has.
const LATER_CATEGORIES: &[(&str, &str)] = &[("wait", "7.2: it blocks")];

/// Words that are valid rules, or nearly valid ones.
const RULE_WORDS: &[&str] = &[
    "%~a",
    "%RR~a",
    "%R",
    "%rw~a",
    "%WR~a",
    "%W~",
    "%",
    "~",
    "&",
    "(+get ~a)",
    "()",
    "(~a",
    "((+get))",
    "(on)",
    "+get|",
    "+|get",
    "+",
    "-",
    "+@",
    "-@",
    "+get|x",
    "+get|x|y",
    "-get|x",
    "+config|get",
    "-config|get",
    "+config|",
    "-config|",
    "+config|get|x",
    "+CONFIG|GET",
    "+@READ",
    "-@read",
    "+@foo",
    "ALLKEYS",
    "resetKeys",
    "~*",
    "&*",
    "allchannels",
    "resetchannels",
    "AllCommands",
    "nocommands",
    "-@all",
    "get",
    "@read",
    "all",
    "-nosuch",
    "-config|nosuch",
    "~a)",
    "(+get",
    ")",
    "*",
    "+@all,",
    "+get,",
    "~[",
    "~\\",
    "%RW~*",
];

#[test]
fn accepts_the_same_words_as_the_server() {
    let server = Server::start();
    let mut client = server.connect();
    for rule in RULE_WORDS {
        let args: [&[u8]; 5] = [b"ACL", b"SETUSER", b"v", b"reset", rule.as_bytes()];
        let theirs = matches!(client.call(&args), Value::Status(_));
        // The server reads %R as %R~; later versions refuse it.
        let stricter = *rule == "%R";
        assert_eq!(CommandRules::parse(rule).is_ok(), theirs && !stricter, "{rule}");
    }
}

/// Patterns made of special characters.
#[test]
fn globs_match_as_in_the_server() {
    const SPECIAL: &[&str] = &["a", "b", "c", "*", "*", "?", "[", "]", "^", "-", "\\", "[a-c]", "[^b]"];
    let server = Server::start();
    let mut client = server.connect();
    let mut random = Random(SEED);
    let mut text =
        |words: &[&str], most| -> String { (0..random.below(most)).map(|_| random.pick(words)).collect() };
    let mut matching = 0;
    for _ in 0..2_000 {
        let rules = format!("%RW~{}", text(SPECIAL, 9));
        client.call(&[b"ACL", b"SETUSER", b"u", b"reset", b"on", b"allcommands", rules.as_bytes()]);
        let ours = CommandRules::parse(&format!("+@all {rules}")).unwrap();
        let keys: Vec<_> = (0..40).map(|_| text(&["a", "b", "c", "-", "]", "\\", "^", "*"], 7)).collect();
        let mut frames = Vec::new();
        for key in &keys {
            encode::command(&mut frames, &[b"ACL", b"DRYRUN", b"u", b"GET", key.as_bytes()]);
        }
        client.send(&frames);
        for (key, reply) in keys.iter().zip(client.replies(keys.len())) {
            let args: [&[u8]; 2] = [b"GET", key.as_bytes()];
            let verdict = ours.check(id::GET, &args).err();
            assert_eq!(Some(verdict), verdict_of(&reply), "{rules} {key:?}");
            matching += u32::from(verdict.is_none());
        }
    }
    assert!(matching > 4_000, "{matching}");
}

type Line = Vec<Vec<u8>>;

#[test]
#[expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "a failure is repeated with the printed seed"
)]
fn verdicts_are_those_of_dryrun() {
    println!("seed {SEED:#x}");
    let server = Server::start();
    let mut client = server.connect();
    client.call(&[b"ACL", b"SETUSER", b"u", b"on", b"nopass"]);
    let mut user = server.connect();
    user.call(&[b"AUTH", b"u", b"any"]);
    let commands = commands(&mut client);
    let categories = strings(&client.call(&[b"ACL", b"CAT"]));
    let categories: Vec<_> = categories.iter().map(|name| &**name).collect();
    let mut random = Random(SEED);
    let mut tally = Tally::default();
    while tally.sets < SETS {
        let rules = Rules::generate(&mut random, &commands, &categories);
        if let Some(ours) = both_take(&mut client, &rules, &mut tally) {
            let lines = lines(&mut random, &commands);
            let doubtful = compare(&mut client, &rules, &ours, &lines, &mut tally);
            for line in doubtful {
                let args: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
                let reply = user.call(&args);
                assert!(matches!(reply, Value::Error(_)), "{:?}: {args:?} runs: {reply:?}", rules.words);
            }
        }
    }
    println!("{tally:?}");
    assert!(tally.pairs >= 100_000, "{tally:?}");
    for (what, least) in [("ok", 20_000), ("Command", 20_000), ("Key", 5_000), ("Channel", 200)] {
        assert!(tally.equal.get(what).is_some_and(|count| *count >= least), "{what}: {tally:?}");
    }
}

/// The user for scripts of `@public-scripts` may run the commands of the preset, and no others.
#[test]
fn the_user_for_scripts_has_the_rights_of_the_preset() {
    let server = Server::start();
    let mut client = server.connect();
    let commands = commands(&mut client);
    let mut random = Random(SEED);
    for acl in [
        "@public @public-scripts resetkeys resetchannels",
        "@public @public-scripts ~a* %R~b &a*",
        "@public @public-scripts -@blocking -select +keys ~* &a* &b",
    ] {
        let ours = CommandRules::parse(acl).unwrap();
        let user = RedisUser::new("u", &[&ours]);
        let words: Vec<&[u8]> = user.line().split(' ').map(str::as_bytes).collect();
        let reply = client.call(&words);
        assert!(matches!(reply, Value::Status(_)), "{}: {reply:?}", user.line());
        let mut refused = 0;
        for _ in 0..20 {
            let plain = commands.iter().filter(|command| !command.is_container);
            let lines: Vec<Line> = plain.map(|command| line(&mut random, command)).collect();
            let mut frames = Vec::new();
            for line in &lines {
                let mut args: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", b"u"];
                args.extend(line.iter().map(Vec::as_slice));
                encode::command(&mut frames, &args);
            }
            client.send(&frames);
            for (line, reply) in lines.iter().zip(client.replies(lines.len())) {
                let args: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
                let theirs = verdict_of(&reply).unwrap_or_else(|| panic!("{line:?}: {reply:?}"));
                let verdict = ours.check(lookup(args[0]).unwrap(), &args).err();
                let same = verdict == theirs || stricter(&args, &verdict, &theirs).is_some();
                assert!(same, "{acl}\n{args:?}: {verdict:?}, not {reply:?}");
                refused += usize::from(theirs == Some(Refused::Command));
            }
        }
        assert!(refused > 1_000, "{acl}: {refused}");
    }
}

#[derive(Debug, Default)]
struct Tally {
    sets: usize,
    refused_sets: usize,
    pairs: usize,
    equal: BTreeMap<String, usize>,
    stricter: BTreeMap<&'static str, usize>,
}

/// The server's commands. Containers without a subcommand are left out, because the server would refuse them for
/// their arity.
fn commands(client: &mut Client) -> Vec<Known> {
    let Value::Array(listed) = client.call(&[b"COMMAND"]) else { panic!("no list of commands") };
    let mut known: Vec<Known> = listed.iter().flat_map(Known::of).collect();
    // The server lists its commands in a different order each time; the generated lines must stay the same.
    known.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    assert!(known.len() > 350, "{}", known.len());
    known
        .into_iter()
        .filter(|command| {
            let theirs: Vec<_> =
                command.categories.iter().map(|name| Categories::from_name(name).unwrap()).collect();
            let differs = id_of(&command.name).info().categories != Categories::of(&theirs);
            assert_eq!(
                differs,
                LATER_CATEGORIES.iter().any(|(name, _)| *name == command.name),
                "{}",
                command.name
            );
            !differs
        })
        .collect()
}

fn id_of(name: &str) -> CommandId {
    match name.split_once('|') {
        Some((top, sub)) => lookup_subcommand(lookup(top.as_bytes()).unwrap(), sub.as_bytes()).unwrap(),
        None => lookup(name.as_bytes()).unwrap(),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// Gives the rules to the server's user `u` and to us. Both must agree on whether they are valid.
fn both_take(client: &mut Client, rules: &Rules, tally: &mut Tally) -> Option<Arc<CommandRules>> {
    let mut args: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"u", b"reset", b"on", b"nopass"];
    args.extend(rules.words.iter().map(|word| word.as_bytes()));
    if !rules.names_keys {
        args.push(b"allkeys");
    }
    if !rules.names_channels {
        args.push(b"allchannels");
    }
    let theirs = client.call(&args);
    let ours = CommandRules::parse(&rules.words.join(" "));
    match (theirs, ours) {
        (Value::Status(_), Ok(ours)) => {
            tally.sets += 1;
            Some(Arc::new(ours))
        }
        (Value::Error(_), Err(_)) => {
            tally.refused_sets += 1;
            None
        }
        (theirs, ours) => panic!("{:?}: {theirs:?}, {ours:?}", rules.words),
    }
}

fn lines(random: &mut Random, commands: &[Known]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for command in commands {
        if !command.is_container && random.one_in(2) {
            lines.push(line(random, command));
        }
    }
    for _ in 0..SHAPES_PER_SET {
        let at = random.below(SHAPES.len());
        lines.push(shape(random, SHAPES[at]));
    }
    lines
}

/// Returns the lines that we refuse because their arguments are invalid, although DRYRUN does not.
fn compare<'l>(
    client: &mut Client,
    rules: &Rules,
    ours: &Arc<CommandRules>,
    lines: &'l [Line],
    tally: &mut Tally,
) -> Vec<&'l Line> {
    let mut doubtful = Vec::new();
    let mut frames = Vec::new();
    for line in lines {
        let mut args: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", b"u"];
        args.extend(line.iter().map(Vec::as_slice));
        encode::command(&mut frames, &args);
    }
    client.send(&frames);
    let plan = CommandPlan::new(Some(ours), None);
    for (line, reply) in lines.iter().zip(client.replies(lines.len())) {
        let theirs = verdict_of(&reply).unwrap_or_else(|| panic!("{line:?}: {reply:?}"));
        let verdict = our_verdict(ours, &plan, line);
        tally.pairs += 1;
        if verdict == theirs {
            if verdict == Some(Refused::Command) {
                let args: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
                let refusal = plan.verdict(lookup(args[0]).unwrap(), &args).unwrap_err();
                let end = format!("to run the '{}' command", refusal.command().name());
                assert!(reply.as_str().unwrap().ends_with(&end), "{line:?}: {end}, not {reply:?}");
            }
            *tally
                .equal
                .entry(verdict.map_or_else(|| "ok".to_owned(), |what| format!("{what:?}")))
                .or_default() += 1;
            continue;
        }
        let args: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
        let reason = stricter(&args, &verdict, &theirs);
        let Some(reason) = reason else {
            let shown: Vec<_> = args.iter().map(|arg| arg.escape_ascii().to_string()).collect();
            panic!("{:?}\n{shown:?}: {verdict:?}, not {reply:?}", rules.words);
        };
        if reason.ends_with(REFUSED_WHEN_RUN) {
            doubtful.push(line);
        }
        *tally.stricter.entry(reason).or_default() += 1;
    }
    doubtful
}

/// The verdict in a reply of DRYRUN: the refused part, if one is refused.
fn verdict_of(reply: &Value) -> Option<Option<Refused>> {
    let text = reply.as_str()?;
    match text.rsplit(' ').next()? {
        "OK" => Some(None),
        "command" => Some(Some(Refused::Command)),
        "key" => Some(Some(Refused::Key)),
        "channel" => Some(Some(Refused::Channel)),
        _ => None,
    }
}

/// Our verdict, from the rules and from the plan, from the arguments and from the frame, whole and cut: all must
/// agree.
fn our_verdict(rules: &CommandRules, plan: &CommandPlan, line: &Line) -> Option<Refused> {
    let args: Vec<&[u8]> = line.iter().map(Vec::as_slice).collect();
    let id = lookup(args[0]).unwrap();
    let verdict = rules.check(id, &args).err();
    assert_eq!(plan.verdict(id, &args).err().map(|refusal| refusal.what()), verdict, "{line:?}");

    let mut frame = Vec::new();
    encode::command(&mut frame, &args);
    let count = u64::try_from(args.len()).unwrap();
    for cut in [frame.len() / 3, frame.len() / 2, frame.len() - 1, frame.len()] {
        let whole = cut == frame.len();
        match plan.judge(id, &Frame::new(&frame[..cut], count), whole) {
            Judgement::Allow => assert_eq!(verdict, None, "{line:?} cut at {cut}"),
            Judgement::Refuse(refusal) => assert_eq!(Some(refusal.what()), verdict, "{line:?} cut at {cut}"),
            Judgement::More => assert!(!whole, "{line:?}"),
        }
    }
    verdict
}

/// The end of reasons that the server has as well, but checks only after DRYRUN.
const REFUSED_WHEN_RUN: &str = "refused when it runs";

/// The reason why we refuse a command that the server allows, or refuse it for another part.
fn stricter(args: &[&[u8]], ours: &Option<Refused>, theirs: &Option<Refused>) -> Option<&'static str> {
    let top = lookup(args[0])?;
    let id = args.get(1).and_then(|name| lookup_subcommand(top, name)).unwrap_or(top);
    let ours = (*ours)?;
    if matches!(id, id::SYNC | id::PSYNC | id::REPLCONF) && ours == Refused::Command {
        return Some("replication needs a rule with its own name");
    }
    if ours != Refused::Key || *theirs == Some(Refused::Channel) {
        return None;
    }
    if id == id::PFMERGE && args.len() == 2 {
        return Some("PFMERGE without sources: the server does not check the destination");
    }
    if id == id::CLIENT_TRACKING {
        return Some("CLIENT TRACKING: the server does not guard the keys of broadcasts");
    }
    if keys(id, args, |_| ()).is_err() {
        return Some(match id {
            id::SORT | id::SORT_RO => "SORT's patterns or options, refused when it runs",
            _ => "invalid arguments, refused when it runs",
        });
    }
    matches!(id, id::GEORADIUS | id::GEORADIUSBYMEMBER)
        .then_some("with several destinations, the server guards the first")
}
