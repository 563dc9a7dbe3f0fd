//! Work that would hold up a runtime, on a thread of its own.

use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a new thread and waits for what it gives. Not on the runtime's own threads for blocking work, because
/// those may all be waiting for a name server that does not answer. `None`: no thread could be had, or the work panicked.
pub(crate) async fn aside<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // Who asked may have left.
        let _ = done.send(work());
    };
    thread::Builder::new().name(name.into()).spawn(work).ok()?;
    result.await.ok()
}
