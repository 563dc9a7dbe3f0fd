use portcullis_acl::ClientAddr;
use tokio::sync::mpsc::error::TryRecvError;

use super::*;

fn viewer(viewers: &Viewers) -> mpsc::Receiver<Bytes> {
    viewers.add(Access::Reader, Connection::new(ClientAddr::unix())).into_inner()
}

#[test]
fn a_viewer_that_does_not_read_misses_events_and_is_disconnected() {
    let viewers = Viewers::default();
    let mut reads = viewer(&viewers);
    let mut stuck = viewer(&viewers);
    let event = Bytes::from_static(b"data: 1\n\n");
    for _ in 0..QUEUE * 2 {
        viewers.send(&event, |_| true);
        while reads.try_recv().is_ok() {}
    }
    assert_eq!(stuck.len(), QUEUE, "the queue is bounded");
    assert_eq!(viewers.list().len(), 2);
    viewers.list()[1].full_since = Instant::now().checked_sub(STUCK);
    viewers.send(&event, |_| true);
    assert_eq!(viewers.list().len(), 1);
    while stuck.try_recv().is_ok() {}
    assert_eq!(stuck.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_viewer_whose_session_has_ended_is_disconnected() {
    let viewers = Viewers::default();
    let (_reads, event) = (viewer(&viewers), Bytes::from_static(b"data: 1\n\n"));
    viewers.send(&event, |_| false);
    assert!(viewers.is_empty());
}

#[test]
fn a_viewer_that_left_is_forgotten() {
    let viewers = Viewers::default();
    drop(viewer(&viewers));
    viewers.send(&Bytes::from_static(b"data: 1\n\n"), |_| true);
    assert!(viewers.is_empty());
}

#[test]
fn a_new_viewer_takes_the_place_of_the_oldest() {
    let viewers = Viewers::default();
    let mut queues: Vec<_> = (0..=MAX_VIEWERS).map(|_| viewer(&viewers)).collect();
    assert_eq!(viewers.list().len(), MAX_VIEWERS);
    assert!(queues[0].try_recv().is_ok(), "the greeting");
    assert_eq!(queues[0].try_recv(), Err(TryRecvError::Disconnected));
    assert!(queues[1].try_recv().is_ok());
    assert_eq!(queues[1].try_recv(), Err(TryRecvError::Empty));
}
