use punctual_units::Probability;

use crate::{Spread, normal};

/// Up to so many uncertain events the distribution of their number is computed exactly.
const EXACT: usize = 2048;

/// The probability that at most `count` of independent events with these probabilities happen.
///
/// Exact (the recursion of the Poisson binomial distribution, O(n²)) for up to 2,048 uncertain events;
/// beyond, the normal distribution of the same mean and variance with a continuity correction of ½.
/// Source: Hong, "On computing the distribution function for the Poisson binomial distribution" (2013).
#[must_use]
pub fn at_most(probabilities: &[f64], count: u64) -> Probability {
    let (certain, uncertain) = split(probabilities);
    let Some(count) = count.checked_sub(certain) else { return Probability::ZERO };
    if uncertain.len() > EXACT {
        return Probability::saturating(approximately(&uncertain, count));
    }
    Probability::saturating(distribution(&uncertain).iter().take(count as usize + 1).sum())
}

/// The smallest number of events that is not exceeded with probability `level`; see [`at_most`].
#[must_use]
pub fn quantile(probabilities: &[f64], level: Probability) -> u64 {
    let (certain, uncertain) = split(probabilities);
    if uncertain.len() > EXACT {
        let spread = Spread::of_events(uncertain.iter().copied());
        let number = spread.mean + normal::quantile(level) * spread.variance.sqrt() - 0.5;
        return certain + (number.ceil().max(0.0) as u64).min(uncertain.len() as u64);
    }
    let mut sum = 0.0;
    let mut count = 0;
    for share in distribution(&uncertain) {
        sum += share;
        // A hair below the level is the level: the sum is rounded.
        if sum >= level.get() - 1e-12 {
            break;
        }
        count += 1;
    }
    certain + count.min(uncertain.len() as u64)
}

/// How many events are certain, and those that are neither certain nor impossible.
fn split(probabilities: &[f64]) -> (u64, Vec<f64>) {
    let certain = probabilities.iter().filter(|p| **p >= 1.0).count() as u64;
    (certain, probabilities.iter().copied().filter(|p| *p > 0.0 && *p < 1.0).collect())
}

/// The probability of each number of events, 0 … n.
fn distribution(probabilities: &[f64]) -> Vec<f64> {
    let mut shares = vec![0.0; probabilities.len() + 1];
    shares[0] = 1.0;
    for (n, p) in probabilities.iter().enumerate() {
        for count in (0..=n).rev() {
            shares[count + 1] += shares[count] * p;
            shares[count] *= 1.0 - p;
        }
    }
    shares
}

fn approximately(probabilities: &[f64], count: u64) -> f64 {
    let spread = Spread::of_events(probabilities.iter().copied());
    if spread.variance <= 0.0 {
        return if count as f64 >= spread.mean { 1.0 } else { 0.0 };
    }
    normal::below((count as f64 + 0.5 - spread.mean) / spread.variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(p: f64) -> Probability {
        Probability::new(p).unwrap()
    }

    #[test]
    fn the_exact_distribution_agrees_with_all_outcomes() {
        let probabilities = [0.1, 0.7, 0.25, 1.0, 0.0, 0.5];
        let mut shares = [0.0; 7];
        for outcome in 0..1u32 << probabilities.len() {
            let happens = |i: usize| outcome >> i & 1 == 1;
            let share: f64 = probabilities
                .iter()
                .enumerate()
                .map(|(i, p)| if happens(i) { *p } else { 1.0 - p })
                .product();
            shares[outcome.count_ones() as usize] += share;
        }
        let mut sum = 0.0;
        for (count, share) in shares.iter().enumerate() {
            sum += share;
            assert!((at_most(&probabilities, count as u64).get() - sum).abs() < 1e-12, "{count}");
        }
    }

    #[test]
    fn the_quantile_is_the_smallest_number_that_is_enough() {
        let probabilities: Vec<_> = (0..60).map(|i| f64::from(i % 10) / 10.0).collect();
        for p in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let most = quantile(&probabilities, level(p));
            assert!(at_most(&probabilities, most).get() >= p - 1e-12, "{p}");
            assert!(most == 0 || at_most(&probabilities, most - 1).get() < p, "{p}");
        }
        assert_eq!(quantile(&[1.0, 1.0, 0.0], level(0.5)), 2);
        assert_eq!(quantile(&[0.5; 9], Probability::ONE), 9);
        assert_eq!(quantile(&[], level(0.99)), 0);
    }

    #[test]
    fn where_the_exact_way_ends_the_normal_one_agrees_with_it() {
        let probabilities: Vec<_> = (0..EXACT).map(|i| 0.02 + 0.1 * (i % 7) as f64).collect();
        let mut longer = probabilities.clone();
        longer.extend(vec![1e-9; 10]);
        for p in [0.01, 0.5, 0.99, 0.999] {
            let exact = quantile(&probabilities, level(p));
            let normal = quantile(&longer, level(p));
            assert!(exact.abs_diff(normal) <= 1, "{p}: {exact} and {normal}");
            let difference = at_most(&probabilities, exact).get() - at_most(&longer, exact).get();
            assert!(difference.abs() < 2e-3, "{p}: {difference}");
        }
    }
}
