use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Wake;

use portcullis_config::Tcp;

use super::*;
use crate::testing::generation;
use crate::upstream::target::Target;
use crate::upstream::view::ViewCell;

/// Counts how often the session's task was woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn tick(millis: u64) -> Tick {
    Tick::default().after(Duration::from_millis(millis))
}

/// Returns a permit that expires at this time; `None` for a permit that never expires.
fn permit(until: Option<i64>) -> Permit {
    use portcullis_acl::{Access, Decision, Entry, Meta, PolicyBuilder};
    let mut builder = PolicyBuilder::new();
    let source = builder.source("portcullis.yaml").expect("one file");
    let group = builder.group(None, Meta::default()).expect("one group");
    let meta = Meta { until: until.map(UnixSeconds), ..Meta::default() };
    let entry = Entry { cidr: "192.0.2.1".parse().expect("an address"), line: 1, meta };
    builder.entry(group, source, entry).expect("one entry");
    builder.listener(Access { allow: vec![group], ..Access::default() });
    match builder.build().judge(0, &from(), UnixSeconds(0)) {
        Decision::Allow(permit) => permit,
        Decision::Deny(denial) => panic!("{denial:?}"),
    }
}

fn from() -> ClientAddr {
    ClientAddr::from_socket(([192, 0, 2, 1], 50_000).into())
}

/// Adds a session to the table. Returns its key, its entry, and the counter of its wakeups.
fn session(table: &Table, id: u64, until: Option<i64>) -> (usize, Rc<Entry>, Arc<Bell>) {
    let generation = generation();
    let listener = &generation.listeners()[0];
    let target = Target::of(listener, ViewCell::of(listener.upstream()), Arc::default(), &Tcp::default(), 0);
    let listener = Rc::new(ListenerView::of(listener, target, 0));
    let entry = Rc::new(Entry::new(id, from(), listener, permit(until), generation, tick(0)));
    let bell = Arc::new(Bell::default());
    entry.remember(&Arc::clone(&bell).into());
    (table.insert(Rc::clone(&entry)), entry, bell)
}

#[test]
fn keys_take_out_what_they_put_in() {
    let table = Table::default();
    let (first, ..) = session(&table, 1, None);
    let (second, ..) = session(&table, 2, None);
    table.remove(first);
    table.remove(first);
    assert!(!table.is_empty());
    table.remove(second);
    assert!(table.is_empty());
}

#[test]
fn wakes_those_whose_deadline_has_come() {
    let table = Table::default();
    let sessions = [None, Some(tick(100)), Some(tick(200))].map(|deadline| {
        let (_, entry, bell) = session(&table, 1, None);
        entry.deadline.set(deadline);
        bell
    });
    table.wake_due(tick(99));
    assert_eq!(sessions.each_ref().map(|bell| bell.rung()), [0, 0, 0]);
    table.wake_due(tick(100));
    assert_eq!(sessions.each_ref().map(|bell| bell.rung()), [0, 1, 0]);
}

/// A session that moves nothing is woken once, when the kernel's limit of 30 s and the margin have passed.
#[test]
fn wakes_a_session_that_has_become_quiet() {
    let table = Table::default();
    let (_, entry, bell) = session(&table, 1, None);
    entry.moved.set(tick(1000));
    for (now, rung) in [(33_999, 0), (34_000, 1), (34_250, 1)] {
        table.wake_due(tick(now));
        assert_eq!(bell.rung(), rung, "at {now} ms");
    }
    assert_eq!(entry.activity.get(), Activity::Stopped);
}

/// A session that is to be cut stays so, whatever order follows.
#[test]
fn a_cut_outlasts_a_drain() {
    let table = Table::default();
    let (_, entry, bell) = session(&table, 1, None);
    table.signal_all(Signal::Drain);
    table.signal_all(Signal::Cut(ClosedReason::Admin));
    table.signal_all(Signal::Drain);
    table.signal_all(Signal::Cut(ClosedReason::Drain));
    assert_eq!(entry.take_signal(), Some(Signal::Cut(ClosedReason::Admin)));
    assert_eq!(entry.take_signal(), None);
    assert_eq!(bell.rung(), 4);
}

#[test]
fn cuts_who_is_no_longer_permitted() {
    let table = Table::default();
    let (_, mortal, _) = session(&table, 1, Some(100));
    let (_, immortal, _) = session(&table, 2, None);
    assert!(table.cut_expired(UnixSeconds(99)).is_empty());
    assert_eq!(mortal.take_signal(), None);
    assert_eq!(table.cut_expired(UnixSeconds(100)).len(), 1);
    assert_eq!(mortal.take_signal(), Some(Signal::Cut(ClosedReason::Revoked)));
    assert!(table.cut_expired(UnixSeconds(101)).is_empty(), "a session is cut once");
    assert_eq!(immortal.take_signal(), None);
}

/// Sessions that make progress, or hold no memory, are not cut. The session with the most memory is cut first.
#[test]
fn cuts_the_fattest_of_the_stuck() {
    let table = Table::default();
    let stalled = Duration::from_secs(2);
    let sizes = [(5, 10), (500, 10), (50, 10), (0, 10), (5000, 2000)];
    let sessions = sizes.map(|(held, moved)| {
        let (_, entry, _) = session(&table, 1, None);
        entry.held.set(held);
        entry.moved.set(tick(moved));
        entry
    });
    let told = || sessions.each_ref().map(|entry| entry.take_signal().is_some());
    table.cut_fattest(1, tick(1000), stalled);
    assert_eq!(told(), [false; 5]);
    table.cut_fattest(0, tick(3000), stalled);
    assert_eq!(told(), [false; 5]);
    table.cut_fattest(2, tick(3000), stalled);
    assert_eq!(told(), [false, true, true, false, false]);
    table.cut_fattest(9, tick(3000), stalled);
    assert_eq!(told(), [true, true, true, false, false]);
}

#[test]
fn who_is_judged_anew_goes_or_stays_by_another_entry() {
    let table = Table::default();
    let (_, gone, rung) = session(&table, 1, None);
    let (_, stays, silent) = session(&table, 2, None);
    let (before, next) = (Arc::clone(&gone.admitted_by.borrow()), generation());
    let judge = |entry: &Entry| match entry.id {
        1 => Verdict::Cut,
        _ => Verdict::Stay { permit: permit(Some(50)), user_permit: None, wake: false, rules: true },
    };
    assert_eq!(told(&table.judge_all(&next, judge)), Some(1));
    assert_eq!(told(&table.judge_all(&next, judge)), Some(0), "nobody is cut twice");
    assert!(Arc::ptr_eq(&gone.admitted_by.borrow(), &before), "it is not the new config that admitted it");
    assert!(Arc::ptr_eq(&stays.admitted_by.borrow(), &next));
    assert_eq!(gone.take_signal(), Some(Signal::Cut(ClosedReason::Revoked)));
    assert_eq!((rung.rung(), silent.rung()), (1, 0));
    assert_eq!(stays.permit.borrow().expires(), Some(UnixSeconds(50)));
    table.cut_expired(UnixSeconds(50));
    assert_eq!(stays.take_signal(), Some(Signal::Cut(ClosedReason::Revoked)));
}

/// Returns the number of sessions that are cut, if all sessions have decided.
fn told(reckoning: &Reckoning) -> Option<u64> {
    let (tell, mut told) = oneshot::channel();
    reckoning.tell(tell);
    told.try_recv().ok()
}

/// A session that may use what the new rules refuse is woken to judge that. The number is sent after it has decided.
#[test]
fn the_number_of_those_who_are_cut_waits_for_those_who_must_judge_themselves() {
    let table = Table::default();
    let [(_, idle, silent), (_, same, quiet), (_, goes, rung), (gone, ended, bell), (_, stays, _)] =
        [1, 2, 3, 4, 5].map(|id| session(&table, id, None));
    for entry in [&same, &goes, &ended, &stays] {
        entry.uses_rights.set(true);
    }
    let judge = |entry: &Entry| Verdict::Stay {
        permit: permit(None),
        user_permit: None,
        wake: false,
        rules: entry.id != 2,
    };
    let reckoning = table.judge_all(&generation(), judge);
    assert!(idle.take_judging().is_none() && same.take_judging().is_none());
    assert_eq!((silent.rung(), quiet.rung(), rung.rung(), bell.rung()), (0, 0, 1, 1));
    let (tell, mut told) = oneshot::channel();
    reckoning.tell(tell);
    goes.take_judging().expect("it is to judge").cut();
    drop(stays.take_judging());
    assert!(told.try_recv().is_err(), "one has not judged");
    table.remove(gone);
    drop(ended);
    assert_eq!(told.try_recv(), Ok(1), "one that has ended is not waited for");
}

#[test]
fn the_entry_of_a_users_own_list_expires_as_well() {
    let table = Table::default();
    let (_, entry, _) = session(&table, 1, None);
    assert!(entry.set_user(Some("reporting"), 3) && !entry.set_user(Some("reporting"), 5));
    entry.set_user_permit(Some(permit(Some(70))));
    table.cut_expired(UnixSeconds(69));
    assert_eq!(entry.take_signal(), None);
    table.cut_expired(UnixSeconds(70));
    assert_eq!(entry.take_signal(), Some(Signal::Cut(ClosedReason::Revoked)));
    assert!(entry.set_user(None, 5));
    table.cut_expired(UnixSeconds(71));
    assert_eq!(entry.take_signal(), None, "nobody is logged in any more");
}
