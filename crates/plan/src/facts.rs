//! What is known beforehand of two hosts and the link between them, and what is asked of a move.

use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_engine::times::{in_milliseconds, in_seconds, in_seconds_if_any};
use punctual_model::{Calibration, Mode};
use punctual_units::{BytesPerSecond, Probability};
use punctual_wire::HostName;
use serde::{Deserialize, Serialize};

use crate::predict::following;

/// What a host knows of moves to another: measured now or on past moves.
///
/// [`Facts::assumed`] has what holds where nothing was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the link carries, in payload bytes a second.
    pub bandwidth: BytesPerSecond,
    /// The standard deviation of the bandwidth from move to move, as a share of it.
    pub bandwidth_spread: f64,
    /// The time of a message to the other host and of its answer.
    #[serde(rename = "round_trip_ms", with = "in_milliseconds")]
    pub round_trip: Duration,
    /// What past interruptions took beside the copy, oldest first; none where nothing moved yet.
    /// Each is a sample of what the next one will take. Of moves behind which no page followed, as is
    /// what was predicted and measured.
    #[serde(default)]
    pub fixed: Vec<FixedCost>,
    /// How long past moves took from the offer to the first page, oldest first.
    #[serde(rename = "preparing_s", with = "times_in_seconds", default)]
    pub preparing: Vec<Duration>,
    /// How much faster guests write while they are moved than before: 1 where that is not known,
    /// else the mean of what past moves saw written over what had been predicted.
    pub writing: f64,
    /// Interruptions that were predicted and measured, in seconds.
    #[serde(default)]
    pub downtime: Calibration,
    /// The same of whole moves.
    #[serde(default)]
    pub total: Calibration,
    /// What past moves told behind which pages followed that rounds had left: the fields above say
    /// nothing of them.
    #[serde(default)]
    pub hybrid: Following,
    /// The same of moves behind which all of the memory followed.
    #[serde(default)]
    pub post_copy: Following,
    /// How fast a memory image is saved to, and restored from, a disk; `None` where it is not
    /// written to one, but sent as it is.
    #[serde(default)]
    pub disk: Option<BytesPerSecond>,
    /// How long the guest takes to shut down and boot until it serves again, where that is known.
    #[serde(rename = "restart_s", with = "in_seconds_if_any", default)]
    pub restart: Option<Duration>,
}

/// What past moves told behind which pages followed the machine. They are learnt apart: the device state
/// is loaded where pages are missing, and what is left of the copy comes behind the interruption.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Following {
    /// What their interruptions took, oldest first. [`FixedCost::device_state`] begins when the machine
    /// is quiet, since no page is sent then, and is without the scans as well.
    pub fixed: Vec<FixedCost>,
    /// Interruptions that were predicted and measured, in seconds.
    pub downtime: Calibration,
    /// The same of whole moves.
    pub total: Calibration,
}

impl Facts {
    /// A spread of the bandwidth that shaped and reserved links stay below.
    pub const BANDWIDTH_SPREAD: f64 = 0.01;
    /// From the offer to the first page: what QEMU takes to start, and the measure of the link.
    pub const PREPARING: Duration = Duration::from_millis(400);
    /// From the shutdown to the service: a server distribution in a virtual machine.
    pub const RESTART: Duration = Duration::from_secs(40);

    /// Two hosts of which only the link's rate is known.
    #[must_use]
    pub fn assumed(bandwidth: BytesPerSecond) -> Self {
        Self {
            bandwidth,
            bandwidth_spread: Self::BANDWIDTH_SPREAD,
            round_trip: Duration::from_micros(300),
            fixed: vec![],
            preparing: vec![],
            writing: 1.0,
            downtime: Calibration::default(),
            total: Calibration::default(),
            hybrid: Following::default(),
            post_copy: Following::default(),
            disk: None,
            restart: None,
        }
    }

    /// What is known of a move behind which pages follow as in this mode: the same, with what was learnt
    /// of such moves in the place of what was of others, see [`following`].
    #[must_use]
    pub fn if_pages_follow(&self, mode: Mode) -> Self {
        let of_the_kind = if mode == Mode::PostCopy { &self.post_copy } else { &self.hybrid };
        let Following { fixed, downtime, total } = of_the_kind.clone();
        let fixed = following::handovers(&fixed, &self.fixed, mode, self.round_trip);
        Self { fixed, downtime, total, ..self.clone() }
    }
}

/// What is asked of a move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The host that the machine is to go to.
    pub to: HostName,
    /// The longest interruption.
    #[serde(rename = "downtime_ms", with = "in_milliseconds")]
    pub downtime: Duration,
    /// The longest time from the offer to the machine running there.
    #[serde(rename = "within_s", with = "in_seconds")]
    pub within: Duration,
    /// With which probability both are to be kept.
    pub confidence: Probability,
    /// The most bandwidth it may use; `None` for all that the link carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BytesPerSecond>,
    /// The only mode that comes into question; `None` leaves it to the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether the machine may run there while pages of it are still here.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub post_copy: bool,
}

impl Ask {
    /// A move to host `to` within these limits, in any mode, over all that the link carries.
    #[must_use]
    pub fn new(
        to: impl Into<HostName>,
        downtime: Duration,
        within: Duration,
        confidence: Probability,
    ) -> Self {
        let to = to.into();
        Self { to, downtime, within, confidence, bandwidth: None, mode: None, post_copy: true }
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

/// Times in JSON as a list of seconds.
mod times_in_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Seconds(#[serde(with = "punctual_engine::times::in_seconds")] Duration);

    pub(super) fn serialize<S: Serializer>(times: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(times.iter().map(|time| Seconds(*time)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let times = Vec::<Seconds>::deserialize(from)?;
        Ok(times.into_iter().map(|Seconds(time)| time).collect())
    }
}
