use std::time::Duration;

use punctual_units::Probability;
use serde::{Deserialize, Serialize};

use crate::times::in_seconds;

/// How far a guest was slowed down so that its promise could be kept, and what that cost it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Throttled {
    /// The smallest share of its time that each of its processors was left with.
    pub share: Probability,
    /// For how long it had less than all of it.
    #[serde(rename = "for_s", with = "in_seconds")]
    pub time: Duration,
    /// The time of a processor that it lost by that, if the processor was never idle.
    #[serde(rename = "work_lost_s", with = "in_seconds")]
    pub lost: Duration,
}
