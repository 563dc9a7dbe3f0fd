//! Samples of the commands of one client: slow ones, large ones, and the keys that they use. Without samples, a batch costs
//! one look at a flag.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use portcullis_resp::command::CommandId;
use portcullis_session::Ticket;

use crate::metrics::command_label;
use crate::process::samples::Sample;
use crate::worker::Worker;
use crate::worker::table::Entry;
use crate::worker::watch::Watch;
use crate::worker::watch::frames::Frames;
use crate::worker::watch::heads::Batch;

/// Commands that are about to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// The ticket of the first command.
    pub first: Ticket,
    /// The number of commands that begin in the bytes.
    pub pending: u64,
    /// The length of the commands in the bytes of the client.
    pub len: usize,
    /// Whether the last command is complete.
    pub whole: bool,
    /// Whether no reply to an earlier command is pending.
    pub alone: bool,
}

impl Seen {
    /// Returns one complete command.
    pub(super) const fn one(first: Ticket, len: usize, alone: bool) -> Self {
        Self { first, pending: 1, len, whole: true, alone }
    }
}

/// Looks at commands that are about to be sent, if the configuration wants samples. They are at the beginning of
/// `unread`. This runs for each batch of small commands: most are only remembered, and nothing is passed on for that
/// which a register cannot hold.
#[inline(always)]
pub(super) fn sent(worker: &Worker, entry: &Entry, unread: &[u8], seen: Seen) {
    let watch = &worker.watch;
    let Some(bytes) = unread.get(..seen.len) else { return };
    let Seen { first: Ticket { seq, .. }, pending, whole, alone, .. } = seen;
    if bytes.len() as u64 >= watch.kept_below() || !whole || pending == 0 {
        if watch.samples() {
            examine(worker, entry, &seen, bytes);
        }
    } else if alone {
        keep_first(watch, entry.id, seq, pending, bytes);
    } else {
        keep_next(watch, entry.id, seq, pending, bytes);
    }
}

/// Remembers whole commands, while no reply to an earlier one is pending.
#[inline(never)]
fn keep_first(watch: &Watch, id: u64, first: u64, commands: u64, bytes: &[u8]) {
    watch.heads().keep(id, &Batch { first, commands, bytes, whole: true, alone: true });
}

/// Remembers whole commands behind those whose replies are pending.
#[inline(never)]
fn keep_next(watch: &Watch, id: u64, first: u64, commands: u64, bytes: &[u8]) {
    watch.heads().keep(id, &Batch { first, commands, bytes, whole: true, alone: false });
}

/// Looks at commands whose keys may be counted, that may be large, or that are not whole.
#[inline(never)]
fn examine(worker: &Worker, entry: &Entry, seen: &Seen, bytes: &[u8]) {
    let watch = &worker.watch;
    let Seen { first: Ticket { seq, .. }, pending, whole, alone, .. } = *seen;
    if watch.counts_keys() {
        if let Some(place) = watch.draw(pending) {
            count_keys(worker, entry, place, pending, bytes);
        }
        watch.drawn(pending);
    }
    if !whole || pending == 0 {
        return look_at_part(worker, entry, seen, bytes);
    }
    watch.heads().keep(entry.id, &Batch { first: seq, commands: pending, bytes, whole, alone });
    if bytes.len() as u64 >= watch.large_from() {
        for (place, size) in (0..).zip(Frames::of(bytes).sizes()) {
            large(worker, entry, seq.wrapping_add(place), size, false);
        }
    }
}

/// Looks at commands of which the last one goes on after these bytes, or at the continuation of one.
#[cold]
#[inline(never)]
fn look_at_part(worker: &Worker, entry: &Entry, seen: &Seen, bytes: &[u8]) {
    let (id, heads) = (entry.id, || worker.watch.heads());
    let Some(last) = seen.pending.checked_sub(1) else {
        // The table is free again before a sample looks for a name in it.
        let so_far = heads().request(id, bytes.len() as u64);
        if let Some((all, seq)) = so_far.filter(|_| seen.whole) {
            large(worker, entry, seq, all, false);
        }
        return;
    };
    let (bytes, first) = (Frames::of(bytes).after(last), seen.first.seq.wrapping_add(last));
    heads().keep(id, &Batch { first, commands: 1, bytes, whole: false, alone: true });
    heads().request(id, bytes.len() as u64);
}

/// Counts the keys of the commands of a batch that are drawn. The first of them is at `place`.
#[cold]
#[inline(never)]
fn count_keys(worker: &Worker, entry: &Entry, place: u64, commands: u64, bytes: &[u8]) {
    let (watch, now) = (&worker.watch, Instant::now());
    let form = watch.sampled_keys();
    worker.process.samples.count_keys(entry.listener.name(), |sketch| {
        let (mut frames, mut at, mut drawn) = (Frames::of(bytes), 0, Some(place));
        while let Some(place) = drawn {
            if let Some(taken) = frames.nth(place.saturating_sub(at)) {
                taken.keys(|key| sketch.add(key, form, now));
            }
            at = place.saturating_add(1);
            drawn = watch.draw(commands);
        }
    });
}

/// Looks at a piece of a reply that does not come whole. The last piece `ends` the reply.
#[cold]
#[inline(never)]
pub(super) fn received(worker: &Worker, entry: &Entry, seq: u64, bytes: usize, ends: bool) {
    let all = worker.watch.heads().reply(entry.id, bytes as u64, ends);
    if let Some(all) = all.filter(|_| ends) {
        large(worker, entry, seq, all, true);
    }
}

/// Adds a sample if so many bytes are large.
fn large(worker: &Worker, entry: &Entry, seq: u64, bytes: u64, of_reply: bool) {
    if bytes >= worker.watch.large_from() {
        worker.process.samples.add_large(sample(worker, entry, seq, bytes, of_reply));
    }
}

/// Adds a sample of a slow command. Further commands of the same batch are late because of it, and are left out.
#[cold]
#[inline(never)]
pub(super) fn slow(worker: &Worker, entry: &Entry, id: CommandId, seq: u64, nanos: u64) {
    if !worker.watch.heads().is_first_slow(entry.id, seq) {
        return;
    }
    let now = worker.resources.clock.latest();
    if worker.watch.may_add(now) || worker.process.samples.is_among_slowest(nanos) {
        let sample = Sample { command: Some(command_label(id)), ..sample(worker, entry, seq, nanos, true) };
        worker.process.samples.add_slow(sample);
    }
}

fn sample(worker: &Worker, entry: &Entry, seq: u64, value: u64, of_reply: bool) -> Sample {
    let form = worker.watch.sampled_keys();
    let (command, key) = worker.watch.heads().named(entry.id, seq, |taken| match taken {
        None => (None, None),
        Some(taken) => (Some(command_label(taken.command())), taken.shown_keys(form).into_iter().next()),
    });
    Sample {
        at: SystemTime::now(),
        listener: Arc::clone(entry.listener.name()),
        user: entry.user(),
        source: entry.from.to_string(),
        command,
        key,
        value,
        of_reply,
    }
}
