use std::fmt;
use std::time::Duration;

use punctual_model::OnMiss;
use serde::{Deserialize, Serialize};

use crate::times::in_seconds;

/// A promise that turned out to be unreachable while the machine was being moved, and after which
/// the move went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// When that was seen, since the offer.
    #[serde(rename = "at_s", with = "in_seconds")]
    pub at: Duration,
    /// Why it was unreachable.
    pub why: String,
    /// What was done.
    pub did: OnMiss,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, why, did } = self;
        let done = match did {
            OnMiss::Cancel => "the move was given up",
            OnMiss::Extend => "it was given as much time again and moved in any case",
            OnMiss::Throttle => "the guest was slowed down",
            OnMiss::PostCopy => "what was left followed the machine",
        };
        write!(f, "after {:.1} s the promise was out of reach: {why}. So {done}", at.as_secs_f64())
    }
}
