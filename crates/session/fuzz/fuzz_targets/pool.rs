//! Any bytes of an upstream in any pieces on a connection that clients share. Each client gets its own replies,
//! whatever the pieces, and nothing after a fault.
//!
//! Input: the number of piece sizes, these sizes, the kind of the connection, the number of commands, their clients,
//! then the bytes of the upstream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_session::{
    PoolFault, PoolKey, PooledLink, Preamble, ReplyAction, Session, SessionKey, Shared, Step, Tick,
};
use portcullis_session_fuzz::{Choices, Deaf, pieces, split};

/// The longest reply that the link waits for, and a chunk.
const MAX_UNREAD: usize = portcullis_session::MAX_WHOLE_REPLY + 256;

const CLIENTS: u8 = 3;

/// `auth: trust` with shared connections.
const CHOICES: u8 = 0b1_0001;

fuzz_target!(|data: &[u8]| {
    let Some((sizes, kind, rest)) = split(data) else { return };
    let Some((&count, rest)) = rest.split_first() else { return };
    let Some((askers, input)) = rest.split_at_checked(usize::from(count % 16) + 1) else { return };
    let whole = run(kind, askers, &[input], input.len());
    let cut = run(kind, askers, &pieces(input, &sizes), 255);
    assert!(input.starts_with(&whole.handed_out) && input.starts_with(&cut.handed_out), "not what came in");
    // The fault of a push or of a broken push depends on the number of received bytes.
    assert_eq!((&whole.ended, whole.fault.is_some()), (&cut.ended, cut.fault.is_some()));
    if whole.fault.is_none() {
        assert_eq!((whole.handed_out.len(), whole.heard), (cut.handed_out.len(), cut.heard));
    }
});

#[derive(Default)]
struct Outcome {
    handed_out: Vec<u8>,
    /// The output of each client.
    heard: Vec<Vec<u8>>,
    ended: Vec<u64>,
    fault: Option<PoolFault>,
}

fn run(kind: u8, askers: &[u8], pieces: &[&[u8]], longest: usize) -> Outcome {
    let choices = Choices::of(CHOICES);
    let mut deaf = choices.deaf();
    let preamble = (kind & 1 != 0).then(|| Preamble::auth(None, "x"));
    let mut link = PooledLink::new(PoolKey { preamble, resp3: kind & 2 != 0, db: u32::from(kind >> 6) });
    link.open();
    let plan = std::sync::Arc::new(choices.plan());
    let mut clients: Vec<Session> =
        (0..CLIENTS).map(|key| Session::new(SessionKey(key.into()), std::sync::Arc::clone(&plan))).collect();
    for asker in askers {
        ask(&mut clients[usize::from(asker % CLIENTS)], usize::from(asker >> 6) + 1, &mut link, &mut deaf);
    }
    let mut outcome = Outcome {
        heard: vec![Vec::new(); clients.len()],
        ended: vec![0; clients.len()],
        ..Outcome::default()
    };
    let mut unread = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        if !replies(&mut link, &mut clients, &mut unread, &mut deaf, &mut outcome) {
            break;
        }
        assert!(unread.len() <= MAX_UNREAD + longest, "{} bytes are held", unread.len());
    }
    outcome
}

/// Sends `n` commands at once.
fn ask(client: &mut Session, n: usize, link: &mut PooledLink, deaf: &mut Deaf) {
    let mut bytes = &b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(n)[..];
    while !bytes.is_empty() {
        let Step::Forward { len, first, pending, shape, .. } = client.next(bytes, Tick::default(), deaf)
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
    deaf: &mut Deaf,
    outcome: &mut Outcome,
) -> bool {
    loop {
        let len = match link.next(unread) {
            Shared::Own(len) | Shared::Invalidation { len, .. } => len,
            Shared::Part(part) => {
                assert!(link.is_ready(), "a reply before the connection was");
                let place = usize::try_from(part.ticket.session.0).unwrap();
                match clients[place].reply(&part, Tick::default(), deaf) {
                    ReplyAction::Pass => outcome.heard[place].extend_from_slice(part.bytes),
                    // The error is for a client that had received nothing before.
                    ReplyAction::Lost(why) => clients[place].lost(Some(why)),
                    // The client's session has ended since.
                    ReplyAction::Desync => {
                        assert!(clients[place].is_ending(), "replies were taken for others")
                    }
                    fate => panic!("{fate:?}"),
                }
                outcome.ended[place] += part.ended;
                part.bytes.len()
            }
            Shared::Need(total) => {
                assert!(total > unread.len(), "asks for what is there");
                return true;
            }
            Shared::Fault(fault) => {
                assert_eq!(link.next(unread), Shared::Fault(fault.clone()), "a fault passes");
                outcome.fault = Some(fault);
                return false;
            }
        };
        assert!(len > 0, "no progress");
        outcome.handed_out.extend(unread.drain(..len));
    }
}
