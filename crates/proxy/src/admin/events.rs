//! `/api/events`: what changes from second to second, as server-sent events.
//!
//! One task takes one sample a second for all viewers, and none without a viewer. A viewer has a queue of a few events.
//! If the queue is full, the viewer misses events; after [`STUCK`] it is disconnected. So a viewer that does not read
//! costs a few kilobytes, and delays no other viewer.

mod feed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use self::feed::Feed;
use super::AdminState;
use super::api::status::upstream_facts;
use super::guard::Access;
use super::history::{Moment, STEP};
use super::server::Connection;
use crate::log::Timestamp;

/// The time between two events.
const TICK: Duration = Duration::from_secs(1);

/// The most viewers. The other connections of the endpoint are left for monitoring.
const MAX_VIEWERS: usize = 8;

/// The events that wait for a viewer. An event has a few kilobytes.
const QUEUE: usize = 4;

/// The time after which a viewer that reads nothing is disconnected.
const STUCK: Duration = Duration::from_secs(20);

/// The first bytes of the answer. A browser connects again after this many milliseconds.
const GREETING: &[u8] = b"retry: 2000\n\n";

/// The clients that show events.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    list: Mutex<Vec<Viewer>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Viewer {
    queue: mpsc::Sender<Bytes>,
    access: Access,
    connection: Connection,
    full_since: Option<Instant>,
}

impl Viewers {
    fn add(&self, access: Access, connection: Connection) -> Feed {
        let (queue, events) = mpsc::channel(QUEUE);
        // The queue is empty, so there is room.
        let _ = queue.try_send(Bytes::from_static(GREETING));
        let mut list = self.list();
        // A person who opens another page needs the oldest one least.
        while list.len() >= MAX_VIEWERS {
            list.remove(0).connection.stop();
        }
        list.push(Viewer { queue, access, connection, full_since: None });
        drop(list);
        self.arrived.notify_one();
        Feed::new(events)
    }

    fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// Sends an event to each viewer. A viewer whose session has ended, or that is stuck, is disconnected.
    fn send(&self, event: &Bytes, may_stay: impl Fn(Access) -> bool) {
        let now = Instant::now();
        self.list().retain_mut(|viewer| {
            let stays = may_stay(viewer.access) && viewer.take(event, now);
            if !stays {
                viewer.connection.stop();
            }
            stays
        });
    }

    fn list(&self) -> MutexGuard<'_, Vec<Viewer>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    /// Queues an event. Returns whether the viewer stays connected.
    fn take(&mut self, event: &Bytes, now: Instant) -> bool {
        match self.queue.try_send(event.clone()) {
            Ok(()) => {
                self.full_since = None;
                true
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                let since = *self.full_since.get_or_insert(now);
                now.duration_since(since) < STUCK
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// Answers `/api/events`.
pub(super) async fn events(
    State(state): State<Arc<AdminState>>,
    Extension(access): Extension<Access>,
    Extension(connection): Extension<Connection>,
) -> Response {
    connection.keep_open();
    let feed = state.viewers.add(access, connection);
    let mut response = axum::body::Body::new(feed).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response
}

/// Takes the samples: one a second while there are viewers, and the points of the last hour. Never returns.
pub(super) async fn run(state: Arc<AdminState>) {
    let mut points = interval(STEP);
    let mut ticks = interval(TICK);
    for ticks in [&mut points, &mut ticks] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut before: Option<Moment> = None;
    loop {
        let viewed = !state.viewers.is_empty();
        if !viewed {
            before = None;
        }
        tokio::select! {
            _ = points.tick() => state.history().add(Moment::of(state.process.metrics.sample())),
            _ = ticks.tick(), if viewed => {
                let now = Moment::of(state.process.metrics.sample());
                if let Some(before) = &before {
                    let event = format!("event: sample\ndata: {}\n\n", state.event(&now, before));
                    let guard = state.guard.load();
                    state.viewers.send(&event.into(), |access| guard.still_holds(access, &state.sessions));
                }
                before = Some(now);
            }
            () = state.viewers.arrived.notified(), if !viewed => ticks.reset_immediately(),
        }
    }
}

impl AdminState {
    /// Returns what the page shows of the last second. It has no addresses of upstreams, so that it is the same for all
    /// viewers.
    fn event(&self, now: &Moment, before: &Moment) -> Value {
        let generation = self.process.store.current();
        let mut event = now.rates(before).json();
        let listeners: Vec<Value> = now
            .sample()
            .listeners
            .iter()
            .map(|listener| {
                let mut facts = now.rates_of(listener, before).json();
                facts["name"] = listener.name.as_str().into();
                facts["clients"] = listener.clients.into();
                facts["refused_total"] = listener.refused_total().into();
                facts
            })
            .collect();
        event["time"] = Timestamp::now().to_string().into();
        event["clients"] = now.clients().into();
        event["generation"] = generation.number().into();
        event["reloads"] = self.reloads().count().into();
        event["draining"] = self.is_draining().into();
        event["listeners"] = listeners.into();
        event["upstreams"] = json!(upstream_facts(self, now.sample()));
        event
    }
}

#[cfg(test)]
mod tests;
