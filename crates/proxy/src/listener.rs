//! The side that faces clients: one thread accepts and judges connections, and hands admitted ones to the workers.

mod acceptor;
mod bound;
mod headers;
#[cfg_attr(windows, path = "listener/queue/windows.rs")]
mod queue;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use portcullis_config::Bind;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use self::acceptor::Acceptor;
pub(crate) use self::bound::{Bound, bind_all, bind_or_take};
use self::headers::Headers;
use crate::generation::listener::Listener;
use crate::generation::store::Generation;
use crate::metrics::WorkerStats;
use crate::process::Process;
use crate::worker::Order;

/// A worker, as the accept thread sees it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerHandle {
    /// The worker's queue.
    pub orders: mpsc::Sender<Order>,
    /// The worker's counters, which include the number of its sessions.
    pub stats: Arc<WorkerStats>,
}

/// An order to the accept thread. The thread stops when all senders of orders are dropped.
#[derive(Debug)]
pub(crate) enum AcceptorOrder {
    /// Puts a generation in force: judge by it, listen on its addresses including `opened`, and close all other
    /// sockets.
    Adopt {
        /// The generation in force from now on.
        generation: Arc<Generation>,
        /// Sockets for the addresses that the generation before did not have.
        opened: Vec<Bound>,
        /// Gets a message when the order is carried out.
        done: oneshot::Sender<()>,
    },
    /// Closes sockets, so that their ports can be bound in another way.
    Release {
        /// The addresses of these sockets.
        binds: Vec<Bind>,
        /// Gets a message when the order is carried out.
        done: oneshot::Sender<()>,
    },
    /// Sends a further descriptor of each listening socket, with its address.
    Share(oneshot::Sender<io::Result<Vec<(Bind, socket2::Socket)>>>),
    /// Stops accepting on all sockets, because another process accepts on them. Files of unix sockets stay.
    GiveAway(oneshot::Sender<()>),
}

/// Accepts on all sockets. Ends, and closes the sockets, when the senders of orders are dropped or a socket fails.
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
                    // The thread that sent the order may no longer wait for it.
                    let _ = done.send(());
                }
                Some(AcceptorOrder::Release { binds, done }) => {
                    sockets.close(|listening| binds.contains(&listening.bound.bind)).await;
                    let _ = done.send(());
                }
                Some(AcceptorOrder::Share(answer)) => {
                    let shared = sockets.open.iter().map(|(listening, _)| listening.bound.share()).collect();
                    let _ = answer.send(shared);
                }
                Some(AcceptorOrder::GiveAway(done)) => {
                    sockets.open.iter().for_each(|(listening, _)| listening.bound.give_away());
                    sockets.close(|_| true).await;
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

/// The listening sockets, and the tasks that accept on them.
#[derive(Default)]
struct ListenSockets {
    tasks: JoinSet<io::Result<()>>,
    open: Vec<(Rc<ListenSocket>, AbortHandle)>,
}

/// A listening socket.
struct ListenSocket {
    bound: Bound,
    /// The listener of the socket, in the configuration in force.
    listener: RefCell<Arc<Listener>>,
    /// The connections of the socket that wait for their PROXY header.
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

    /// Closes the sockets that the configuration in force does not name, and gives the others their new settings.
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
        // The socket is closed only when the runtime drops its task.
        while over.iter().any(|(_, task)| !task.is_finished()) {
            yield_now().await;
        }
    }
}
