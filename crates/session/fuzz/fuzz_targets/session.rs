//! Any bytes of a client in any pieces, and an upstream that replies OK to everything. The forwarded commands are
//! canonical, contain nothing that the gate must keep to itself, and do not depend on the pieces. The address of a hidden
//! upstream reaches no client.
//!
//! Input: the number of piece sizes, these sizes, the auth mode with the rules and the presentation, then the bytes of the
//! client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_session::{
    Auth, CloseReason, Findings, Incoming, Link, MAX_RENDERED, ReplyAction, Session, Shape, Step, Tick, Until,
};
use portcullis_session_fuzz::{
    Choices, HELD_COMMAND, PASSWORD, Presents, Rules, TestHost, canonical_frames, pieces, session, split,
};

/// An upper bound for an inline command, the held bytes and a header.
const MAX_UNREAD: usize = (1 << 12) + HELD_COMMAND + 64;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, choices, input)) = split(data) else { return };
    let choices = Choices::of(choices);
    let whole = run(choices, &[input], input.len());
    let cut = run(choices, &pieces(input, &sizes), 255);
    // The session may have judged a piece of a frame before the frame turns out to be broken.
    assert_eq!(whole.broken, cut.broken);
    assert!(whole.broken || whole.received == cut.received, "the replies depend on the pieces");
    let (frames, frames_of_pieces) = (canonical_frames(&whole.sent), canonical_frames(&cut.sent));
    // A judged piece may have taken a connection of the client's own, which the gate sets up.
    assert!(choices.shared && whole.broken || frames == frames_of_pieces, "{frames:?}, {frames_of_pieces:?}");
    for frame in frames.iter().chain(&frames_of_pieces) {
        assert!(may_be_forwarded(choices, frame), "{frame:?}");
    }
    let shows = |text: &[u8]| text.windows(INNER.len()).any(|bytes| bytes == INNER);
    for outcome in [&whole, &cut] {
        assert!(choices.presents == Presents::Upstream || shows(input) || !shows(&outcome.received));
        assert!(
            choices.presents != Presents::Sentinel || outcome.sent.is_empty(),
            "a sentinel has no upstream"
        );
    }
});

/// The address of the upstream.
const INNER: &[u8] = b"10.9.8.7";

/// The replies of the upstream that show its address.
const SHOWN: [(&[u8], &[u8]); 3] = [
    (b"info", b"$56\r\nrole:slave\r\nmaster_host:10.9.8.7\r\nslave0:ip=10.9.8.7,x=1\r\n"),
    (b"role", b"*5\r\n$5\r\nslave\r\n$8\r\n10.9.8.7\r\n:6379\r\n$9\r\nconnected\r\n:1\r\n"),
    (b"config", b"*2\r\n$4\r\nbind\r\n$8\r\n10.9.8.7\r\n"),
];

/// The gate's own command.
const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

struct Outcome {
    sent: Vec<u8>,
    received: Vec<u8>,
    /// The number of incomplete commands: one or none.
    half: u64,
    /// The shape of the reply to that command.
    shape: Shape,
    /// The index of the last command in `sent`.
    last: usize,
    /// Whether the client broke the grammar.
    broken: bool,
}

/// The state between the client's input and its output.
struct Gate {
    choices: Choices,
    session: Session,
    link: Link,
    host: TestHost,
    unread: Vec<u8>,
    outcome: Outcome,
}

/// The outcome of one call of the session.
enum Progress {
    /// The upstream answers this many commands with OK.
    Answers(u64),
    /// The session waits for replies.
    Wait,
    /// The session needs more bytes.
    Need,
    /// The session has ended.
    Close,
}

fn run(choices: Choices, pieces: &[&[u8]], longest: usize) -> Outcome {
    let mut gate = Gate::new(choices);
    for piece in pieces {
        gate.unread.extend_from_slice(piece);
        let continues = gate.requests();
        let anonymous = choices.auth == Auth::Users && gate.host.granted == 0;
        assert!(!anonymous || gate.outcome.sent.is_empty(), "bytes were sent before a login");
        if !continues {
            return gate.outcome;
        }
        assert!(gate.unread.len() <= MAX_UNREAD + longest, "{} bytes are held", gate.unread.len());
    }
    gate.outcome
}

impl Gate {
    fn new(choices: Choices) -> Self {
        let outcome = Outcome {
            sent: Vec::new(),
            received: Vec::new(),
            half: 0,
            shape: Shape::One,
            last: 0,
            broken: false,
        };
        let (session, host) = (session(choices), choices.host());
        Self { choices, session, link: Link::new(), host, unread: Vec::new(), outcome }
    }

    /// Handles the unread bytes; returns whether the session continues.
    fn requests(&mut self) -> bool {
        let most = 8 * self.unread.len() + 64;
        for _ in 0..most {
            let answers = match self.step() {
                Progress::Answers(answers) => answers,
                Progress::Wait => {
                    assert!(self.session.has_pending(), "the session waits for nothing");
                    0
                }
                Progress::Need => return true,
                Progress::Close => return false,
            };
            self.session.write_local_replies(&mut self.outcome.received, MAX_RENDERED);
            self.receive(&b"+OK\r\n".repeat(usize::try_from(answers).unwrap()));
            assert!(self.session.held() < 1 << 16);
        }
        panic!("the session does not come to an end");
    }

    fn step(&mut self) -> Progress {
        let greeting = greeting(self.session.pool_key().resp3);
        self.host.subscriptions = self.link.subscriptions();
        self.host.listens_in_resp2 = self.link.listens_in_resp2();
        match self.session.next(&self.unread, Tick::default(), &mut self.host) {
            Step::Forward { len, first, pending, shape, whole, .. } => {
                assert!(len > 0, "no progress");
                if pending > 0 {
                    self.outcome.shape = shape.clone();
                    self.link.expect(first, pending, shape);
                }
                if self.outcome.half == 0 {
                    self.outcome.last = self.outcome.sent.len();
                }
                self.outcome.sent.extend(self.unread.drain(..len));
                // The upstream does not answer an incomplete command.
                let answers = pending + self.outcome.half - u64::from(!whole);
                self.outcome.half = u64::from(!whole);
                match self.outcome.shape {
                    Shape::WholeHello => self.answer(answers, greeting),
                    Shape::Listed => self.answer(answers, self.listing()),
                    _ => Progress::Answers(answers),
                }
            }
            Step::Instead { bytes, skip, first, shape, .. } => {
                let is_client_id = bytes == CLIENT_ID;
                self.link.expect(first, 1, shape.clone());
                self.outcome.last = self.outcome.sent.len();
                self.outcome.sent.extend_from_slice(bytes);
                self.unread.drain(..skip);
                match shape {
                    Shape::WholeHello => self.answer(1, greeting),
                    Shape::Listed => self.answer(1, self.listing()),
                    _ if is_client_id => self.answer(1, b":9\r\n"),
                    _ => Progress::Answers(1),
                }
            }
            Step::Skip { len } => {
                assert!(len > 0, "no progress");
                self.unread.drain(..len);
                Progress::Answers(0)
            }
            Step::Need { at_least } => {
                assert!(at_least > self.unread.len(), "the session asks for bytes that it already has");
                Progress::Need
            }
            Step::Wait(until) => self.wait(until),
            Step::Close(reason) => {
                self.outcome.broken = matches!(reason, CloseReason::Protocol(_));
                Progress::Close
            }
        }
    }

    /// Returns the upstream's reply to the last command, whose reply the session needs in one piece.
    fn listing(&self) -> &'static [u8] {
        if self.choices.presents == Presents::Upstream {
            return b"*0\r\n";
        }
        let last = canonical_frames(&self.outcome.sent[self.outcome.last..]);
        let name = last.first().map(|frame| frame[0].to_ascii_lowercase()).unwrap_or_default();
        SHOWN.iter().find(|(command, _)| *command == name).map_or(b"*0\r\n", |(_, reply)| reply)
    }

    /// Answers with `reply` in place of OK, if the upstream answers at all.
    fn answer(&mut self, answers: u64, reply: &[u8]) -> Progress {
        if answers > 0 {
            self.receive(reply);
        }
        Progress::Answers(0)
    }

    /// Ends a wait for the caller. The wait for replies ends with the replies.
    fn wait(&mut self, until: Until) -> Progress {
        match until {
            Until::Linked => {
                assert!(self.choices.shared, "the upstream is connected from the start");
                self.session.linked();
            }
            Until::Pooled => self.session.pooled(Ok(())),
            Until::GivenBack => {
                self.link = Link::new();
                self.session.give_back();
            }
            Until::Clients => self.session.informed(Some(&Findings::default())),
            Until::LoggedIn | Until::NothingPending | Until::FewerPending => return Progress::Wait,
        }
        Progress::Answers(0)
    }

    /// Receives `text` from the upstream.
    fn receive(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            let Incoming::Part(part) = self.link.next(rest) else { panic!("not a reply") };
            let received = &mut self.outcome.received;
            match self.session.reply(&part, Tick::default(), &mut self.host) {
                ReplyAction::Pass => received.extend_from_slice(part.bytes),
                ReplyAction::Drop => {}
                ReplyAction::Replace(bytes) => received.extend_from_slice(bytes),
                ReplyAction::Rewritten => received.extend_from_slice(self.session.rewritten()),
                action => panic!("{action:?}"),
            }
            rest = &rest[part.bytes.len()..];
            self.session.write_local_replies(received, MAX_RENDERED);
        }
    }
}

/// Returns the reply to HELLO.
fn greeting(resp3: bool) -> &'static [u8] {
    if resp3 { b"%1\r\n$2\r\nid\r\n:5\r\n" } else { b"*2\r\n$2\r\nid\r\n:5\r\n" }
}

fn may_be_forwarded(choices: Choices, frame: &[Vec<u8>]) -> bool {
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
    let shown = [&b"cluster"[..], b"sentinel", b"readonly", b"readwrite", b"asking"];
    if choices.presents != Presents::Upstream
        && (shown.iter().any(|word| is(0, word)) || is(0, b"client") && is(1, b"maint_notifications"))
    {
        return false;
    }
    if choices.rules != Rules::None && refused(choices.rules, frame) {
        return false;
    }
    if choices.auth == Auth::Passthrough {
        return true;
    }
    if is(0, b"auth") && frame.len() > 1 {
        let as_default_user = frame.len() == 3 && frame[1] == b"default" && frame[2].is_empty();
        return frame[1] == PASSWORD && frame.len() == 2 || as_default_user && choices.auth == Auth::Users;
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
