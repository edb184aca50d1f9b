//! What is asked of a move, beside what its offer says.

use std::time::Duration;

use punctual_model::{Heat, Mode, OnMiss, Policy, Strategy};
use punctual_units::{Bytes, BytesPerSecond, Probability};
use punctual_wire::HostName;
use serde::{Deserialize, Serialize};

use crate::report::Predicted;

/// What the operator asks of a move, and what is known of this host beforehand. The interruption
/// allowed, the bandwidth counted on and the wish for digests stand in the offer.
///
/// [`Request::new`] has what holds where nobody said anything else.
#[derive(Debug, Clone)]
pub struct Request {
    /// The host that the machine goes to.
    pub to: HostName,
    /// The longest time from the offer to the stop of the guest; when it is over, the machine runs
    /// on here. [`Request::WITHIN`] where nobody said.
    pub within: Duration,
    /// What an interruption takes even if no page is left to send.
    pub fixed: FixedCost,
    /// What is to be added to [`Request::fixed`], so that it is not exceeded with the probability
    /// [`Request::confidence`].
    pub fixed_spread: Duration,
    /// What is to be added to both where pages follow the machine, so that it is as sure.
    pub following: Duration,
    /// The time of a message to the destination and of its answer.
    pub round_trip: Duration,
    /// What of the machine moves before it is stopped, and what behind that. Not
    /// [`Mode::Restart`], which moves nothing.
    pub mode: Mode,
    /// What is done where the promise turns out to be unreachable.
    pub on_miss: OnMiss,
    /// How the memory is moved, by name: for the report.
    pub policy: Policy,
    /// How the memory is moved.
    pub strategy: Strategy,
    /// With which probability the interruption is to be as short as was asked for.
    pub confidence: Probability,
    /// What is known of the machine's page writes from before; nothing, if it is of a machine of
    /// another size.
    pub heat: Option<Heat>,
    /// What was predicted: for the report. What it says of the interruption is believed of a machine
    /// that is copied while it is stopped, since nothing is measured before that.
    pub predicted: Option<Predicted>,
    /// What the link was seen to carry beforehand, for the same machine.
    pub bandwidth: Option<BytesPerSecond>,
    /// Move the machine even if its interruption will be longer than was asked for: it is stopped
    /// at the best moment that can be reached in time.
    pub force: bool,
}

impl Request {
    /// The time that a move has where nobody limits it: ten minutes. A move that makes no headway
    /// ends long before that, see [`GiveUp::CannotConverge`](crate::GiveUp::CannotConverge).
    pub const WITHIN: Duration = Duration::from_secs(600);

    /// How sure a promise is where nobody said: it is broken once in a hundred moves.
    pub const CONFIDENCE: f64 = 0.99;

    /// A move to host `to`, by a named policy, of which nothing else was said and of which nothing
    /// is known.
    #[must_use]
    pub fn new(to: impl Into<HostName>, policy: Policy) -> Self {
        Self {
            to: to.into(),
            within: Self::WITHIN,
            fixed: FixedCost::default(),
            fixed_spread: Duration::ZERO,
            following: Duration::ZERO,
            round_trip: Duration::ZERO,
            mode: Mode::PreCopy,
            on_miss: OnMiss::Cancel,
            policy,
            strategy: policy.strategy(),
            confidence: Probability::saturating(Self::CONFIDENCE),
            heat: None,
            predicted: None,
            bandwidth: None,
            force: false,
        }
    }
}

/// The parts of an interruption that do not depend on the pages left, as measured on earlier moves
/// from this host, or as [`FixedCost::default`] assumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedCost {
    /// From the stop of the processors until the machine is quiet.
    pub stop: Duration,
    /// From the last page until the destination has loaded the device state, less what
    /// [`FixedCost::STATE`] takes on the link: that depends on the link.
    pub device_state: Duration,
    /// The durable write of the commit.
    #[serde(default)]
    pub commit: Duration,
    /// From the commit until the machine runs.
    pub resume: Duration,
}

impl FixedCost {
    /// Nothing takes any time.
    pub const NONE: Self = Self {
        stop: Duration::ZERO,
        device_state: Duration::ZERO,
        commit: Duration::ZERO,
        resume: Duration::ZERO,
    };

    /// How much device state a machine usually has: small guests have some 268 KiB, most of which
    /// is their firmware.
    pub const STATE: Bytes = Bytes::kib(268);

    /// All parts together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.stop + self.device_state + self.commit + self.resume
    }
}

impl Default for FixedCost {
    /// What QEMU 7.2 and 10 took for a small Linux guest (3 to 8 ms to pause, 3 to 6 ms from there
    /// to running), the upper ends of it; and a write to flash.
    fn default() -> Self {
        Self {
            stop: Duration::from_millis(5),
            device_state: Duration::from_millis(3),
            commit: Duration::from_millis(1),
            resume: Duration::from_millis(3),
        }
    }
}
