//! What is asked of a move, beside what its offer says.

use std::time::Duration;

use punctual_wire::HostName;
use serde::{Deserialize, Serialize};

/// What the operator asks of a move, and what is known of this host beforehand. The interruption
/// allowed, the bandwidth counted on and the wish for digests stand in the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The host that the machine goes to.
    pub to: HostName,
    /// The longest time from the offer to the stop of the guest; when it is over, the machine runs
    /// on here. [`Request::WITHIN`] where nobody said.
    pub within: Duration,
    /// What an interruption takes even if no page is left to send.
    pub fixed: FixedCost,
    /// The time of a message to the destination and of its answer.
    pub round_trip: Duration,
}

impl Request {
    /// The time that a move has where nobody limits it: ten minutes. A move that makes no headway
    /// ends long before that, see [`GiveUp::CannotConverge`](crate::GiveUp::CannotConverge).
    pub const WITHIN: Duration = Duration::from_secs(600);
}

/// The parts of an interruption that do not depend on the pages left, as measured on earlier moves
/// from this host, or as [`FixedCost::default`] assumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedCost {
    /// From the stop of the processors until the machine is quiet.
    pub stop: Duration,
    /// From the last page until the destination has loaded the device state.
    pub device_state: Duration,
    /// From the commit until the machine runs.
    pub resume: Duration,
}

impl FixedCost {
    /// All parts together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.stop + self.device_state + self.resume
    }
}

impl Default for FixedCost {
    /// What QEMU 7.2 and 10 took for a small Linux guest (3 to 8 ms to pause, 3 to 6 ms from there
    /// to running), the upper ends of it.
    fn default() -> Self {
        Self {
            stop: Duration::from_millis(5),
            device_state: Duration::from_millis(5),
            resume: Duration::from_millis(3),
        }
    }
}
