//! What past handovers on this host cost, to tell what the next will.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use punctual_engine::FixedCost;

use crate::durable;

/// How many handovers are remembered.
const REMEMBERED: usize = 16;
/// As how many handovers the prior counts: one or two that happened on a busy moment do not make a
/// host refuse what it can do.
const PRIOR: usize = 3;

/// The last handovers of this host, kept in its state directory.
#[derive(Debug)]
pub(crate) struct CostHistory {
    path: PathBuf,
    /// Oldest first.
    handovers: Vec<FixedCost>,
}

impl CostHistory {
    /// Reads the history. One that is missing or cannot be read begins anew: it is an estimate.
    pub(crate) fn open(path: &Path) -> Self {
        let handovers = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { path: path.to_owned(), handovers: handovers.unwrap_or_default() }
    }

    /// The median of each part over the last handovers and the prior.
    pub(crate) fn expected(&self) -> FixedCost {
        let prior = [FixedCost::default(); PRIOR];
        let median = |part: fn(&FixedCost) -> Duration| {
            let mut times: Vec<_> = self.handovers.iter().chain(&prior).map(part).collect();
            times.sort_unstable();
            times[times.len() / 2]
        };
        FixedCost {
            stop: median(|cost| cost.stop),
            device_state: median(|cost| cost.device_state),
            commit: median(|cost| cost.commit),
            resume: median(|cost| cost.resume),
        }
    }

    /// Remembers one more handover. That it cannot be written is logged and no more.
    pub(crate) fn add(&mut self, measured: FixedCost) {
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

    fn cost(ms: u64) -> FixedCost {
        let part = Duration::from_millis(ms);
        FixedCost { stop: part, device_state: part * 2, commit: part, resume: part * 3 }
    }

    #[test]
    fn the_median_of_the_last_sixteen_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("costs.json");
        let mut history = CostHistory::open(&path);
        assert_eq!(history.expected(), FixedCost::default());
        history.add(cost(1000));
        assert_eq!(history.expected(), FixedCost::default(), "one is no rule");
        (0..REMEMBERED as u64).for_each(|ms| history.add(cost(1000 + ms)));
        let of_nineteen = cost(1000 + 9 - PRIOR as u64);
        assert_eq!(history.expected(), of_nineteen);
        assert_eq!(CostHistory::open(&path).expected(), of_nineteen, "it survives the daemon");
        fs::write(&path, "no JSON").unwrap();
        assert_eq!(CostHistory::open(&path).expected(), FixedCost::default());
    }
}
