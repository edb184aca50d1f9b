//! How near predictions came, and what became of promises.

use std::time::Duration;

use punctual_engine::report::{Interval, Quantiles};
use serde::Serialize;

use super::trip::{Fate, Outcome, Trip, Verdict};
use crate::bench::Spread;

/// A downtime was predicted well if it lies this near, or within [`CLOSE_SHARE`] of what was
/// measured, whichever is more.
const CLOSE: Duration = Duration::from_millis(5);
const CLOSE_SHARE: f64 = 0.15;
/// What an interval should hold.
const NOMINAL: f64 = 0.95;

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Share {
    /// Those for which it holds.
    pub part: usize,
    /// All that were looked at.
    pub of: usize,
}

impl Share {
    pub(super) fn count(cases: impl IntoIterator<Item = bool>) -> Self {
        cases.into_iter().fold(Self::default(), |share, holds| Self {
            part: share.part + usize::from(holds),
            of: share.of + 1,
        })
    }

    /// From 0 to 1; `None` of nothing.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        (self.of > 0).then(|| self.part as f64 / self.of as f64)
    }

    /// How far a ratio may lie from 0.95 by chance alone: the standard error that a binomial with
    /// that probability has over as many cases.
    #[must_use]
    pub fn standard_error(self) -> Option<f64> {
        (self.of > 0).then(|| (NOMINAL * (1.0 - NOMINAL) / self.of as f64).sqrt())
    }
}

/// How near the predictions of one quantity came, over the moves that had one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// The distance from the predicted median to what was measured, by what was measured.
    pub relative_error: Spread,
    /// The same distance, in seconds.
    pub absolute_error_s: Spread,
    /// The median of measured by predicted, less one: above zero if moves take longer than is said.
    pub bias: f64,
    /// How often what was measured lay in the interval that should hold it 95 times in 100.
    pub coverage: Share,
}

impl Accuracy {
    fn of(cases: &[(Duration, Quantiles, Interval)]) -> Option<Self> {
        let seconds = |measured: Duration, predicted: Duration| {
            (measured.as_secs_f64(), predicted.as_secs_f64())
        };
        let pairs = || cases.iter().map(|(measured, at, _)| seconds(*measured, at.p50));
        Some(Self {
            relative_error: Spread::of(pairs().map(|(m, p)| (m - p).abs() / m))?,
            absolute_error_s: Spread::of(pairs().map(|(m, p)| (m - p).abs()))?,
            bias: Spread::of(pairs().map(|(m, p)| m / p - 1.0))?.median,
            coverage: Share::count(cases.iter().map(|(m, _, interval)| interval.contains(*m))),
        })
    }
}

/// What was measured of a number of moves beside what was predicted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Moves that were made.
    pub moves: usize,
    /// Those of them of which nothing had been predicted; the figures below leave them out.
    pub unpredicted: usize,
    /// The whole time.
    pub total: Option<Accuracy>,
    /// The interruption.
    pub downtime: Option<Accuracy>,
    /// Interruptions that lay within 5 ms or 15 % of what was predicted.
    pub close: Share,
    /// Bytes on the wire: the distance by what was measured.
    pub bytes_error: Option<Spread>,
}

impl Figures {
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let known: Vec<_> =
            outcomes.iter().filter_map(|outcome| Some((outcome, outcome.predicted?))).collect();
        let totals: Vec<_> = known
            .iter()
            .map(|(outcome, said)| (outcome.total, said.total, said.interval95.total))
            .collect();
        let downtimes: Vec<_> = known
            .iter()
            .map(|(outcome, said)| (outcome.downtime, said.downtime, said.interval95.downtime))
            .collect();
        let bytes = known.iter().map(|(outcome, said)| {
            let (measured, said) = (outcome.bytes as f64, said.wire_bytes.get() as f64);
            (measured - said).abs() / measured
        });
        Self {
            moves: outcomes.len(),
            unpredicted: outcomes.len() - known.len(),
            total: Accuracy::of(&totals),
            downtime: Accuracy::of(&downtimes),
            close: Share::count(downtimes.iter().map(|(m, said, _)| is_close(*m, said.p50))),
            bytes_error: Spread::of(bytes),
        }
    }
}

fn is_close(measured: Duration, predicted: Duration) -> bool {
    measured.abs_diff(predicted) <= CLOSE.max(measured.mul_f64(CLOSE_SHARE))
}

/// What became of moves and promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Promises that were kept, of those that were made: a move that was begun and then given up,
    /// or failed, is one that was not.
    pub kept: Share,
    /// Moves that were made, and took longer than was asked.
    pub broken: usize,
    /// Moves that were begun and given up.
    pub given_up: usize,
    /// Moves that failed for another reason.
    pub failed: usize,
    /// Moves that were refused before anything moved.
    pub refused: usize,
    /// Of those refused or given up: forced, they took too long.
    pub right: usize,
    /// Forced, they did not.
    pub needless: usize,
    /// They could not be forced.
    pub unchecked: usize,
}

impl Counts {
    pub(super) fn of(trips: &[&Trip]) -> Self {
        let fates = |fate| trips.iter().filter(|trip| trip.fate() == fate).count();
        let verdicts =
            |verdict| trips.iter().filter(|trip| trip.verdict() == Some(verdict)).count();
        let made = trips.iter().filter(|trip| trip.fate() != Fate::Refused);
        Self {
            kept: Share::count(made.map(|trip| trip.fate() == Fate::Kept)),
            broken: fates(Fate::Broken),
            given_up: fates(Fate::GivenUp),
            failed: fates(Fate::Failed),
            refused: fates(Fate::Refused),
            right: verdicts(Verdict::Right),
            needless: verdicts(Verdict::Needless),
            unchecked: verdicts(Verdict::Unchecked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_is_five_milliseconds_or_fifteen_per_cent() {
        let ms = Duration::from_millis;
        assert!(is_close(ms(20), ms(25)) && is_close(ms(20), ms(15)));
        assert!(!is_close(ms(20), ms(26)));
        assert!(is_close(ms(200), ms(230)) && !is_close(ms(200), ms(231)));
    }

    #[test]
    fn shares_know_how_sure_they_are() {
        let share = Share::count((0..100).map(|case| case < 93));
        assert_eq!((share.part, share.of, share.ratio()), (93, 100, Some(0.93)));
        assert!((share.standard_error().unwrap() - 0.0218).abs() < 1e-4);
        assert_eq!(Share::default().ratio(), None);
    }

    #[test]
    fn what_was_not_predicted_is_counted_apart() {
        let outcome = |predicted| Outcome {
            predicted,
            downtime: Duration::from_millis(20),
            total: Duration::from_secs(4),
            bytes: 100,
        };
        let predicted = super::super::summary::tests::predicted(10, 5000);
        let figures = Figures::of(&[outcome(None), outcome(Some(predicted))]);
        assert_eq!((figures.moves, figures.unpredicted), (2, 1));
        let total = figures.total.unwrap();
        assert!((total.relative_error.median - 0.25).abs() < 1e-9);
        assert!((total.bias + 0.2).abs() < 1e-9);
        let downtime = figures.downtime.unwrap();
        assert!((downtime.absolute_error_s.median - 0.01).abs() < 1e-9);
        assert_eq!(
            (downtime.coverage, figures.close),
            (Share { part: 1, of: 1 }, Share { part: 0, of: 1 })
        );
    }
}
