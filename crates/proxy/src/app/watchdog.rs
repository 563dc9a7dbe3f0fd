//! Messages to the watchdog of the service manager: sent only while every thread responds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout_at};

use super::service_manager::ServiceManager;
use super::threads::{AcceptThread, WorkerThread};
use crate::listener::AcceptorOrder;
use crate::worker::Order;

/// The threads to watch. Dropped before the drain: the accept thread ends when it has no senders of orders.
struct Threads {
    acceptor: mpsc::Sender<AcceptorOrder>,
    workers: Vec<mpsc::Sender<Order>>,
}

/// Starts the watchdog messages, if the service manager wants them. They end with `tasks`.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    manager: &Arc<ServiceManager>,
    acceptor: &AcceptThread,
    workers: &[WorkerThread],
) {
    let Some(every) = manager.watchdog_interval() else { return };
    let workers = workers.iter().map(|worker| worker.handle.orders.clone()).collect();
    let threads = Threads { acceptor: acceptor.orders.clone(), workers };
    tasks.spawn(watch(Arc::clone(manager), threads, every));
}

/// Asks all threads for a sign of life each `every`, and tells the service manager if all of them gave one.
async fn watch(manager: Arc<ServiceManager>, threads: Threads, every: Duration) {
    let mut turns = interval(every);
    loop {
        turns.tick().await;
        match threads.silent(Instant::now() + every).await {
            None => manager.alive(),
            Some(name) => {
                tracing::error!(thread = name, within = ?every, "thread does not respond; the watchdog is not told");
            }
        }
    }
}

impl Threads {
    /// Returns the first thread that does not respond by this time.
    async fn silent(&self, until: Instant) -> Option<String> {
        // To release no socket at all changes nothing.
        let order = |done| AcceptorOrder::Release { binds: Vec::new(), done };
        if !responds(&self.acceptor, order, until).await {
            return Some("the accept thread".to_owned());
        }
        for (index, worker) in self.workers.iter().enumerate() {
            if !responds(worker, Order::Respond, until).await {
                return Some(format!("worker {index}"));
            }
        }
        None
    }
}

async fn responds<O>(
    thread: &mpsc::Sender<O>,
    order: impl FnOnce(oneshot::Sender<()>) -> O,
    until: Instant,
) -> bool {
    let (done, answer) = oneshot::channel();
    let exchange = async { thread.send(order(done)).await.is_ok() && answer.await.is_ok() };
    timeout_at(until, exchange).await.unwrap_or(false)
}

#[cfg(test)]
mod tests;
