//! Any bytes of an upstream in any pieces, against the pending replies of a client's commands. The link returns them in
//! order and unchanged, and their meaning does not depend on the pieces.
//!
//! Input: the number of piece sizes, these sizes, the number of commands, these commands, then the bytes of the
//! upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_session::{Incoming, Link, LinkFault, ReplyAction, Session, Step, Tick, Unavailable};
use portcullis_session_fuzz::{Choices, TestHost, pieces, session, split};

/// Commands of the client.
const COMMANDS: [&str; 16] = [
    "PING",
    "GET a",
    "BLPOP a 0",
    "MULTI",
    "EXEC",
    "DISCARD",
    "SUBSCRIBE a",
    "SUBSCRIBE a b c",
    "UNSUBSCRIBE",
    "PSUBSCRIBE a",
    "PUNSUBSCRIBE a b",
    "SSUBSCRIBE a",
    "SUNSUBSCRIBE",
    "HELLO 3",
    "MONITOR",
    "RESET",
];

/// The longest reply that the link waits for, and a chunk.
const MAX_UNREAD: usize = portcullis_session::MAX_WHOLE_REPLY + 256;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, commands, rest)) = split(data) else { return };
    let Some((commands, input)) = rest.split_at_checked(usize::from(commands % 32)) else { return };
    let whole = run(commands, &[input], input.len());
    let cut = run(commands, &pieces(input, &sizes), 255);
    assert!(
        input.starts_with(&whole.returned) && input.starts_with(&cut.returned),
        "bytes that did not arrive"
    );
    assert_eq!((whole.ended, whole.pushes), (cut.ended, cut.pushes));
    // The first piece of an error line may be enough to give up the upstream before the link has read its first invalid
    // byte.
    if cut.lost.is_some() && whole.lost.is_none() {
        assert!(matches!(whole.fault, Some(LinkFault::Protocol(_))), "{:?}", whole.fault);
        assert_eq!((input.get(whole.returned.len()), cut.fault), (Some(&b'-'), None));
    } else {
        assert_eq!((whole.fault, whole.lost), (cut.fault, cut.lost));
    }
    if whole.fault.is_none() {
        assert_eq!(whole.returned.len(), cut.returned.len());
    }
});

#[derive(Default)]
struct Outcome {
    returned: Vec<u8>,
    ended: u64,
    pushes: u64,
    fault: Option<LinkFault>,
    lost: Option<Unavailable>,
}

/// A name arrives in a confirmation of at least 30 bytes, and costs 48 bytes and its own length.
const NAMES_PER_BYTE: usize = 3;

/// The first name allocates the sets of names.
const NAMES_FREE: usize = 128;

fn run(commands: &[u8], pieces: &[&[u8]], longest: usize) -> Outcome {
    let choices = Choices::of(0);
    let mut session = session(choices);
    let mut host = choices.host();
    let mut link = Link::new();
    send(&mut session, &mut link, &mut host, commands);
    let held = link.held();
    let mut outcome = Outcome::default();
    let mut unread: Vec<u8> = Vec::new();
    let (mut wanted, mut read) = (1, 0);
    for piece in pieces {
        unread.extend_from_slice(piece);
        read += piece.len();
        if unread.len() < wanted {
            continue;
        }
        match replies(&mut session, &mut link, &mut unread, &mut host, &mut outcome) {
            Some(need) => wanted = need,
            None => return outcome,
        }
        assert!(unread.len() <= MAX_UNREAD + longest, "{} bytes are held", unread.len());
        let names = link.subscribed().held();
        assert!(link.held() - names <= held, "only subscriptions make the link grow");
        assert!(names <= NAMES_FREE + NAMES_PER_BYTE * read, "{names} bytes of names in {read} bytes");
    }
    // The input may end before the link has enough bytes, but the link has seen the bytes up to there.
    let _ = replies(&mut session, &mut link, &mut unread, &mut host, &mut outcome);
    outcome
}

/// Sends as many of the commands as need not wait for replies.
fn send(session: &mut Session, link: &mut Link, host: &mut TestHost, commands: &[u8]) {
    let mut unread: Vec<u8> = Vec::new();
    for &command in commands {
        let words: Vec<&[u8]> = COMMANDS[usize::from(command % 16)].split(' ').map(str::as_bytes).collect();
        portcullis_resp::encode::command(&mut unread, &words);
    }
    loop {
        host.subscriptions = link.subscriptions();
        host.listens_in_resp2 = link.listens_in_resp2();
        match session.next(&unread, Tick::default(), host) {
            Step::Forward { len, first, pending, shape, .. } => {
                link.expect(first, pending, shape);
                unread.drain(..len);
            }
            Step::Instead { skip, first, shape, .. } => {
                link.expect(first, 1, shape);
                unread.drain(..skip);
            }
            Step::Skip { len } => drop(unread.drain(..len)),
            Step::Need { .. } | Step::Wait(_) | Step::Close(_) => return,
        }
    }
}

/// Returns the number of unread bytes that the link needs; `None` after a fault or a lost upstream.
fn replies(
    session: &mut Session,
    link: &mut Link,
    unread: &mut Vec<u8>,
    host: &mut TestHost,
    outcome: &mut Outcome,
) -> Option<usize> {
    loop {
        let len = match link.next(unread) {
            Incoming::Part(part) => {
                match session.reply(&part, Tick::default(), host) {
                    ReplyAction::Misled | ReplyAction::Desync => panic!("the link and its session disagree"),
                    ReplyAction::Lost(why) => {
                        outcome.lost = Some(why);
                        return None;
                    }
                    ReplyAction::Pass
                    | ReplyAction::Drop
                    | ReplyAction::Replace(_)
                    | ReplyAction::Rewritten => {}
                }
                outcome.ended += part.ended;
                part.bytes.len()
            }
            Incoming::Push { bytes, ended, .. } => {
                outcome.pushes += u64::from(ended);
                bytes.len()
            }
            Incoming::Need(total) => {
                assert!(total > unread.len(), "the link asks for bytes that it already has");
                return Some(total);
            }
            Incoming::Fault(fault) => {
                outcome.fault = Some(fault);
                assert_eq!(link.next(unread), Incoming::Fault(fault), "a fault must stay");
                return None;
            }
        };
        assert!(len > 0, "no progress");
        outcome.returned.extend(unread.drain(..len));
    }
}
