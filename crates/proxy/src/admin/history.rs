//! The last hour in points, for the small charts of the page, and the rates between two samples of the counters.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::metrics::{ListenerSample, Sample, Work};

/// The time between two points. A chart of the page is about 360 pixels wide.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// The points of an hour.
const POINTS: usize = 360;

/// The points of the last hour, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    last: Option<Moment>,
}

/// One point of the charts.
#[derive(Clone, Copy, Debug)]
struct Point {
    clients: u64,
    commands: f64,
    refused: f64,
    p99: Option<f64>,
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    at: Instant,
    sample: Sample,
}

/// The rates between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    /// Commands in a second.
    pub(super) commands: f64,
    /// Commands that the proxy refused in a second.
    pub(super) denied: f64,
    /// Refused connections in a second.
    pub(super) refused: f64,
    /// Bytes from clients, and to them, in a second.
    pub(super) bytes: [f64; 2],
    /// The median of the durations in seconds.
    pub(super) p50: Option<f64>,
    /// The duration in seconds that 99 of 100 commands do not exceed.
    pub(super) p99: Option<f64>,
}

impl Moment {
    /// Takes the counters of now.
    pub(super) fn of(sample: Sample) -> Self {
        Self { at: Instant::now(), sample }
    }

    /// Returns the counters.
    pub(super) fn sample(&self) -> &Sample {
        &self.sample
    }

    /// Returns the number of clients of all listeners.
    pub(super) fn clients(&self) -> u64 {
        self.sample.listeners.iter().map(|listener| listener.clients).fold(0, u64::saturating_add)
    }

    /// Returns the rates of all listeners together since `before`.
    pub(super) fn rates(&self, before: &Self) -> Rates {
        let sum = |moment: &Self| {
            let mut sum = ListenerSample::default();
            for listener in &moment.sample.listeners {
                sum.work.add(&listener.work);
                sum.refused.push(listener.refused_total());
                for (sum, n) in sum.bytes.iter_mut().zip(listener.bytes) {
                    *sum = sum.wrapping_add(n);
                }
            }
            sum
        };
        rates(&sum(self), &sum(before), self.at.duration_since(before.at))
    }

    /// Returns the rates of one listener since `before`. All are 0 for a listener that is new.
    pub(super) fn rates_of(&self, listener: &ListenerSample, before: &Self) -> Rates {
        let known = before.sample.listeners.iter().find(|known| known.name == listener.name);
        known.map_or_else(Rates::default, |known| rates(listener, known, self.at.duration_since(before.at)))
    }
}

/// A listener that is removed takes its counters with it: then a rate is 0.
fn rates(now: &ListenerSample, before: &ListenerSample, time: Duration) -> Rates {
    let seconds = time.as_secs_f64().max(1e-3);
    let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
    let work: Work = now.work.since(&before.work);
    Rates {
        commands: work.commands as f64 / seconds,
        denied: work.denied as f64 / seconds,
        refused: rate(now.refused_total(), before.refused_total()),
        bytes: [rate(now.bytes[0], before.bytes[0]), rate(now.bytes[1], before.bytes[1])],
        p50: work.quantile(0.5),
        p99: work.quantile(0.99),
    }
}

impl Rates {
    /// Returns the rates as JSON, with the precision that a person reads.
    pub(super) fn json(&self) -> Value {
        json!({
            "commands_per_second": rounded(self.commands, 10.0),
            "denied_per_second": rounded(self.denied, 10.0),
            "refused_per_second": rounded(self.refused, 10.0),
            "bytes_from_clients_per_second": self.bytes[0].round(),
            "bytes_to_clients_per_second": self.bytes[1].round(),
            "p50_seconds": self.p50.map(|p50| rounded(p50, 1e7)),
            "p99_seconds": self.p99.map(|p99| rounded(p99, 1e7)),
        })
    }
}

impl History {
    /// Adds a point.
    pub(super) fn add(&mut self, now: Moment) {
        if let Some(before) = &self.last {
            let Rates { commands, refused, p99, .. } = now.rates(before);
            if self.points.len() >= POINTS {
                self.points.pop_front();
            }
            self.points.push_back(Point { clients: now.clients(), commands, refused, p99 });
        }
        self.last = Some(now);
    }

    /// Returns the points as JSON, a list for each chart, the oldest point first.
    pub(super) fn json(&self) -> Value {
        let list = |value: fn(&Point) -> Value| self.points.iter().map(value).collect::<Vec<_>>();
        json!({
            "step_seconds": STEP.as_secs(),
            "clients": list(|point| point.clients.into()),
            "commands_per_second": list(|point| rounded(point.commands, 10.0).into()),
            "refused_per_second": list(|point| rounded(point.refused, 10.0).into()),
            "p99_seconds": list(|point| point.p99.map(|p99| rounded(p99, 1e7)).into()),
        })
    }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: Instant, clients: u64, refused: u64) -> Moment {
        let listener = ListenerSample {
            name: "public".to_owned(),
            clients,
            refused: vec![refused],
            ..Default::default()
        };
        Moment { at, sample: Sample { listeners: vec![listener], upstreams: Vec::new() } }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (mut history, begin) = (History::default(), Instant::now());
        for step in 0..500_u32 {
            history.add(moment(begin + STEP * step, step.into(), u64::from(step) * 20));
        }
        let shown = history.json();
        let clients = shown["clients"].as_array().unwrap();
        assert_eq!((clients.len(), clients[0].as_u64(), clients[359].as_u64()), (360, Some(140), Some(499)));
        assert_eq!(shown["refused_per_second"][0], json!(2.0));
        assert_eq!(shown["p99_seconds"][0], Value::Null, "no command was answered");
    }

    #[test]
    fn a_listener_that_is_new_or_gone_has_no_rate() {
        let begin = Instant::now();
        let (before, now) = (moment(begin, 1, 100), moment(begin + STEP, 1, 40));
        assert!(now.rates(&before).refused.abs() < 1e-9, "the counters began anew");
        let new = ListenerSample { name: "new".to_owned(), refused: vec![7], ..Default::default() };
        assert!(now.rates_of(&new, &before).refused.abs() < 1e-9);
    }
}
