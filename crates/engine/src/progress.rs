//! What is known of a move while it goes on.

use std::fmt;
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, Pages, Probability};
use serde::{Deserialize, Serialize};

use crate::times::{in_milliseconds, in_milliseconds_if_any, in_seconds, in_seconds_if_any};

/// Where a move stands, as the source sees it. The names are used in logs, pages and JSON alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before the offer: the host looks at the machine and the link, and plans the move.
    Planning,
    /// The destination is asked whether it takes the machine, and the link is measured.
    Offering,
    /// The destination starts its process; the source begins to trace.
    Preparing,
    /// Pages are copied in rounds while the machine runs.
    Copying,
    /// Disk requests in flight are waited for.
    Settling,
    /// The connections are opened over which pages follow the machine.
    Opening,
    /// The guest is being stopped.
    Stopping,
    /// The last pages are sent; the guest is stopped.
    FinalCopy,
    /// The destination loads the device state; the guest is stopped.
    HandingOver,
    /// The commit is being recorded; the guest is stopped.
    Committing,
    /// The machine belongs to the destination, which lets it run.
    Committed,
    /// The machine runs at the destination, and pages of it follow.
    PostCopy,
    /// The machine stays at the source, which lets it run.
    Aborting,
    /// The attempt has ended.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Planning => "planning",
            Self::Offering => "offering",
            Self::Preparing => "preparing",
            Self::Copying => "copying",
            Self::Settling => "settling",
            Self::Opening => "opening",
            Self::Stopping => "stopping",
            Self::FinalCopy => "final-copy",
            Self::HandingOver => "handing-over",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::PostCopy => "post-copy",
            Self::Aborting => "aborting",
            Self::Ended => "ended",
        })
    }
}

/// One look at a move that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The machine's name.
    pub machine: String,
    /// The phase.
    pub phase: Phase,
    /// Time since the offer; in [`Phase::Planning`] since that began.
    #[serde(rename = "elapsed_s", with = "in_seconds")]
    pub elapsed: Duration,
    /// The round, counted from 1; 0 before the first.
    pub round: u32,
    /// Pages of this round that are still to be sent.
    pub round_left: Pages,
    /// Pages that the destination lacks or has in an old version, as far as is known.
    pub dirty: Pages,
    /// Pages sent so far, counted each time.
    pub pages_sent: Pages,
    /// What has been put on the connection so far.
    pub sent: Bytes,
    /// The rate at which the destination lately received; zero before it is known.
    pub rate: BytesPerSecond,
    /// The time until the present round is over, at that rate.
    #[serde(rename = "round_ends_in_s", with = "in_seconds_if_any", default)]
    pub round_ends_in: Option<Duration>,
    /// The interruption that a stop at this moment would make, by what is known.
    #[serde(rename = "downtime_now_ms", with = "in_milliseconds_if_any", default)]
    pub downtime_now: Option<Duration>,
    /// The time until the machine will run at the destination, as is expected now.
    #[serde(rename = "ends_in_s", with = "in_seconds_if_any", default)]
    pub ends_in: Option<Duration>,
    /// The interruption that there will be at the end, as is expected now.
    #[serde(rename = "downtime_predicted_ms", with = "in_milliseconds_if_any", default)]
    pub downtime_predicted: Option<Duration>,
    /// The interruption that was asked for.
    #[serde(rename = "downtime_asked_ms", with = "in_milliseconds")]
    pub downtime_asked: Duration,
    /// The share of its time that each of the guest's processors is left with, while the guest is
    /// slowed down so that the promise can be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<Probability>,
}

/// Whoever wants to see a move go on. It is called some twenty times a second, and at each change
/// of phase, from the thread that moves the pages: it returns at once and never blocks.
pub trait Observer: Send + Sync {
    /// Takes note of where the move stands.
    fn progress(&self, progress: &Progress);
}

/// Nobody looks.
impl Observer for () {
    fn progress(&self, _: &Progress) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_has_one_name() {
        for phase in [Phase::Offering, Phase::FinalCopy, Phase::HandingOver, Phase::Ended] {
            let json = serde_json::to_string(&phase).unwrap();
            assert_eq!(json, format!("\"{phase}\""));
        }
    }
}
