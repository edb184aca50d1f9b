use std::collections::VecDeque;

use punctual_units::Probability;
use serde::{Deserialize, Serialize};

use super::{lower, observed, upper};
use crate::normal;

/// So many outcomes are remembered; older ones tell of another time.
const MOST: usize = 512;
/// What no prediction knows of, as a share of the value: samples that all agree are not that exact.
const FLOOR: f64 = 0.25;
/// Samples that scatter more than this say that little is known, not how little.
const CEILING: f64 = 0.35;
/// Values are compared as ratios; those below this are as good as zero.
const LEAST: f64 = 1e-9;
/// Before there are outcomes, errors are taken to be normal, this many times as wide as the samples.
const PRIOR: f64 = 1.0;
/// So many scores there are at least, missing ones from the prior: a few outcomes do not shift what is
/// predicted by all of their error.
const FEWEST: usize = 12;

/// A range of values, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the value lies in it.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What samples say of a value, in short: where the middle is, and how wide they scatter to both sides.
///
/// Values are compared as ratios of `value + apart`: errors far below `apart` count by their difference,
/// those far above by their ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Their median, in the unit of the value.
    pub median: f64,
    /// Their scatter below and above the median, as the logarithm of a ratio, and never less than 0.25:
    /// with few samples it is not well known itself, and must not turn one error into a thousand.
    pub below: f64,
    /// See [`Forecast::below`].
    pub above: f64,
    /// What is added to values before they are compared, in their unit.
    #[serde(default)]
    pub apart: f64,
}

impl Forecast {
    /// The forecast of positive samples (durations, bytes) of which the ratio counts; `None` without
    /// samples.
    ///
    /// The scatter is that between the median and the quantiles 0.16 and 0.84, which are one standard
    /// deviation away if the samples are normal.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        Self::apart(samples, 0.0)
    }

    /// The same where errors below `apart` count by their difference.
    #[must_use]
    pub fn apart(samples: &[f64], apart: f64) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |level| observed(&sorted, Probability::saturating(level)).map(|x| x.max(LEAST));
        let median = at(0.5)?;
        let scatter =
            |low: f64, high: f64| ((high + apart) / (low + apart)).ln().min(CEILING).hypot(FLOOR);
        let (below, above) = (scatter(at(0.16)?, median), scatter(median, at(0.84)?));
        Some(Self { median, below, above, apart })
    }

    /// How far a value lies from the median, in units of the scatter on its side.
    fn score(&self, value: f64) -> f64 {
        let distance = ((value.max(LEAST) + self.apart) / (self.median + self.apart)).ln();
        distance / if distance < 0.0 { self.below } else { self.above }
    }

    /// The value at this distance.
    fn at(&self, score: f64) -> f64 {
        let distance = score * if score < 0.0 { self.below } else { self.above };
        ((self.median + self.apart) * distance.exp() - self.apart).max(0.0)
    }
}

/// A forecast and what then was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was predicted.
    pub forecast: Forecast,
    /// What was measured, in the same unit.
    pub actual: f64,
}

/// How good past predictions of one kind (of downtimes, say) were, and what that means for the next one.
///
/// Samples from replay know how a move depends on the moment at which it starts. They do not know what
/// replay itself gets wrong. So each past outcome is turned into a *score*, the logarithm of actual over
/// median in units of the samples' scatter, and the next value is expected where the scores of the past
/// lie: the interval is shifted where predictions are biased and widened where they are too sure.
///
/// The interval holds the next value with the probability it states if errors come as they came before
/// (the scores are exchangeable), whatever their distribution. As long as there are fewer outcomes than
/// the level needs (39 for an interval of 95 %, 99 for a limit of 99 %), the missing scores are those of
/// a *prior*: normal, as wide as the samples scatter. Twelve scores there are in any case.
///
/// Source: split-conformal prediction with a normalised score, Lei, G'Sell, Rinaldo, Tibshirani and
/// Wasserman, "Distribution-free predictive inference for regression" (2018).
///
/// ```
/// use punctual_model::quantile::{Calibration, Forecast};
/// use punctual_units::Probability;
///
/// // Moves took 20 % longer than predicted, give or take 5 %.
/// let mut calibration = Calibration::default();
/// let forecast = Forecast::of(&[10.0]).unwrap();
/// for n in 0..200 {
///     calibration.push(forecast, 12.0 * (0.95 + 0.1 * f64::from(n % 20) / 19.0));
/// }
/// let next = Forecast::of(&[100.0]).unwrap();
/// let interval = calibration.widen(&next, Probability::saturating(0.95)).unwrap();
/// assert!((113.0..115.0).contains(&interval.low) && (125.0..127.0).contains(&interval.high));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    outcomes: VecDeque<Outcome>,
}

impl Calibration {
    /// Adds an outcome; the oldest is forgotten where there are more than 512. A value that is no number
    /// is left out.
    pub fn push(&mut self, forecast: Forecast, actual: f64) {
        if !actual.is_finite() {
            return;
        }
        if self.outcomes.len() == MOST {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back(Outcome { forecast, actual });
    }

    /// The outcomes, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Outcome> {
        self.outcomes.iter()
    }

    /// The interval in which the next actual value lies with probability `level`, half of the rest on each
    /// side; `None` for a level of 1.
    #[must_use]
    pub fn widen(&self, forecast: &Forecast, level: Probability) -> Option<Interval> {
        let side = Probability::saturating(f64::midpoint(1.0, level.get()));
        let scores = self.scores(side);
        Some(Interval {
            low: forecast.at(lower(&scores, side)?),
            high: forecast.at(upper(&scores, side)?),
        })
    }

    /// The value that the next actual one does not exceed with probability `level`; `None` for a level
    /// of 1.
    #[must_use]
    pub fn at_most(&self, forecast: &Forecast, level: Probability) -> Option<f64> {
        Some(forecast.at(upper(&self.scores(level), level)?))
    }

    /// The value that the next actual one exceeds as often as not.
    #[must_use]
    pub fn median(&self, forecast: &Forecast) -> f64 {
        let scores = self.scores(Probability::saturating(0.5));
        let middle = observed(&scores, Probability::saturating(0.5));
        forecast.at(middle.expect("there are at least those of the prior"))
    }

    /// The probability that the next actual value is at most `limit`, of n scores (k + ½)/(n + 1). At
    /// least 99 scores are looked at, missing ones from the prior.
    #[must_use]
    pub fn probability_of_at_most(&self, forecast: &Forecast, limit: f64) -> Probability {
        let scores = self.scores(Probability::saturating(0.99));
        let within = scores.iter().filter(|score| forecast.at(**score) <= limit).count();
        Probability::saturating((within as f64 + 0.5) / (scores.len() as f64 + 1.0))
    }

    /// The scores of the past, rising, and as many of the prior as `level` needs beside them.
    fn scores(&self, level: Probability) -> Vec<f64> {
        let mut scores: Vec<_> =
            self.outcomes.iter().map(|outcome| outcome.forecast.score(outcome.actual)).collect();
        let needed = needed(level).max(FEWEST);
        let missing = needed.saturating_sub(scores.len());
        scores.extend((0..missing).map(|n| {
            let share = (n as f64 + 0.5) / missing as f64;
            PRIOR * normal::quantile(Probability::saturating(share))
        }));
        scores.sort_by(f64::total_cmp);
        scores
    }
}

/// The fewest samples whose largest one vouches for `level`: level/(1 − level), rounded up. A level that
/// would need more than are ever remembered gets none.
fn needed(level: Probability) -> usize {
    let needed = (level.get() / (1.0 - level.get()) - 1e-9).ceil();
    if needed <= 100_000.0 { needed as usize } else { 0 }
}
