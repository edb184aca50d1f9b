//! One move: what was asked and predicted, and what came of it.

use std::time::Duration;

use punctual_engine::Report;
use punctual_engine::report::{Ending, Predicted, Promise};
use punctual_engine::times::in_milliseconds;
use punctual_units::BytesPerSecond;
use serde::{Deserialize, Serialize};

use super::Occupation;

/// Which part of the benchmark a move belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The first ones, from which the hosts learn what moves cost here.
    Cold,
    /// Those by which predictions are judged.
    Warm,
    /// The last of each guest: both hosts compute a digest of its RAM while it stands, so that its
    /// downtime is no measure.
    Digest,
}

/// One move of one guest, and the forced one after it if it was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trip {
    /// Counted from 1, in the order in which they were made.
    pub number: usize,
    /// Which part it belongs to.
    pub stage: Stage,
    /// What the guest did.
    pub workload: Occupation,
    /// The rate of the hosts' links, in bytes a second.
    pub link: BytesPerSecond,
    /// The downtime asked for.
    #[serde(rename = "asked_ms", with = "in_milliseconds")]
    pub asked: Duration,
    /// The client's longest silence in the second before the command.
    #[serde(rename = "baseline_gap_ms", with = "in_milliseconds")]
    pub baseline_gap: Duration,
    /// The report, without the course of the copy. Its `client_gap_ms` is the client's longest
    /// silence from the offer until half a second after the end.
    pub report: Report,
    /// The report of the same move, forced, if it was refused or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Report>,
}

/// What became of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It was made, and took no longer than was asked.
    Kept,
    /// It was made, and took longer.
    Broken,
    /// It was refused before anything moved.
    Refused,
    /// It was begun, and given up while the guest ran on where it was.
    GivenUp,
    /// It ended for a reason that no promise speaks of.
    Failed,
}

/// What forcing a move showed that had been refused or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It took longer than was asked.
    Right,
    /// It took no longer than was asked, this once.
    Needless,
    /// It could not be forced either.
    Unchecked,
}

impl Fate {
    /// What became of the move that a report tells of.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        match (report.outcome, report.promise) {
            (Ending::Completed, Some(Promise::Kept)) => Self::Kept,
            (Ending::Completed, _) => Self::Broken,
            (Ending::Refused, _) => Self::Refused,
            (_, Some(Promise::Refused)) => Self::GivenUp,
            _ => Self::Failed,
        }
    }

    /// Whether the guest arrived.
    #[must_use]
    pub fn is_completed(self) -> bool {
        matches!(self, Self::Kept | Self::Broken)
    }

    /// Whether Punctual said that it would be too late.
    #[must_use]
    pub fn is_no(self) -> bool {
        matches!(self, Self::Refused | Self::GivenUp)
    }
}

impl Trip {
    /// What became of it, not forced.
    #[must_use]
    pub fn fate(&self) -> Fate {
        Fate::of(&self.report)
    }

    /// Whether a no was right; `None` if there was none.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        let verdict = |forced: &Report| match Fate::of(forced) {
            Fate::Kept => Verdict::Needless,
            Fate::Broken => Verdict::Right,
            Fate::Refused | Fate::GivenUp | Fate::Failed => Verdict::Unchecked,
        };
        self.fate().is_no().then(|| self.forced.as_ref().map_or(Verdict::Unchecked, verdict))
    }
}

/// What was predicted and measured of a move that was made; `None` if it was not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// `None` where nobody had looked.
    pub(super) predicted: Option<Predicted>,
    pub(super) downtime: Duration,
    pub(super) total: Duration,
    pub(super) bytes: u64,
}

impl Outcome {
    pub(super) fn of(report: &Report) -> Option<Self> {
        let measured = &report.measured;
        let downtime = measured.downtime.filter(|_| Fate::of(report).is_completed())?;
        Some(Self {
            predicted: report.predicted,
            downtime,
            total: measured.total,
            bytes: measured.wire_bytes.get(),
        })
    }
}
