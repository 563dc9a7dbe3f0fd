//! A worker's sessions as seen from outside their tasks: who they are, and how to wake or cut them.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use portcullis_acl::{ClientAddr, Permit, UnixSeconds};
use portcullis_session::Tick;
use slab::Slab;
use tokio::sync::oneshot;

use super::clients::{Listable, Reach};
use super::listener_view::ListenerView;
use crate::generation::store::Generation;
use crate::metrics::ClosedReason;

/// The sessions of one worker.
#[derive(Debug, Default)]
pub(crate) struct Table(RefCell<Slab<Rc<Entry>>>);

/// One session as its worker sees it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Unique in the life of the process.
    pub id: u64,
    /// Where it comes from.
    pub from: ClientAddr,
    /// The peer that named the client's address, if that is another.
    pub sender: Option<Box<ClientAddr>>,
    /// Its listener, as this worker serves it.
    pub(crate) listener: Rc<ListenerView>,
    /// The permit that admits the client.
    pub permit: RefCell<Permit>,
    /// The user that has logged in, and the entry of its own list; boxed, as most clients have no user.
    login: RefCell<Option<Box<Login>>>,
    /// The policy for the session has changed.
    renew: Cell<bool>,
    /// The config whose entry that is: for a session that was cut, not the one in force.
    pub admitted_by: RefCell<Arc<Generation>>,
    /// Whether it uses a right that a reload may take away while the client says nothing; see
    /// [`Session::uses_rights`](portcullis_session::Session::uses_rights).
    pub uses_rights: Cell<bool>,
    /// The reload by which it has to judge what it is doing.
    judging: RefCell<Option<Undecided>>,
    /// When it wants to be woken.
    pub deadline: Cell<Option<Tick>>,
    /// Bytes of memory its buffers hold.
    pub held: Cell<usize>,
    /// When it last moved a byte.
    pub moved: Cell<Tick>,
    signal: Cell<Option<Signal>>,
    waker: RefCell<Option<Waker>>,
    /// Its relay, for questions about clients.
    relay: OnceCell<Reach>,
}

#[derive(Debug)]
struct Login {
    name: Box<str>,
    permit: Option<Permit>,
}

/// An order to a session from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End when nothing is in flight.
    Drain,
    /// End now.
    Cut(ClosedReason),
}

/// The fate of a session under another configuration.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The session ends.
    Cut,
    /// The session stays.
    Stay {
        /// By this entry.
        permit: Permit,
        /// And by this one of its user's own list.
        user_permit: Option<Permit>,
        /// The session has to set its deadlines again.
        wake: bool,
        /// Other command rules hold for it now.
        rules: bool,
    },
}

/// How many sessions of a worker one reload cuts. Some of them only their own tasks can judge; the number is told when they
/// all have.
#[derive(Debug, Default)]
pub(crate) struct Reckoning {
    cut: Cell<u64>,
    undecided: Cell<usize>,
    answer: RefCell<Option<oneshot::Sender<u64>>>,
}

/// A session that a reload may have to cut, and that has not judged what it is doing. Dropped, it stays or has ended
/// otherwise.
#[derive(Debug)]
pub(crate) struct Undecided(Rc<Reckoning>);

impl Reckoning {
    /// Tells the number once it is certain.
    pub(crate) fn tell(&self, answer: oneshot::Sender<u64>) {
        self.answer.replace(Some(answer));
        self.tell_if_decided();
    }

    fn add(&self) {
        self.cut.set(self.cut.get() + 1);
    }

    fn tell_if_decided(&self) {
        if self.undecided.get() == 0
            && let Some(answer) = self.answer.take()
        {
            // Who asked may have given up.
            let _ = answer.send(self.cut.get());
        }
    }
}

impl Undecided {
    fn new(reckoning: &Rc<Reckoning>) -> Self {
        reckoning.undecided.set(reckoning.undecided.get() + 1);
        Self(Rc::clone(reckoning))
    }

    /// The session ends by this reload.
    pub(crate) fn cut(self) {
        self.0.add();
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        self.0.undecided.set(self.0.undecided.get().saturating_sub(1));
        self.0.tell_if_decided();
    }
}

impl Entry {
    /// A session that begins.
    pub(crate) fn new(
        id: u64,
        from: ClientAddr,
        listener: Rc<ListenerView>,
        permit: Permit,
        admitted_by: Arc<Generation>,
        now: Tick,
    ) -> Self {
        Self {
            id,
            from,
            sender: None,
            listener,
            permit: RefCell::new(permit),
            login: RefCell::new(None),
            renew: Cell::new(false),
            uses_rights: Cell::new(false),
            judging: RefCell::new(None),
            admitted_by: RefCell::new(admitted_by),
            deadline: Cell::new(None),
            held: Cell::new(0),
            moved: Cell::new(now),
            signal: Cell::new(None),
            waker: RefCell::new(None),
            relay: OnceCell::new(),
        }
    }

    /// The same, for whom `sender` speaks.
    #[must_use]
    pub(crate) fn sent_by(self, sender: Option<Box<ClientAddr>>) -> Self {
        Self { sender, ..self }
    }

    /// Its relay can be asked from now on.
    pub(crate) fn set_relay(&self, relay: Reach) {
        // A session has one relay.
        let _ = self.relay.set(relay);
    }

    /// Its relay; nothing where it is over.
    pub(crate) fn relay(&self) -> Option<Rc<RefCell<dyn Listable>>> {
        self.relay.get()?.upgrade().filter(|_| !self.is_cut())
    }

    /// Whether what holds for it has changed since it last asked.
    pub(crate) fn take_renewal(&self) -> bool {
        self.renew.take()
    }

    /// The reload that has to know whether it is cut, since it last asked.
    pub(crate) fn take_judging(&self) -> Option<Undecided> {
        self.judging.take()
    }

    /// Returns the user that has logged in.
    pub(crate) fn user(&self) -> Option<String> {
        self.login.borrow().as_ref().map(|login| login.name.to_string())
    }

    /// Now it is this user who has logged in, or nobody; whether that is news.
    pub(crate) fn set_user(&self, name: Option<&str>) -> bool {
        let mut login = self.login.borrow_mut();
        let news = login.as_ref().map(|known| &*known.name) != name;
        if news {
            *login = name.map(|name| Box::new(Login { name: name.into(), permit: None }));
        }
        news
    }

    /// The user's own list admits it by this entry.
    pub(crate) fn set_user_permit(&self, permit: Option<Permit>) {
        if let Some(login) = &mut *self.login.borrow_mut() {
            login.permit = permit;
        }
    }

    fn has_expired(&self, now: UnixSeconds) -> bool {
        let over = |permit: &Permit| permit.expires().is_some_and(|until| until <= now);
        let login = self.login.borrow();
        over(&self.permit.borrow()) || login.iter().filter_map(|login| login.permit.as_ref()).any(over)
    }

    /// Returns the order that came since the last call.
    pub(crate) fn take_signal(&self) -> Option<Signal> {
        self.signal.take()
    }

    /// Remembers how to wake its task.
    pub(crate) fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// How to wake its task.
    pub(crate) fn waker(&self) -> Ref<'_, Option<Waker>> {
        self.waker.borrow()
    }

    /// Ends the session now.
    pub(crate) fn cut(&self, reason: ClosedReason) {
        self.tell(Signal::Cut(reason));
    }

    fn tell(&self, signal: Signal) {
        if !self.is_cut() {
            self.signal.set(Some(signal));
        }
        self.wake();
    }

    fn is_cut(&self) -> bool {
        matches!(self.signal.get(), Some(Signal::Cut(_)))
    }

    /// There is something for it to do.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Table {
    /// Takes a session in; the key takes it out again.
    pub(crate) fn insert(&self, entry: Rc<Entry>) -> usize {
        self.0.borrow_mut().insert(entry)
    }

    /// Takes a session out.
    pub(crate) fn remove(&self, key: usize) {
        self.0.borrow_mut().try_remove(key);
    }

    /// Whether no session is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Some of the sessions: at most `count` places of the table, and where the next begin.
    pub(crate) fn some(&self, from: usize, count: usize) -> (Vec<Rc<Entry>>, Option<usize>) {
        let table = self.0.borrow();
        let to = from.saturating_add(count);
        let entries = (from..to).filter_map(|place| table.get(place)).map(Rc::clone).collect();
        // Places are below the capacity.
        (entries, (to < table.capacity()).then_some(to))
    }

    /// The number of sessions that have this place or a later one.
    pub(crate) fn count_from(&self, place: usize) -> u64 {
        let table = self.0.borrow();
        table.iter().filter(|(key, _)| *key >= place).fold(0, |count, _| count + 1)
    }

    /// Tells every session.
    pub(crate) fn signal_all(&self, signal: Signal) {
        for (_, entry) in self.0.borrow().iter() {
            entry.tell(signal);
        }
    }

    /// Wakes those whose deadline has come.
    pub(crate) fn wake_due(&self, now: Tick) {
        for (_, entry) in self.0.borrow().iter() {
            if entry.deadline.get().is_some_and(|deadline| deadline <= now) {
                entry.wake();
            }
        }
    }

    /// Judges every session anew by `generation`: who gets no permit is cut. Those for whom other rules hold, and who may be
    /// in the middle of what these refuse, judge that themselves. Wakes nobody else but those whose listener has other
    /// timeouts now.
    pub(crate) fn judge_all(
        &self,
        generation: &Arc<Generation>,
        judge: impl Fn(&Entry) -> Verdict,
    ) -> Rc<Reckoning> {
        let reckoning = Rc::new(Reckoning::default());
        for (_, entry) in self.0.borrow().iter().filter(|(_, entry)| !entry.is_cut()) {
            match judge(entry) {
                Verdict::Cut => {
                    reckoning.add();
                    entry.tell(Signal::Cut(ClosedReason::Revoked));
                }
                Verdict::Stay { permit, user_permit, wake, rules } => {
                    entry.permit.replace(permit);
                    entry.set_user_permit(user_permit);
                    entry.renew.set(true);
                    entry.admitted_by.replace(Arc::clone(generation));
                    let judges = rules && entry.uses_rights.get();
                    if judges {
                        entry.judging.replace(Some(Undecided::new(&reckoning)));
                    }
                    if wake || judges {
                        entry.wake();
                    }
                }
            }
        }
        reckoning
    }

    /// Cuts those whose entry's `until` has passed.
    pub(crate) fn cut_expired(&self, now: UnixSeconds) {
        for (_, entry) in self.0.borrow().iter() {
            if entry.has_expired(now) {
                entry.tell(Signal::Cut(ClosedReason::Revoked));
            }
        }
    }

    /// Cuts the `count` that hold most among those that moved nothing for `stalled`.
    pub(crate) fn cut_fattest(&self, count: usize, now: Tick, stalled: Duration) {
        let table = self.0.borrow();
        let mut stuck: Vec<_> = table
            .iter()
            .map(|(_, entry)| entry)
            .filter(|entry| entry.held.get() > 0 && entry.moved.get().after(stalled) <= now)
            .collect();
        stuck.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.held.get()));
        for fat in stuck.iter().take(count) {
            fat.tell(Signal::Cut(ClosedReason::Limit));
        }
    }
}

#[cfg(test)]
mod tests;
