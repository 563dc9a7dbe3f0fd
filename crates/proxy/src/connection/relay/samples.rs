//! Samples of the commands of one client: slow ones, large ones, and the keys that they use. Without samples, a batch costs
//! one look at a flag.

use std::sync::Arc;
use std::time::SystemTime;

use portcullis_config::KeyForm;
use portcullis_resp::command::CommandId;
use portcullis_session::Ticket;

use super::lane::Commands;
use crate::metrics::command_label;
use crate::net::pipe::Pipe;
use crate::process::samples::Sample;
use crate::worker::Worker;
use crate::worker::table::Entry;
use crate::worker::watch::frames::Frames;

/// Looks at commands that are sent unchanged, if the configuration wants samples. With `whole`, the last one is complete.
#[inline]
pub(super) fn sent(worker: &Worker, entry: &Entry, requests: &Pipe, commands: &Commands<'_>, whole: bool) {
    if worker.watch.samples() {
        let bytes = requests.unread().get(..commands.len).unwrap_or_default();
        look_at(worker, entry, (commands.first, commands.pending), bytes, whole);
    }
}

/// Looks at commands. `pending` is the number of their replies, 0 if `bytes` only continue a command.
#[cold]
#[inline(never)]
fn look_at(worker: &Worker, entry: &Entry, (first, pending): (Ticket, u64), bytes: &[u8], whole: bool) {
    let watch = &worker.watch;
    let form = watch.sampled_keys();
    if form != KeyForm::Off {
        while let Some(place) = watch.draw(pending) {
            let Some(taken) = Frames::of(bytes).nth(place) else { continue };
            for key in taken.shown_keys(form) {
                worker.process.samples.count_key(entry.listener.name(), key);
            }
        }
        watch.drawn(pending);
    }
    let (id, len) = (entry.id, bytes.len() as u64);
    if pending == 0 {
        // The table is free again before a sample looks for a name in it.
        let so_far = watch.heads().request(id, len);
        if let Some((all, seq)) = so_far.filter(|_| whole) {
            large(worker, entry, seq, all, false);
        }
        return;
    }
    if whole {
        watch.heads().keep(id, first.seq, bytes);
        if len >= watch.large_from() {
            for (place, size) in (0..).zip(Frames::of(bytes).sizes()) {
                large(worker, entry, first.seq.wrapping_add(place), size, false);
            }
        }
        return;
    }
    // The last command goes on after these bytes.
    let last = pending.saturating_sub(1);
    let bytes = Frames::of(bytes).after(last);
    watch.heads().keep(id, first.seq.wrapping_add(last), bytes);
    watch.heads().request(id, bytes.len() as u64);
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
