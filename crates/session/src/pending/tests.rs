use portcullis_resp::command::{CommandId, id};

use super::{JOIN_RUNS_FROM, Local, PendingReplies, ReplyKind, Run};
use crate::ids::SessionKey;
use crate::tick::Tick;

fn plain(id: CommandId, at: u64, seq: u64) -> Run {
    Run { kind: ReplyKind::Plain, seq, n: 1, id, at: Tick::from_nanos(at), muted: false }
}

#[test]
fn equal_neighbours_are_one_run() {
    let mut pending = PendingReplies::of(SessionKey(7));
    for seq in 0..10 {
        pending.push(plain(id::GET, 1, seq));
    }
    assert_eq!((pending.runs.len(), pending.front().map(|run| run.n)), (1, Some(10)));
    pending.push(plain(id::SET, 1, 10));
    pending.push(plain(id::SET, 2, 11));
    assert_eq!(pending.runs.len(), 3, "other names and other times are separate runs");
}

#[test]
fn a_gap_in_the_order_is_never_closed() {
    let mut pending = PendingReplies::of(SessionKey(7));
    pending.push(plain(id::GET, 1, 0));
    pending.push(plain(id::GET, 1, 2));
    assert_eq!(pending.runs.len(), 2);
}

#[test]
fn deep_queues_join_runs_that_differ_only_in_name() {
    let mut pending = PendingReplies::of(SessionKey(7));
    for seq in 0..10 * JOIN_RUNS_FROM as u64 {
        pending.push(plain(if seq % 2 == 0 { id::GET } else { id::SET }, seq, seq));
    }
    assert_eq!(pending.runs.len(), JOIN_RUNS_FROM);
    assert_eq!(pending.runs.back().map(|run| run.id), Some(CommandId::UNKNOWN));
}

#[test]
fn muted_and_unmuted_replies_are_never_joined() {
    let mut pending = PendingReplies::of(SessionKey(7));
    pending.push(plain(id::GET, 1, 0));
    pending.push(Run { muted: true, ..plain(id::GET, 1, 1) });
    assert_eq!(pending.runs.len(), 2);
}

#[test]
fn an_empty_queue_releases_its_memory() {
    let mut pending = PendingReplies::of(SessionKey(7));
    for seq in 0..100 {
        let text = format!("-ERR {seq}\r\n").into_bytes().into_boxed_slice();
        pending.push(Run { kind: ReplyKind::Local(Local::Made(text)), ..plain(id::GET, 1, seq) });
    }
    assert!(pending.made() == 890 && pending.held() > pending.made());
    for _ in 0..100 {
        pending.settle(1);
    }
    assert!(pending.is_empty() && pending.made() == 0 && pending.held() < 1024);
}

#[test]
fn only_the_newest_reply_is_retracted() {
    let mut pending = PendingReplies::of(SessionKey(7));
    pending.push(plain(id::GET, 1, 0));
    pending.push(plain(id::GET, 1, 1));
    pending.push(Run { kind: ReplyKind::Blocking(None), ..plain(id::BLPOP, 1, 3) });
    assert!(pending.blocks());
    pending.retract();
    assert!(!pending.blocks());
    pending.retract();
    assert_eq!(pending.front().map(|run| (run.n, run.seq)), Some((1, 0)));
}

#[test]
fn unsent_commands_get_one_error_line_each() {
    let mut pending = PendingReplies::of(SessionKey(7));
    pending.push(plain(id::GET, 1, 0));
    pending.push(Run { n: 2, ..plain(id::SET, 2, 1) });
    pending.push(Run { kind: ReplyKind::Local(Local::Canned(b"+OK\r\n")), ..plain(id::PING, 3, 3) });
    pending.push(Run { muted: true, ..plain(id::GET, 4, 4) });
    pending.push(plain(id::GET, 5, 5));
    pending.answer_with(b"-BUSY\r\n");
    let mut replies = Vec::new();
    while let Some(front) = pending.front() {
        let ReplyKind::Local(local) = &front.kind else { panic!("{front:?}") };
        replies.extend_from_slice(local.bytes());
        pending.settle(1);
    }
    assert_eq!(replies, b"-BUSY\r\n-BUSY\r\n-BUSY\r\n+OK\r\n-BUSY\r\n");
    assert_eq!(pending.made(), 0);
}
