//! The public side: one thread that accepts, judges, and hands what it admits to the workers.

mod acceptor;
mod bound;
mod headers;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::Bind;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use self::acceptor::Acceptor;
pub(crate) use self::bound::{Bound, bind_all};
use self::headers::Headers;
use crate::generation::listener::Listener;
use crate::generation::store::Generation;
use crate::metrics::WorkerStats;
use crate::process::Process;
use crate::worker::Order;

/// Where admitted connections go.
#[derive(Clone, Debug)]
pub(crate) struct WorkerHandle {
    /// The worker's queue.
    pub orders: mpsc::Sender<Order>,
    /// The worker's counters, for how many sessions it has.
    pub stats: Arc<WorkerStats>,
}

/// An order to the accept thread. Without the sender of orders, the thread stops.
#[derive(Debug)]
pub(crate) enum AcceptorOrder {
    /// Judge by this config from now on; listen on the sockets it names, those of `opened` among them, and on no others.
    Adopt {
        /// The config in force.
        generation: Arc<Generation>,
        /// Sockets that this configuration names and the one before did not.
        opened: Vec<Bound>,
        /// Told when it is done.
        done: oneshot::Sender<()>,
    },
    /// Close these, so that another way of binding their ports becomes possible.
    Release {
        /// The addresses whose sockets close.
        binds: Vec<Bind>,
        /// Told when it is done.
        done: oneshot::Sender<()>,
    },
}

/// Accepts on all sockets until the orders end, or until one of the sockets fails; then closes them.
pub(crate) async fn run(
    process: Arc<Process>,
    bound: Vec<Bound>,
    handles: Vec<WorkerHandle>,
    mut orders: mpsc::Receiver<AcceptorOrder>,
) {
    let acceptor = Rc::new(Acceptor::new(process, handles));
    let mut sockets = ListenSockets::default();
    sockets.open(&acceptor, bound);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(AcceptorOrder::Adopt { generation, opened, done }) => {
                    acceptor.adopt(generation);
                    sockets.keep_named(&acceptor).await;
                    sockets.open(&acceptor, opened);
                    // Who asked may have given up.
                    let _ = done.send(());
                }
                Some(AcceptorOrder::Release { binds, done }) => {
                    sockets.close(|listening| binds.contains(&listening.bound.bind)).await;
                    let _ = done.send(());
                }
                None => break,
            },
            Some(ended) = sockets.tasks.join_next() => match ended {
                Err(error) if error.is_cancelled() => {}
                Err(error) => {
                    tracing::error!(%error, "accept failed");
                    break;
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "a listening socket failed");
                    break;
                }
            },
        }
    }
    sockets.tasks.shutdown().await;
}

/// The sockets that are listened on.
#[derive(Default)]
struct ListenSockets {
    tasks: JoinSet<io::Result<()>>,
    open: Vec<(Rc<ListenSocket>, AbortHandle)>,
}

/// One of them.
struct ListenSocket {
    bound: Bound,
    /// The listener in the config in force.
    listener: RefCell<Arc<Listener>>,
    /// Connections whose PROXY header is awaited.
    headers: Rc<RefCell<Headers>>,
}

impl ListenSockets {
    fn open(&mut self, acceptor: &Rc<Acceptor>, bound: Vec<Bound>) {
        for bound in bound {
            let Some(listener) = acceptor.listener_of(&bound.bind) else { continue };
            let listening =
                Rc::new(ListenSocket { bound, listener: RefCell::new(listener), headers: Rc::default() });
            let (acceptor, on) = (Rc::clone(acceptor), Rc::clone(&listening));
            let task = self.tasks.spawn_local(async move { acceptor.accept_on(&on).await });
            self.open.push((listening, task));
        }
    }

    /// Closes what the config in force does not name, and brings the rest up to date.
    async fn keep_named(&mut self, acceptor: &Acceptor) {
        self.close(|listening| match acceptor.listener_of(&listening.bound.bind) {
            Some(listener) => {
                listening.bound.set_options(&listener);
                listening.listener.replace(listener);
                false
            }
            None => true,
        })
        .await;
    }

    async fn close(&mut self, is_over: impl Fn(&ListenSocket) -> bool) {
        let (over, open) =
            std::mem::take(&mut self.open).into_iter().partition(|(listening, _)| is_over(listening));
        self.open = open;
        let over: Vec<(Rc<ListenSocket>, AbortHandle)> = over;
        for (_, task) in &over {
            task.abort();
        }
        // A task lets go of its socket when the runtime drops it.
        while over.iter().any(|(_, task)| !task.is_finished()) {
            yield_now().await;
        }
    }
}
