//! From samples and past errors to numbers that hold as often as they say.

use std::collections::VecDeque;

use punctual_units::Probability;
use serde::{Deserialize, Serialize};

/// The sample of finite-sample rank ⌈(n+1)·level⌉, the largest where there are too few.
#[must_use]
pub fn upper(sorted: &[f64], level: Probability) -> Option<f64> {
    let rank = ((sorted.len() as f64 + 1.0) * level.get()).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// A range of values, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Past predictions and what really came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    past: VecDeque<Outcome>,
}

/// A predicted median and what really came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was predicted.
    pub predicted: f64,
    /// What was measured.
    pub actual: f64,
}

impl Calibration {
    /// Adds an outcome; the oldest is forgotten where there are too many.
    pub fn push(&mut self, outcome: Outcome) {
        if self.past.len() == 256 {
            self.past.pop_front();
        }
        self.past.push_back(outcome);
    }

    /// How many outcomes are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.past.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    /// The interval that holds the next actual value with probability `level`; `None` without samples.
    #[must_use]
    pub fn widen(&self, samples: &[f64], level: Probability) -> Option<Interval> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let tail = (1.0 - level.get()) / 2.0;
        Some(Interval {
            low: upper(&sorted, Probability::saturating(tail))?,
            high: upper(&sorted, Probability::saturating(1.0 - tail))?,
        })
    }

    /// The value that is not exceeded with probability `level`; `None` without samples.
    #[must_use]
    pub fn at_most(&self, samples: &[f64], level: Probability) -> Option<f64> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        upper(&sorted, level)
    }
}
