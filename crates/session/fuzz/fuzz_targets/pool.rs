//! Any bytes of an upstream in any pieces on a connection that clients share. Each client gets its own replies,
//! whatever the pieces, and nothing after a fault.
//!
//! Input: the number of piece sizes, these sizes, the kind of the connection, the number of commands, their clients,
//! then the bytes of the upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_session::{
    PoolFault, PoolKey, PooledLink, Preamble, ReplyAction, Route, Session, SessionKey, Shared, Step, Tick,
};
use portcullis_session_fuzz::{Choices, TestHost, pieces, split};

/// The longest reply that the link waits for, and a chunk.
const MAX_UNREAD: usize = portcullis_session::MAX_WHOLE_REPLY + 256;

const CLIENTS: u8 = 3;

/// `auth: trust` with shared connections.
const CHOICES: u8 = 0b1_0001;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, kind, rest)) = split(data) else { return };
    let Some((&count, rest)) = rest.split_first() else { return };
    let Some((senders, input)) = rest.split_at_checked(usize::from(count % 16) + 1) else { return };
    let whole = run(kind, senders, &[input], input.len());
    let cut = run(kind, senders, &pieces(input, &sizes), 255);
    assert!(
        input.starts_with(&whole.returned) && input.starts_with(&cut.returned),
        "bytes that did not arrive"
    );
    // The fault of a push or of a broken push depends on the number of received bytes.
    assert_eq!((&whole.ended, whole.fault.is_some()), (&cut.ended, cut.fault.is_some()));
    if whole.fault.is_none() {
        assert_eq!((whole.returned.len(), whole.received), (cut.returned.len(), cut.received));
    }
});

#[derive(Default)]
struct Outcome {
    returned: Vec<u8>,
    /// The output of each client.
    received: Vec<Vec<u8>>,
    ended: Vec<u64>,
    fault: Option<PoolFault>,
}

fn run(kind: u8, senders: &[u8], pieces: &[&[u8]], longest: usize) -> Outcome {
    let choices = Choices::of(CHOICES);
    let mut host = choices.host();
    let preamble = (kind & 1 != 0).then(|| Preamble::auth(None, "x"));
    let (resp3, asks_role) = (kind & 2 != 0, kind & 4 != 0);
    let mut link = PooledLink::new(PoolKey { preamble, resp3, db: u32::from(kind >> 6), asks_role });
    link.open();
    let plan = std::sync::Arc::new(choices.plan());
    let mut clients: Vec<Session> =
        (0..CLIENTS).map(|key| Session::new(SessionKey(key.into()), std::sync::Arc::clone(&plan))).collect();
    for sender in senders {
        send(&mut clients[usize::from(sender % CLIENTS)], usize::from(sender >> 6) + 1, &mut link, &mut host);
    }
    let mut outcome = Outcome {
        received: vec![Vec::new(); clients.len()],
        ended: vec![0; clients.len()],
        ..Outcome::default()
    };
    let mut unread = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        if !replies(&mut link, &mut clients, &mut unread, &mut host, &mut outcome) {
            break;
        }
        assert!(unread.len() <= MAX_UNREAD + longest, "{} bytes are held", unread.len());
    }
    outcome
}

/// Sends `n` commands at once.
fn send(client: &mut Session, n: usize, link: &mut PooledLink, host: &mut TestHost) {
    let mut bytes = &b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(n)[..];
    while !bytes.is_empty() {
        let Step::Forward { to: Route::Pooled, len, first, pending, shape, .. } =
            client.next(bytes, Tick::default(), host)
        else {
            panic!("GET is not shared");
        };
        link.expect(first, pending, shape);
        bytes = &bytes[len..];
    }
}

/// Returns false if the connection has a fault.
fn replies(
    link: &mut PooledLink,
    clients: &mut [Session],
    unread: &mut Vec<u8>,
    host: &mut TestHost,
    outcome: &mut Outcome,
) -> bool {
    loop {
        let len = match link.next(unread) {
            Shared::Own(len) | Shared::Invalidation { len, .. } => len,
            Shared::Part(part) => {
                assert!(link.is_ready(), "a reply before the setup is complete");
                let place = usize::try_from(part.ticket.session.0).unwrap();
                match clients[place].reply(&part, Tick::default(), host) {
                    ReplyAction::Pass => outcome.received[place].extend_from_slice(part.bytes),
                    // The error is for a client that had received nothing before.
                    ReplyAction::Lost(why) => clients[place].lost(Some(why)),
                    // The client's session has ended since.
                    ReplyAction::Misled | ReplyAction::Desync => {
                        assert!(clients[place].is_ending(), "a reply was taken for another")
                    }
                    action => panic!("{action:?}"),
                }
                outcome.ended[place] += part.ended;
                part.bytes.len()
            }
            Shared::Need(total) => {
                assert!(total > unread.len(), "the link asks for bytes that it already has");
                return true;
            }
            Shared::Fault(fault) => {
                assert_eq!(link.next(unread), Shared::Fault(fault.clone()), "a fault must stay");
                outcome.fault = Some(fault);
                return false;
            }
        };
        assert!(len > 0, "no progress");
        outcome.returned.extend(unread.drain(..len));
        // The bytes are not written anywhere; the input has the answer.
        let _question = link.question();
    }
}
