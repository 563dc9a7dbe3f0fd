//! Threads that respond, and threads that do not.

use super::*;

/// A thread in name only: it takes orders and answers them, or keeps the answer back.
fn threads() -> (Threads, mpsc::Receiver<AcceptorOrder>, mpsc::Receiver<Order>) {
    let ((acceptor, accepted), (worker, orders)) = (mpsc::channel(1), mpsc::channel(1));
    (Threads { acceptor, workers: vec![worker] }, accepted, orders)
}

async fn accept(mut queue: mpsc::Receiver<AcceptorOrder>) {
    while let Some(order) = queue.recv().await {
        let AcceptorOrder::Release { binds, done } = order else { panic!("another order") };
        assert!(binds.is_empty(), "it would close sockets");
        let _ = done.send(());
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn threads_that_respond_are_alive() {
    let (threads, accepted, mut orders) = threads();
    tokio::spawn(accept(accepted));
    tokio::spawn(async move {
        while let Some(Order::Respond(done)) = orders.recv().await {
            let _ = done.send(());
        }
    });
    for _ in 0..3 {
        assert_eq!(threads.silent(later()).await, None);
    }
}

#[tokio::test]
async fn a_worker_that_does_not_take_orders_is_named() {
    let (threads, accepted, orders) = threads();
    tokio::spawn(accept(accepted));
    let soon = Instant::now() + Duration::from_secs(1);
    assert_eq!(threads.silent(soon).await.as_deref(), Some("worker 0"));
    drop(orders);
    assert_eq!(threads.silent(later()).await.as_deref(), Some("worker 0"));
}

#[tokio::test]
async fn an_accept_thread_that_ended_is_named() {
    let (threads, accepted, _orders) = threads();
    drop(accepted);
    assert_eq!(threads.silent(later()).await.as_deref(), Some("the accept thread"));
}
