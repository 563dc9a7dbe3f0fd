use portcullis_resp::command::{CommandId, id};

use super::{JOIN_RUNS_FROM, Local, Owed, Run, What};
use crate::tick::Tick;

fn plain(id: CommandId, at: u64, seq: u64) -> Run {
    Run { what: What::Plain, seq, n: 1, id, at: Tick::from_nanos(at), muted: false }
}

#[test]
fn equal_neighbours_are_one_run() {
    let mut owed = Owed::default();
    for seq in 0..10 {
        owed.push(plain(id::GET, 1, seq));
    }
    assert_eq!((owed.runs.len(), owed.front().map(|run| run.n)), (1, Some(10)));
    owed.push(plain(id::SET, 1, 10));
    owed.push(plain(id::SET, 2, 11));
    assert_eq!(owed.runs.len(), 3, "other names and other times are told apart");
}

#[test]
fn a_gap_in_the_order_is_never_closed() {
    let mut owed = Owed::default();
    owed.push(plain(id::GET, 1, 0));
    owed.push(plain(id::GET, 1, 2));
    assert_eq!(owed.runs.len(), 2);
}

#[test]
fn deep_queues_join_what_differs_only_in_name() {
    let mut owed = Owed::default();
    for seq in 0..10 * JOIN_RUNS_FROM as u64 {
        owed.push(plain(if seq % 2 == 0 { id::GET } else { id::SET }, seq, seq));
    }
    assert_eq!(owed.runs.len(), JOIN_RUNS_FROM);
    assert_eq!(owed.runs.back().map(|run| run.id), Some(CommandId::UNKNOWN));
}

#[test]
fn muted_and_heard_are_never_joined() {
    let mut owed = Owed::default();
    owed.push(plain(id::GET, 1, 0));
    owed.push(Run { muted: true, ..plain(id::GET, 1, 1) });
    assert_eq!(owed.runs.len(), 2);
}

#[test]
fn what_is_held_falls_back_to_nearly_nothing() {
    let mut owed = Owed::default();
    for seq in 0..100 {
        let text = format!("-ERR {seq}\r\n").into_bytes().into_boxed_slice();
        owed.push(Run { what: What::Local(Local::Made(text)), ..plain(id::GET, 1, seq) });
    }
    assert!(owed.made == 890 && owed.held() > owed.made);
    for _ in 0..100 {
        owed.settle(1);
    }
    assert!(owed.is_empty() && owed.made == 0 && owed.held() < 1024);
}

#[test]
fn only_the_newest_is_retracted() {
    let mut owed = Owed::default();
    owed.push(plain(id::GET, 1, 0));
    owed.push(plain(id::GET, 1, 1));
    owed.push(Run { what: What::Blocking(None), ..plain(id::BLPOP, 1, 3) });
    assert!(owed.blocks());
    owed.retract();
    assert!(!owed.blocks());
    owed.retract();
    assert_eq!(owed.front().map(|run| (run.n, run.seq)), Some((1, 0)));
}

#[test]
fn what_was_not_sent_is_answered_with_one_line_for_each() {
    let mut owed = Owed::default();
    owed.push(plain(id::GET, 1, 0));
    owed.push(Run { n: 2, ..plain(id::SET, 2, 1) });
    owed.push(Run { what: What::Local(Local::Canned(b"+OK\r\n")), ..plain(id::PING, 3, 3) });
    owed.push(Run { muted: true, ..plain(id::GET, 4, 4) });
    owed.push(plain(id::GET, 5, 5));
    owed.answer_with(b"-BUSY\r\n");
    let mut said = Vec::new();
    while let Some(front) = owed.front() {
        let What::Local(local) = &front.what else { panic!("{front:?}") };
        said.extend_from_slice(local.bytes());
        owed.settle(1);
    }
    assert_eq!(said, b"-BUSY\r\n-BUSY\r\n-BUSY\r\n+OK\r\n-BUSY\r\n");
    assert_eq!(owed.made(), 0);
}
