//! The threads that ask the proxy, so that a slow answer delays no key.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cli::admin_client::{CallError, Endpoint, Next};

/// The clients that are listed. A terminal shows fewer at a time.
const CLIENTS: usize = 200;

/// The time between two lists, and between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(2);

/// The updates that wait. If more arrive, their thread waits.
const QUEUE: usize = 4;

/// The answers that change slowly.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    pub(super) status: Value,
    pub(super) clients: Value,
}

/// News of the proxy.
#[derive(Clone, Debug)]
pub(super) enum Update {
    /// The sample of the last second.
    Sample(Value),
    /// The lists.
    Lists(Lists),
    /// The proxy does not answer, and the reason.
    Offline(String),
}

/// Asks for the lists.
///
/// # Errors
/// The proxy does not answer.
pub(super) fn lists(endpoint: &Endpoint) -> Result<Lists, CallError> {
    let status = endpoint.get("/api/status")?;
    let clients = endpoint.get(&format!("/api/clients?limit={CLIENTS}"))?;
    Ok(Lists { status, clients })
}

/// Starts the threads. They end when the receiver is dropped.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn start(endpoint: Endpoint) -> io::Result<Receiver<Update>> {
    let (sender, updates) = sync_channel(QUEUE);
    let (samples, other) = (sender.clone(), endpoint.clone());
    thread::Builder::new().name("events".into()).spawn(move || follow_samples(&endpoint, &samples))?;
    thread::Builder::new().name("lists".into()).spawn(move || follow_lists(&other, &sender))?;
    Ok(updates)
}

fn follow_samples(endpoint: &Endpoint, to: &SyncSender<Update>) {
    loop {
        let ended = endpoint.events(|sample| match to.send(Update::Sample(sample)) {
            Ok(()) => Next::More,
            Err(_) => Next::Stop,
        });
        let Err(error) = ended else { return };
        if to.send(Update::Offline(error.to_string())).is_err() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// The other thread says that the proxy does not answer.
fn follow_lists(endpoint: &Endpoint, to: &SyncSender<Update>) {
    loop {
        thread::sleep(PAUSE);
        if let Ok(lists) = lists(endpoint)
            && to.send(Update::Lists(lists)).is_err()
        {
            return;
        }
    }
}
