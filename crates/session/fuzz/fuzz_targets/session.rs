//! Any bytes of a client in any pieces, and an upstream that says OK to all: what travels is canonical, nothing of what
//! the gate keeps to itself is among it, and pieces make no difference.
//!
//! Input: how many sizes of pieces, these sizes, who checks credentials, then what the client sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_session::session::CloseReason;
use portcullis_session::{Auth, Fate, Incoming, Link, Session, Step, Tick, Until};
use portcullis_session_fuzz::{Deaf, HELD_COMMAND, PASSWORD, canonical_frames, pieces, session, split};

/// No line is longer, nor what is held, nor a header.
const MAX_UNREAD: usize = (1 << 12) + HELD_COMMAND + 64;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, choices, input)) = split(data) else { return };
    let auth = if choices & 1 == 0 { Auth::Passthrough } else { Auth::Trust };
    let whole = run(auth, choices & 2 != 0, &[input], input.len());
    let cut = run(auth, choices & 2 != 0, &pieces(input, &sizes), 255);
    // Of a frame that turns out to be broken, a piece may have been judged already.
    assert_eq!(whole.broken, cut.broken);
    assert!(whole.broken || whole.heard == cut.heard, "pieces make a difference");
    let (frames, frames_of_pieces) = (canonical_frames(&whole.sent), canonical_frames(&cut.sent));
    assert_eq!(frames, frames_of_pieces);
    for frame in &frames {
        assert!(may_travel(auth, frame), "{frame:?}");
    }
});

struct Outcome {
    sent: Vec<u8>,
    heard: Vec<u8>,
    /// Commands that were begun and are not complete: one or none.
    half: u64,
    /// The client broke the grammar.
    broken: bool,
}

fn run(auth: Auth, password: bool, pieces: &[&[u8]], longest: usize) -> Outcome {
    let mut session = session(auth, password);
    let mut link = Link::new();
    let mut outcome = Outcome { sent: Vec::new(), heard: Vec::new(), half: 0, broken: false };
    let mut unread: Vec<u8> = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        if !requests(&mut session, &mut link, &mut unread, &mut outcome) {
            return outcome;
        }
        assert!(unread.len() <= MAX_UNREAD + longest, "{} bytes are held", unread.len());
    }
    outcome
}

/// False: the session is over.
fn requests(session: &mut Session, link: &mut Link, unread: &mut Vec<u8>, outcome: &mut Outcome) -> bool {
    let most = 8 * unread.len() + 64;
    for _ in 0..most {
        let (answers, wait) = match session.next(unread, Tick::default(), &mut Deaf) {
            Step::Forward { len, first, owed, shape, whole } => {
                assert!(len > 0, "no progress");
                if owed > 0 {
                    link.expect(first, owed, shape);
                }
                outcome.sent.extend(unread.drain(..len));
                // Half a command is not answered.
                let answers = owed + outcome.half - u64::from(!whole);
                outcome.half = u64::from(!whole);
                (answers, false)
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
            Step::Wait(until) => {
                assert_ne!(until, Until::Linked);
                (0, true)
            }
            Step::Close(reason) => {
                outcome.broken = matches!(reason, CloseReason::Protocol(_));
                return false;
            }
        };
        assert!(!wait || session.owes(), "waits for nothing");
        session.render(&mut outcome.heard);
        replies(session, link, answers, &mut outcome.heard);
        assert!(session.held() < 1 << 16);
    }
    panic!("does not come to an end");
}

/// The upstream answers at once.
fn replies(session: &mut Session, link: &mut Link, answers: u64, heard: &mut Vec<u8>) {
    let text = b"+OK\r\n".repeat(usize::try_from(answers).unwrap());
    let mut rest = &text[..];
    while !rest.is_empty() {
        let Incoming::Part(part) = link.next(rest) else { panic!("not a reply") };
        match session.reply(&part, Tick::default(), &mut Deaf) {
            Fate::Pass => heard.extend_from_slice(part.bytes),
            Fate::Drop => {}
            Fate::Replace(bytes) => heard.extend_from_slice(bytes),
            fate => panic!("{fate:?}"),
        }
        rest = &rest[part.bytes.len()..];
        session.render(heard);
    }
}

fn may_travel(auth: Auth, frame: &[Vec<u8>]) -> bool {
    let is = |place: usize, word: &[u8]| frame.get(place).is_some_and(|text| text.eq_ignore_ascii_case(word));
    let kept = [&b"sync"[..], b"psync", b"replconf", b"quit", b"post", b"host:"];
    if kept.iter().any(|word| is(0, word)) {
        return false;
    }
    if is(0, b"client") && is(1, b"reply") && frame.len() == 3 && (is(2, b"off") || is(2, b"skip")) {
        return false;
    }
    if auth == Auth::Passthrough {
        return true;
    }
    if is(0, b"auth") && frame.len() > 1 {
        return frame[1] == PASSWORD && frame.len() == 2;
    }
    // Of HELLO's options only SETNAME is left.
    !is(0, b"hello") || frame.iter().skip(2).step_by(2).all(|option| option.eq_ignore_ascii_case(b"setname"))
}
