//! Runs blocking work on a thread of its own.

use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a new thread and waits for its result. The runtime's threads for blocking work are not used,
/// because they may all wait for a name server that does not answer. Returns `None` if the thread cannot start or
/// `work` panics.
pub(crate) async fn run_on_thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // The task that waits for the result may have ended.
        let _ = done.send(work());
    };
    thread::Builder::new().name(name.into()).spawn(work).ok()?;
    result.await.ok()
}
