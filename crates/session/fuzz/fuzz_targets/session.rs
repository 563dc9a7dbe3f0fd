//! Any bytes of a client in any pieces, and an upstream that replies OK to everything. The forwarded commands are
//! canonical, contain nothing that the gate must keep to itself, and do not depend on the pieces.
//!
//! Input: the number of piece sizes, these sizes, the auth mode with the rules, then the bytes of the client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_session::{
    Auth, CloseReason, Findings, Incoming, Link, MAX_RENDERED, ReplyAction, Session, Shape, Step, Tick, Until,
};
use portcullis_session_fuzz::{
    Choices, Deaf, HELD_COMMAND, PASSWORD, Rules, canonical_frames, pieces, session, split,
};

/// The maximum of an inline command, the held bytes and a header.
const MAX_UNREAD: usize = (1 << 12) + HELD_COMMAND + 64;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, choices, input)) = split(data) else { return };
    let choices = Choices::of(choices);
    let whole = run(choices, &[input], input.len());
    let cut = run(choices, &pieces(input, &sizes), 255);
    // The session may have judged a piece of a frame before the frame turns out to be broken.
    assert_eq!(whole.broken, cut.broken);
    assert!(whole.broken || whole.heard == cut.heard, "pieces make a difference");
    let (frames, frames_of_pieces) = (canonical_frames(&whole.sent), canonical_frames(&cut.sent));
    // A judged piece may have taken a connection of the client's own, which the gate sets up.
    assert!(choices.shared && whole.broken || frames == frames_of_pieces, "{frames:?}, {frames_of_pieces:?}");
    for frame in frames.iter().chain(&frames_of_pieces) {
        assert!(may_travel(choices, frame), "{frame:?}");
    }
});

/// The gate's own command.
const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

struct Outcome {
    sent: Vec<u8>,
    heard: Vec<u8>,
    /// The number of incomplete commands: one or none.
    half: u64,
    /// The shape of the reply to that command.
    shape: Shape,
    /// Whether the client broke the grammar.
    broken: bool,
}

fn run(choices: Choices, pieces: &[&[u8]], longest: usize) -> Outcome {
    let mut session = session(choices);
    let mut deaf = choices.deaf();
    let mut link = Link::new();
    let mut outcome =
        Outcome { sent: Vec::new(), heard: Vec::new(), half: 0, shape: Shape::One, broken: false };
    let mut unread: Vec<u8> = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        let goes_on = requests(&mut session, &mut link, &mut unread, &mut deaf, &mut outcome);
        let anonymous = choices.auth == Auth::Users && deaf.granted == 0;
        assert!(!anonymous || outcome.sent.is_empty(), "nobody is logged in");
        if !goes_on {
            return outcome;
        }
        assert!(unread.len() <= MAX_UNREAD + longest, "{} bytes are held", unread.len());
    }
    outcome
}

/// False: the session is over.
fn requests(
    session: &mut Session,
    link: &mut Link,
    unread: &mut Vec<u8>,
    deaf: &mut Deaf,
    outcome: &mut Outcome,
) -> bool {
    let most = 8 * unread.len() + 64;
    for _ in 0..most {
        let (shared, greeting) = (session.pool_epoch() > 0, greeting(session.pool_key().resp3));
        deaf.subscriptions = link.subscriptions();
        deaf.listens_in_resp2 = link.listens_in_resp2();
        let (answers, wait) = match session.next(unread, Tick::default(), deaf) {
            Step::Forward { len, first, pending, shape, whole } => {
                assert!(len > 0, "no progress");
                if pending > 0 {
                    outcome.shape = shape.clone();
                    link.expect(first, pending, shape);
                }
                outcome.sent.extend(unread.drain(..len));
                // The upstream does not answer an incomplete command.
                let answers = pending + outcome.half - u64::from(!whole);
                outcome.half = u64::from(!whole);
                let special: &[u8] = match outcome.shape {
                    Shape::WholeHello => greeting,
                    Shape::Listed => b"*0\r\n",
                    _ => b"",
                };
                if special.is_empty() || answers == 0 {
                    (answers, false)
                } else {
                    hear(session, link, special, deaf, &mut outcome.heard);
                    (0, false)
                }
            }
            Step::Instead { bytes, skip, first, shape: Shape::WholeHello } => {
                link.expect(first, 1, Shape::WholeHello);
                outcome.sent.extend_from_slice(bytes);
                unread.drain(..skip);
                hear(session, link, greeting, deaf, &mut outcome.heard);
                (0, false)
            }
            Step::Instead { bytes: CLIENT_ID, skip, first, shape } => {
                link.expect(first, 1, shape);
                outcome.sent.extend_from_slice(CLIENT_ID);
                unread.drain(..skip);
                hear(session, link, b":9\r\n", deaf, &mut outcome.heard);
                (0, false)
            }
            Step::Instead { bytes, skip, first, shape } => {
                link.expect(first, 1, shape);
                outcome.sent.extend_from_slice(bytes);
                unread.drain(..skip);
                (1, false)
            }
            Step::Skip { len } => {
                assert!(len > 0, "no progress");
                unread.drain(..len);
                (0, false)
            }
            Step::Need { at_least } => {
                assert!(at_least > unread.len(), "asks for what is there");
                return true;
            }
            Step::Wait(Until::Linked) if shared => {
                session.linked();
                (0, false)
            }
            Step::Wait(Until::Pooled) => {
                session.pooled(Ok(()));
                (0, false)
            }
            Step::Wait(Until::GivenBack) => {
                *link = Link::new();
                session.give_back();
                (0, false)
            }
            Step::Wait(Until::Clients) => {
                session.informed(Some(&Findings::default()));
                (0, false)
            }
            Step::Wait(until) => {
                assert_ne!(until, Until::Linked);
                (0, true)
            }
            Step::Close(reason) => {
                outcome.broken = matches!(reason, CloseReason::Protocol(_));
                return false;
            }
        };
        assert!(!wait || session.has_pending(), "waits for nothing");
        session.write_local_replies(&mut outcome.heard, MAX_RENDERED);
        replies(session, link, answers, deaf, &mut outcome.heard);
        assert!(session.held() < 1 << 16);
    }
    panic!("does not come to an end");
}

/// Returns the reply to HELLO.
fn greeting(resp3: bool) -> &'static [u8] {
    if resp3 { b"%1\r\n$2\r\nid\r\n:5\r\n" } else { b"*2\r\n$2\r\nid\r\n:5\r\n" }
}

/// Answers at once for the upstream.
fn replies(session: &mut Session, link: &mut Link, answers: u64, deaf: &mut Deaf, heard: &mut Vec<u8>) {
    let text = b"+OK\r\n".repeat(usize::try_from(answers).unwrap());
    hear(session, link, &text, deaf, heard);
}

fn hear(session: &mut Session, link: &mut Link, text: &[u8], deaf: &mut Deaf, heard: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        let Incoming::Part(part) = link.next(rest) else { panic!("not a reply") };
        match session.reply(&part, Tick::default(), deaf) {
            ReplyAction::Pass => heard.extend_from_slice(part.bytes),
            ReplyAction::Drop => {}
            ReplyAction::Replace(bytes) => heard.extend_from_slice(bytes),
            ReplyAction::Rewritten => heard.extend_from_slice(session.rewritten()),
            fate => panic!("{fate:?}"),
        }
        rest = &rest[part.bytes.len()..];
        session.write_local_replies(heard, MAX_RENDERED);
    }
}

fn may_travel(choices: Choices, frame: &[Vec<u8>]) -> bool {
    let is = |place: usize, word: &[u8]| frame.get(place).is_some_and(|text| text.eq_ignore_ascii_case(word));
    let kept = [&b"sync"[..], b"psync", b"replconf", b"quit", b"post", b"host:"];
    if kept.iter().any(|word| is(0, word)) {
        return false;
    }
    if is(0, b"client") && is(1, b"reply") && frame.len() == 3 && (is(2, b"off") || is(2, b"skip")) {
        return false;
    }
    let own = [&b"wait"[..], b"waitaof", b"reset"];
    if choices.shared && (own.iter().any(|word| is(0, word)) || is(0, b"client") && is(1, b"setname")) {
        return false;
    }
    if choices.rules != Rules::None && refused(choices.rules, frame) {
        return false;
    }
    if choices.auth == Auth::Passthrough {
        return true;
    }
    if is(0, b"auth") && frame.len() > 1 {
        let as_nobody = frame.len() == 3 && frame[1] == b"default" && frame[2].is_empty();
        return frame[1] == PASSWORD && frame.len() == 2 || as_nobody && choices.auth == Auth::Users;
    }
    // The gate leaves no option of HELLO but SETNAME.
    !is(0, b"hello") || frame.iter().skip(2).step_by(2).all(|option| option.eq_ignore_ascii_case(b"setname"))
}

/// Returns whether the command is one of a few that the rules refuse, in the simplest reading of the rules.
fn refused(rules: Rules, frame: &[Vec<u8>]) -> bool {
    let name = frame[0].to_ascii_lowercase();
    let begins_otherwise = |key: &Vec<u8>| !key.starts_with(b"a");
    match &name[..] {
        b"flushall" => true,
        b"keys" | b"eval" | b"monitor" | b"debug" | b"sentinel" => rules == Rules::Public,
        b"config" if rules == Rules::Public => true,
        b"config" => frame.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"set")),
        b"get" | b"set" | b"incr" => frame.get(1).is_none_or(begins_otherwise),
        b"del" | b"mget" | b"subscribe" => frame.iter().skip(1).any(begins_otherwise),
        _ => false,
    }
}
