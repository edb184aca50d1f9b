//! When the machine will write little for a while.

use std::time::Duration;

use punctual_units::Probability;

use crate::Activity;

/// A stretch of time in which little is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lull {
    /// Fewer distinct pages a second than this are written ...
    pub below: f64,
    /// ... for at least this long.
    pub lasting: Duration,
}

/// What is known of the next lull.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// The probability that it has come when the horizon is reached.
    pub within: Probability,
    /// Waiting times that were seen, rising.
    waits: Vec<Duration>,
}

impl Wait {
    /// The waiting time that is not exceeded with this probability; `None` if the horizon is reached
    /// before.
    #[must_use]
    pub fn quantile(&self, probability: Probability) -> Option<Duration> {
        let rank =
            (probability.get() * self.waits.len() as f64 / self.within.get()).ceil() as usize;
        self.waits.get(rank.saturating_sub(1)).copied()
    }
}

/// How long it takes until `lull` comes, within `horizon`; `None` if none was seen yet.
#[must_use]
pub fn foresee(activity: &Activity, lull: Lull, horizon: Duration) -> Option<Wait> {
    let _ = (activity, lull, horizon);
    None
}
