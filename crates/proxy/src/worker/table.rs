//! The sessions of one worker, as seen from outside their tasks: the clients they serve, and how to wake or cut them.

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
use crate::admission::identify::ProxySender;
use crate::generation::store::Generation;
use crate::metrics::{ClosedReason, UserCounts};

/// The sessions of one worker.
#[derive(Debug, Default)]
pub(crate) struct Table(RefCell<Slab<Rc<Entry>>>);

/// The entry of one session in the worker's table.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The number of the client, which is unique in the life of the process.
    pub id: u64,
    /// The client's address.
    pub from: ClientAddr,
    /// The sender of the PROXY header that named the client's address. `None` if the client sent no header.
    pub sender: Option<Box<ProxySender>>,
    /// The client's listener, as this worker serves it.
    pub(crate) listener: Rc<ListenerView>,
    /// The permit of the list entry that admits the client.
    pub permit: RefCell<Permit>,
    /// The user that has logged in, and the permit of that user's own list. The value is boxed because most clients
    /// have no user.
    login: RefCell<Option<Box<Login>>>,
    /// Whether a reload took place that the session has not applied yet.
    renew: Cell<bool>,
    /// The configuration that gave `permit`. For a session that a reload cut, this is not the configuration in force.
    pub admitted_by: RefCell<Arc<Generation>>,
    /// Whether the session uses a right that a reload may take away while the client sends nothing; see
    /// [`Session::uses_rights`](portcullis_session::Session::uses_rights).
    pub uses_rights: Cell<bool>,
    /// The reload that waits until the session has judged whether it may continue. `None` if no reload waits.
    judging: RefCell<Option<Undecided>>,
    /// The time at which the session is woken. `None` if the session waits for no deadline.
    pub deadline: Cell<Option<Tick>>,
    /// The bytes of memory that the session's buffers hold.
    pub held: Cell<usize>,
    /// The time of the session's last progress. Bytes that arrive do not count while replies wait for the client.
    pub moved: Cell<Tick>,
    /// Whether the session moves bytes, as far as the kernel's limit on unacknowledged bytes is concerned.
    pub(crate) activity: Cell<Activity>,
    /// The latest order that the session has not seen yet.
    signal: Cell<Option<Signal>>,
    /// Whether the session was cut because its list entry has expired.
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The session's relay, for questions about clients.
    relay: OnceCell<Reach>,
}

/// A user that has logged in.
#[derive(Debug)]
struct Login {
    name: Box<str>,
    permit: Option<Permit>,
    counts: UserCounts,
    /// The commands of the session that were counted, for this user or for an earlier one.
    counted: Cell<u64>,
}

/// The activity of a session. While a session is quiet, the kernel must not apply `TCP_USER_TIMEOUT` to its sockets:
/// with that option the kernel ends an idle connection after one lost keepalive probe, whatever the number of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// The session moves bytes, or has moved some not long ago. The kernel's limit applies.
    #[default]
    Moves,
    /// The session has moved nothing for [`Deadlines::quiet_after`](super::deadlines::Deadlines::quiet_after), and was
    /// woken to lift the kernel's limit.
    Stopped,
    /// The kernel's limit is lifted until the session moves bytes again.
    Quiet,
}

/// An order to a session from outside its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End once no command is in progress.
    Drain,
    /// End now, for this reason.
    Cut(ClosedReason),
}

/// The verdict on a session under another configuration.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The session ends.
    Cut,
    /// The session stays.
    Stay {
        /// The permit of the entry that admits the client.
        permit: Permit,
        /// The permit of the user's own list, if the user has one.
        user_permit: Option<Permit>,
        /// Whether the session has to compute its deadlines again.
        wake: bool,
        /// Whether the command rules for the session changed.
        rules: bool,
    },
}

/// The number of sessions of one worker that one reload cuts. Some sessions can be judged only by their own tasks, so
/// the number is sent when all of these have decided.
#[derive(Debug, Default)]
pub(crate) struct Reckoning {
    /// The number of sessions that are cut so far.
    cut: Cell<u64>,
    /// The number of sessions that have not decided yet.
    undecided: Cell<usize>,
    /// The receiver of the number, until the number is sent.
    answer: RefCell<Option<oneshot::Sender<u64>>>,
}

/// A session that a reload may have to cut, and that has not judged yet whether it may continue. Dropping this value
/// without [`Undecided::cut`] means that the session stays, or that it ended for another reason.
#[derive(Debug)]
pub(crate) struct Undecided(Rc<Reckoning>);

impl Reckoning {
    /// Sends the number to `answer` as soon as all sessions have decided.
    pub(crate) fn tell(&self, answer: oneshot::Sender<u64>) {
        self.answer.replace(Some(answer));
        self.tell_if_decided();
    }

    fn add(&self) {
        self.cut.set(self.cut.get() + 1);
    }

    /// Sends the number if it was requested and all sessions have decided.
    fn tell_if_decided(&self) {
        if self.undecided.get() == 0
            && let Some(answer) = self.answer.take()
        {
            // The receiver may have stopped waiting.
            let _ = answer.send(self.cut.get());
        }
    }
}

impl Undecided {
    fn new(reckoning: &Rc<Reckoning>) -> Self {
        reckoning.undecided.set(reckoning.undecided.get() + 1);
        Self(Rc::clone(reckoning))
    }

    /// Records that the session ends because of this reload.
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
    /// Creates the entry of a session that begins at `now`.
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
            activity: Cell::default(),
            signal: Cell::new(None),
            expired: Cell::new(false),
            waker: RefCell::new(None),
            relay: OnceCell::new(),
        }
    }

    /// Sets the sender of the PROXY header that named the client's address.
    #[must_use]
    pub(crate) fn sent_by(self, sender: Option<Box<ProxySender>>) -> Self {
        Self { sender, ..self }
    }

    /// Sets the relay that answers questions about the client.
    pub(crate) fn set_relay(&self, relay: Reach) {
        // Setting fails only for a second relay, and a session has one.
        let _ = self.relay.set(relay);
    }

    /// Returns the session's relay. Returns `None` if the session has ended or is to be cut.
    pub(crate) fn relay(&self) -> Option<Rc<RefCell<dyn Listable>>> {
        self.relay.get()?.upgrade().filter(|_| !self.is_cut())
    }

    /// Returns whether a reload took place since the last call.
    pub(crate) fn take_renewal(&self) -> bool {
        self.renew.take()
    }

    /// Takes the duty to judge whether the session may continue under the new rules. Returns `None` if no reload
    /// waits for that.
    pub(crate) fn take_judging(&self) -> Option<Undecided> {
        self.judging.take()
    }

    /// Returns the name of the user that has logged in, if any.
    pub(crate) fn user(&self) -> Option<String> {
        self.login.borrow().as_ref().map(|login| login.name.to_string())
    }

    /// Counts the commands of the session for the user that is logged in. `commands` is the number of all of them so far.
    pub(crate) fn count_commands(&self, commands: u64) {
        if let Some(login) = &*self.login.borrow() {
            let before = login.counted.replace(commands);
            login.counts.commands(commands.wrapping_sub(before));
        }
    }

    /// Records the user that is logged in; `None` if there is no user. `commands` is the number of commands of the session
    /// so far. Returns whether the user changed.
    pub(crate) fn set_user(&self, name: Option<&str>, commands: u64) -> bool {
        let mut login = self.login.borrow_mut();
        let news = login.as_ref().map(|known| &*known.name) != name;
        if news {
            let of = |name: &str| Login {
                name: name.into(),
                permit: None,
                counts: self.listener.counts.log_in(name),
                counted: Cell::new(commands),
            };
            *login = name.map(|name| Box::new(of(name)));
        }
        news
    }

    /// Records the permit of the user's own list. Does nothing if no user is logged in.
    pub(crate) fn set_user_permit(&self, permit: Option<Permit>) {
        if let Some(login) = &mut *self.login.borrow_mut() {
            login.permit = permit;
        }
    }

    /// Returns when the last list entry that admits the client expired, and whether that is an entry of the user's own
    /// list. Returns `None` if an entry admits the client at `now`.
    pub(crate) fn expiry(&self, now: UnixSeconds) -> Option<(UnixSeconds, bool)> {
        let over = |permit: &Permit| permit.expires().filter(|until| *until <= now);
        let login = self.login.borrow();
        let of_user = || login.as_ref().and_then(|login| over(login.permit.as_ref()?));
        let of_listener = over(&self.permit.borrow()).map(|until| (until, false));
        of_listener.or_else(|| of_user().map(|until| (until, true)))
    }

    /// Takes the latest order that the session has not seen yet.
    pub(crate) fn take_signal(&self) -> Option<Signal> {
        self.signal.take()
    }

    /// Stores the waker of the session's task.
    pub(crate) fn remember(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Returns the waker of the session's task. The value is `None` before the first poll of the task.
    pub(crate) fn waker(&self) -> Ref<'_, Option<Waker>> {
        self.waker.borrow()
    }

    /// Ends the session now, for this reason.
    pub(crate) fn cut(&self, reason: ClosedReason) {
        self.tell(Signal::Cut(reason));
    }

    /// Gives the session an order and wakes the session. An order to cut is never replaced by another order.
    fn tell(&self, signal: Signal) {
        if !self.is_cut() {
            self.signal.set(Some(signal));
        }
        self.wake();
    }

    /// Returns whether the session has an order to cut that it has not seen yet.
    fn is_cut(&self) -> bool {
        matches!(self.signal.get(), Some(Signal::Cut(_)))
    }

    /// Returns whether the session has just become quiet, and records that.
    fn has_stopped(&self, now: Tick) -> bool {
        let stopped = self.activity.get() == Activity::Moves
            && self
                .listener
                .deadlines()
                .quiet_after()
                .is_some_and(|limit| self.moved.get().after(limit) <= now);
        if stopped {
            self.activity.set(Activity::Stopped);
        }
        stopped
    }

    /// Wakes the session's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Table {
    /// Adds a session. Returns the key with which [`Table::remove`] removes the session.
    pub(crate) fn insert(&self, entry: Rc<Entry>) -> usize {
        self.0.borrow_mut().insert(entry)
    }

    /// Removes a session. Does nothing if the session was removed before.
    pub(crate) fn remove(&self, key: usize) {
        self.0.borrow_mut().try_remove(key);
    }

    /// Returns whether the table has no session.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Returns the sessions in `count` places of the table, beginning with the place `from`, and the place that
    /// follows. `None` in place of the latter means that the end of the table is reached.
    pub(crate) fn some(&self, from: usize, count: usize) -> (Vec<Rc<Entry>>, Option<usize>) {
        let table = self.0.borrow();
        let to = from.saturating_add(count);
        let entries = (from..to).filter_map(|place| table.get(place)).map(Rc::clone).collect();
        // All places are smaller than the capacity.
        (entries, (to < table.capacity()).then_some(to))
    }

    /// Returns the number of sessions in this place and in later places.
    pub(crate) fn count_from(&self, place: usize) -> u64 {
        let table = self.0.borrow();
        table.iter().filter(|(key, _)| *key >= place).fold(0, |count, _| count + 1)
    }

    /// Sends an order to every session.
    pub(crate) fn signal_all(&self, signal: Signal) {
        for (_, entry) in self.0.borrow().iter() {
            entry.tell(signal);
        }
    }

    /// Tells the sessions of an upstream that it has other addresses.
    pub(crate) fn tell_moved(&self, upstream: &str) {
        for (_, entry) in self.0.borrow().iter() {
            if entry.listener.target().upstream.name() == upstream {
                entry.renew.set(true);
                entry.wake();
            }
        }
    }

    /// Wakes the sessions whose deadline has passed, and those that have become quiet.
    pub(crate) fn wake_due(&self, now: Tick) {
        for (_, entry) in self.0.borrow().iter() {
            if entry.deadline.get().is_some_and(|deadline| deadline <= now) || entry.has_stopped(now) {
                entry.wake();
            }
        }
    }

    /// Applies the verdict of `judge` to every session; `generation` is the new configuration. A session that gets no
    /// permit is cut. A session whose command rules changed may be doing what the new rules refuse: it is woken and
    /// judges that itself. Other sessions are woken only if the time limits of their listener changed.
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

    /// Cuts the sessions whose permit has expired: the `until` of their list entry has passed. Returns those that it did
    /// not cut before.
    pub(crate) fn cut_expired(&self, now: UnixSeconds) -> Vec<Rc<Entry>> {
        let mut cut = Vec::new();
        for (_, entry) in self.0.borrow().iter() {
            if entry.expiry(now).is_some() {
                if !entry.expired.replace(true) {
                    cut.push(Rc::clone(entry));
                }
                entry.tell(Signal::Cut(ClosedReason::Revoked));
            }
        }
        cut
    }

    /// Cuts at most `count` sessions that hold memory and made no progress for `stalled`, those with the most memory
    /// first.
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
