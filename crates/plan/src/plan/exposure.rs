//! How long a machine would depend on two hosts, and what that costs its guest.

use std::time::Duration;

use punctual_engine::times::in_seconds;
use punctual_model::Heat;
use punctual_units::{PageIndex, Pages};
use serde::{Deserialize, Serialize};

/// The time from the commit until nothing of a machine is missing at its destination: a failure of
/// either host or of the link stops it until that is mended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// The median.
    #[serde(rename = "p50_s", with = "in_seconds")]
    pub p50: Duration,
    /// What is exceeded once in a hundred times.
    #[serde(rename = "p99_s", with = "in_seconds")]
    pub p99: Duration,
    /// The interval in which it lies with a probability of 0.95: its least ...
    #[serde(rename = "low_s", with = "in_seconds")]
    pub low: Duration,
    /// ... and its most.
    #[serde(rename = "high_s", with = "in_seconds")]
    pub high: Duration,
    /// The pages that are missing at the handover: the median.
    pub missing: Pages,
    /// How many of them the guest is expected to write before they are there, if it goes on as it did:
    /// each is a wait of two ways over the link and more, which slows it down, so that there will be
    /// fewer. Pages that it reads make it wait, too: only writes are traced, so they do not count here.
    pub waits: u64,
}

/// How many of `missing` pages are expected to be written before they come, if they come the hottest
/// first, `slot` apart. Those that are missing are taken to be the hottest, as they are behind rounds
/// of copying; where all are missing, so they are.
///
/// Formula: Σⱼ 1 − e^(−λⱼ·j·slot), λ falling; see `docs/prediction.md`. Cost: that of sorting as many
/// numbers as pages are written at all.
pub(super) fn waits(heat: &Heat, missing: u64, slot: Duration) -> f64 {
    let pages = 0..heat.pages().get();
    let rates = pages.map(|page| heat.rate(PageIndex(page))).filter(|rate| *rate > 0.0);
    let mut rates: Vec<_> = rates.collect();
    rates.sort_unstable_by(|one, other| other.total_cmp(one));
    let slot = slot.as_secs_f64();
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    let coming = rates.iter().take(missing).enumerate();
    coming.map(|(nth, rate)| -(-rate * (nth + 1) as f64 * slot).exp_m1()).sum()
}

#[cfg(test)]
mod tests {
    use punctual_units::PageRange;

    use super::*;

    #[test]
    fn hot_pages_are_waited_for_and_cold_ones_come_in_time() {
        let mut heat = Heat::new(Pages::new(1000));
        for tick in 1..=200 {
            let hot = PageRange::new(0, 100);
            let cold = PageRange::new(100 + tick, 101 + tick);
            heat.record(Duration::from_millis(10 * tick), [hot, cold]);
        }
        let slot = Duration::from_micros(20);
        let few = waits(&heat, 1000, slot);
        assert!((10.0..80.0).contains(&few), "{few} of 100 hot ones");
        assert!(waits(&heat, 1000, slot * 100) > few);
        assert!(waits(&heat, 10, slot) < few && waits(&heat, 0, slot) == 0.0);
        assert_eq!(waits(&Heat::new(Pages::new(10)), 10, slot), 0.0);
    }
}
