//! How many sentinels name the master of an upstream, as `/ready` and the API show it.

use portcullis_config::Upstream;

use super::AdminState;
use crate::metrics::UpstreamSeries;

/// The sentinels of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sentinels {
    /// The number of sentinels that named a master the last time they were asked.
    pub naming: usize,
    /// The number of sentinels in the configuration.
    pub configured: usize,
    /// The number of changes from one master to another since the start.
    pub failovers: u64,
}

impl Sentinels {
    /// Returns the sentinels of an upstream. `None` if it has none, or if they have not been asked yet.
    fn of(upstream: &Upstream, series: &UpstreamSeries) -> Option<Self> {
        let configured = upstream.sentinel()?.nodes().len();
        Some(Self { naming: series.views().naming()?, configured, failovers: series.views().failovers() })
    }

    const fn are_too_few(self) -> bool {
        2 * self.naming < self.configured
    }
}

impl AdminState {
    /// Returns the sentinels of an upstream.
    pub(super) fn sentinels(&self, name: &str) -> Option<Sentinels> {
        let generation = self.process.store.current();
        let mut known = generation.config().upstreams().iter().zip(&generation.series().upstreams);
        known
            .find(|(upstream, _)| upstream.name() == name)
            .and_then(|(one, series)| Sentinels::of(one, series))
    }

    /// Returns the changes from one master of an upstream to another since the start. `None` if it has one address.
    pub(super) fn failovers(&self, name: &str) -> Option<u64> {
        let generation = self.process.store.current();
        let mut known = generation.config().upstreams().iter().zip(&generation.series().upstreams);
        let (upstream, series) = known.find(|(upstream, _)| upstream.name() == name)?;
        (upstream.is_sentinel() || upstream.is_cluster()).then(|| series.views().failovers())
    }

    /// Returns the upstreams of listeners whose sentinels are too few: fewer than half of them name the master.
    pub(super) fn unsure_upstreams(&self) -> Vec<(String, Sentinels)> {
        let used = self.health.upstreams().into_iter().filter(|(_, used, _)| *used);
        let sentinels =
            used.filter_map(|(name, ..)| self.sentinels(&name).map(|sentinels| (name, sentinels)));
        sentinels.filter(|(_, sentinels)| sentinels.are_too_few()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_sentinels_are_enough() {
        for (naming, configured, too_few) in [
            (0, 1, true),
            (1, 1, false),
            (0, 2, true),
            (1, 2, false),
            (1, 3, true),
            (2, 3, false),
            (2, 5, true),
        ] {
            assert_eq!(
                Sentinels { naming, configured, failovers: 0 }.are_too_few(),
                too_few,
                "{naming} of {configured}"
            );
        }
    }
}
