//! Runs blocking work on a thread of its own.

use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a new thread and waits for its result. It does not use the threads of the runtime for blocking work, because
/// these may all wait for a name server that does not answer. `None`: the thread could not start, or the work panicked.
pub(crate) async fn run_on_thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // The caller may have ended.
        let _ = done.send(work());
    };
    thread::Builder::new().name(name.into()).spawn(work).ok()?;
    result.await.ok()
}
