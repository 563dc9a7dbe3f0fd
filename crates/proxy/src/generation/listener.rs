//! What a listener keeps from one config to the next, as long as its name stays.

use std::sync::Arc;

use super::denials::Denials;
use super::shadow::Shadow;
use super::sources::SourceTable;
use crate::generation::seats::Seat;
use crate::log::Seldom;
use crate::metrics::ListenerSeries;

/// One listener's seats, counters and observations; shared by all threads.
#[derive(Debug)]
pub(crate) struct ListenerState {
    name: Arc<str>,
    seat: Seat,
    sources: Arc<SourceTable>,
    series: Arc<ListenerSeries>,
    shadow: Shadow,
    denials: Arc<Denials>,
    failed_handshakes: Seldom,
}

impl ListenerState {
    /// A listener that nobody has connected to yet; it has no seats before its limit is set.
    pub(crate) fn new(name: &str, series: &Arc<ListenerSeries>) -> Self {
        Self {
            name: name.into(),
            seat: Seat::new(0),
            sources: Arc::default(),
            series: Arc::clone(series),
            shadow: Shadow::default(),
            denials: Arc::default(),
            failed_handshakes: Seldom::new(),
        }
    }

    /// As in the config.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its clients.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Where they come from.
    pub(crate) fn sources(&self) -> &Arc<SourceTable> {
        &self.sources
    }

    /// What is counted for it.
    pub(crate) fn series(&self) -> &Arc<ListenerSeries> {
        &self.series
    }

    /// The refused commands of its clients, for the log.
    pub(crate) fn denials(&self) -> &Arc<Denials> {
        &self.denials
    }

    /// Limits how often the log tells of failed TLS handshakes.
    pub(crate) fn failed_handshakes(&self) -> &Seldom {
        &self.failed_handshakes
    }

    /// Whom its shadow policy would have turned away.
    pub(crate) fn shadow(&self) -> &Shadow {
        &self.shadow
    }
}
