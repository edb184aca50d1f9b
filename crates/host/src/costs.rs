//! What past handovers on this host cost, to tell what the next will.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durable;

/// How many handovers are remembered.
const REMEMBERED: usize = 16;

/// The parts of a downtime that do not depend on how many pages are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedCosts {
    /// From the order to stop until the guest's processors stand still and its disks are quiet.
    pub stop: Duration,
    /// Saving, sending and loading the state of the devices.
    pub device_state: Duration,
    /// From the commit until the guest runs at the destination.
    pub resume: Duration,
}

impl FixedCosts {
    /// What is expected where nothing has been measured: rather too much than too little, as
    /// seen with a small machine (some 5 ms for each part).
    pub const PRIOR: Self = Self {
        stop: Duration::from_millis(5),
        device_state: Duration::from_millis(8),
        resume: Duration::from_millis(5),
    };

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.stop + self.device_state + self.resume
    }
}

/// The last handovers of this host, kept in its state directory.
#[derive(Debug)]
pub(crate) struct CostHistory {
    path: PathBuf,
    /// Oldest first.
    handovers: Vec<FixedCosts>,
}

impl CostHistory {
    /// Reads the history. One that is missing or cannot be read begins anew: it is an estimate.
    pub(crate) fn open(path: &Path) -> Self {
        let handovers = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { path: path.to_owned(), handovers: handovers.unwrap_or_default() }
    }

    /// The median of each part over the last handovers, or the prior.
    pub(crate) fn expected(&self) -> FixedCosts {
        let median = |part: fn(&FixedCosts) -> Duration| {
            let mut times: Vec<_> = self.handovers.iter().map(part).collect();
            times.sort_unstable();
            times.get(times.len() / 2).copied()
        };
        match (median(|c| c.stop), median(|c| c.device_state), median(|c| c.resume)) {
            (Some(stop), Some(device_state), Some(resume)) => {
                FixedCosts { stop, device_state, resume }
            }
            _ => FixedCosts::PRIOR,
        }
    }

    /// Remembers one more handover. That it cannot be written is logged and no more.
    pub(crate) fn add(&mut self, measured: FixedCosts) {
        self.handovers.push(measured);
        let forget = self.handovers.len().saturating_sub(REMEMBERED);
        self.handovers.drain(..forget);
        let text = serde_json::to_vec(&self.handovers).expect("times are JSON");
        if let Err(error) = durable::replace(&self.path, &text) {
            tracing::warn!(path = %self.path.display(), %error, "cannot keep the handover's costs");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(ms: u64) -> FixedCosts {
        let part = Duration::from_millis(ms);
        FixedCosts { stop: part, device_state: part * 2, resume: part * 3 }
    }

    #[test]
    fn the_median_of_the_last_sixteen_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("costs.json");
        let mut history = CostHistory::open(&path);
        assert_eq!(history.expected(), FixedCosts::PRIOR);
        history.add(cost(1000));
        (0..REMEMBERED as u64).for_each(|ms| history.add(cost(ms)));
        assert_eq!(history.expected(), cost(8));
        assert_eq!(CostHistory::open(&path).expected(), cost(8), "it survives the daemon");
        fs::write(&path, "no JSON").unwrap();
        assert_eq!(CostHistory::open(&path).expected(), FixedCosts::PRIOR);
    }
}
