//! Puts the views of one upstream in force on all threads.

use std::sync::Arc;

use portcullis_session::cluster::{Map, Role};
use tokio::sync::mpsc;

use crate::metrics::{ClusterGauges, UpstreamSeries, ViewSeries};
use crate::process::hints::Hints;
use crate::upstream::health::Health;
use crate::upstream::view::{View, WatchedView};
use crate::worker::Order;

/// The threads that have views of one upstream.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    watched: WatchedView,
    workers: Vec<mpsc::Sender<Order>>,
    series: Arc<UpstreamSeries>,
    health: Arc<Health>,
}

impl Publisher {
    pub(super) fn new(
        watched: WatchedView,
        workers: Vec<mpsc::Sender<Order>>,
        series: Arc<UpstreamSeries>,
        health: Arc<Health>,
    ) -> Self {
        Self { watched, workers, series, health }
    }

    /// Returns the view in force.
    pub(super) fn view(&self) -> Arc<View> {
        self.watched.view.current()
    }

    /// Returns the hints about the upstream.
    pub(super) fn hints(&self) -> &Hints {
        &self.watched.hints
    }

    /// Returns the counters of the views.
    pub(super) fn series(&self) -> &ViewSeries {
        self.series.views()
    }

    /// Sets the metrics of a cluster.
    pub(super) fn set_cluster(&self, map: &Map) {
        let count = |role: Role| map.nodes().iter().filter(|node| node.role == role).count();
        self.series().set_cluster(Some(ClusterGauges {
            masters: count(Role::Master),
            replicas: count(Role::Replica),
            uncovered: map.uncovered(),
        }));
    }

    /// Puts a view in force on all threads.
    pub(super) async fn publish(&self, view: View) {
        let view = self.put(view);
        self.tell(view).await;
    }

    /// Puts a view in force on this thread, and shows its address to operators.
    pub(super) fn put(&self, view: View) -> Arc<View> {
        let address = view.places().first().map(|place| place.address.to_string());
        self.health.set_address(view.upstream(), address);
        let view = Arc::new(view);
        self.watched.view.set(Arc::clone(&view));
        view
    }

    /// Sends a view to the workers, which ignore it if they have a later one.
    pub(super) async fn tell(&self, view: Arc<View>) {
        for worker in &self.workers {
            // A worker that has ended has no clients.
            let _ = worker.send(Order::View(Arc::clone(&view))).await;
        }
    }
}
