use punctual_units::Probability;
use serde::{Deserialize, Serialize};

use crate::normal;

/// A number that is not known exactly (of pages, as a rule): its mean and its variance.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// What is expected.
    pub mean: f64,
    /// The expected square of the distance from the mean.
    pub variance: f64,
}

impl Spread {
    /// A number that is known.
    #[must_use]
    pub const fn exactly(number: f64) -> Self {
        Self { mean: number, variance: 0.0 }
    }

    /// How many of independent events happen: mean Σp, variance Σp(1−p).
    #[must_use]
    pub fn of_events(probabilities: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = Self::default();
        for p in probabilities {
            sum.mean += p;
            sum.variance += p * (1.0 - p);
        }
        sum
    }

    /// The sum of two numbers that do not depend on each other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { mean: self.mean + other.mean, variance: self.variance + other.variance }
    }

    /// The number that is not exceeded with this probability; never negative.
    ///
    /// The number is taken to follow a gamma distribution of this mean and variance: it is normal
    /// where the spread is small, and leans to the right as bursts do where it is large. Source:
    /// Wilson and Hilferty, "The distribution of chi-square" (1931), for its quantiles.
    ///
    /// ```
    /// use punctual_model::Spread;
    /// use punctual_units::Probability;
    ///
    /// let written = Spread { mean: 400.0, variance: 100.0 };
    /// let most = written.quantile(Probability::saturating(0.99));
    /// assert!((423.0..425.0).contains(&most));
    /// ```
    #[must_use]
    pub fn quantile(&self, probability: Probability) -> f64 {
        if self.variance <= 0.0 || self.mean <= 0.0 {
            return self.mean.max(0.0);
        }
        let shape = self.mean * self.mean / self.variance;
        let z = normal::quantile(probability);
        let root = 1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt());
        self.mean * root.max(0.0).powi(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(p: f64) -> Probability {
        Probability::new(p).unwrap()
    }

    #[test]
    fn what_is_certain_does_not_spread() {
        assert_eq!(Spread::exactly(7.0).quantile(at(0.999)), 7.0);
        assert_eq!(Spread::of_events([1.0, 1.0, 0.0]), Spread::exactly(2.0));
    }

    #[test]
    fn a_wide_spread_leans_to_the_right_and_is_never_negative() {
        // An exponential distribution: mean 1, variance 1; its quantiles are −ln(1−p).
        let spread = Spread { mean: 1.0, variance: 1.0 };
        for p in [0.5, 0.9, 0.99] {
            let exact = -(1.0_f64 - p).ln();
            assert!((spread.quantile(at(p)) / exact - 1.0).abs() < 0.05, "{p}");
        }
        assert!(spread.quantile(at(0.001)) >= 0.0);
    }
}
