//! From samples and past errors to numbers that hold as often as they say.
//!
//! A quantile of n samples is itself uncertain. The numbers of this module keep their word all the same
//! (*conformal* prediction): if the next value is exchangeable with the n samples, then it is at most the
//! sample of rank ⌈(n + 1)·level⌉ with a probability of at least `level`, whatever the distribution.
//! Source: Vovk, Gammerman and Shafer, "Algorithmic learning in a random world" (2005).

mod calibration;
#[cfg(test)]
mod tests;

pub use calibration::{Calibration, Forecast, Interval, Outcome};

use punctual_units::Probability;

/// The value that the next one does not exceed with a probability of at least `level`: the sample of rank
/// ⌈(n + 1)·level⌉. `None` if there are too few samples to say so (fewer than level/(1 − level)).
///
/// `sorted` rises.
///
/// ```
/// use punctual_model::quantile;
/// use punctual_units::Probability;
///
/// let downtimes = [11.0, 12.0, 13.0, 17.0];
/// assert_eq!(quantile::upper(&downtimes, Probability::saturating(0.8)), Some(17.0));
/// assert_eq!(quantile::upper(&downtimes, Probability::saturating(0.99)), None);
/// ```
#[must_use]
pub fn upper(sorted: &[f64], level: Probability) -> Option<f64> {
    let rank = rank(sorted.len(), level).max(1);
    sorted.get(rank - 1).copied()
}

/// The value below which the next one lies with a probability of at most 1 − `level`: the mirror image of
/// [`upper`].
#[must_use]
pub fn lower(sorted: &[f64], level: Probability) -> Option<f64> {
    let rank = rank(sorted.len(), level).max(1);
    sorted.len().checked_sub(rank).map(|at| sorted[at])
}

/// The quantile of the samples themselves, linear between neighbours; `None` without samples. It describes
/// what was seen, and promises nothing of what comes. Source: Hyndman and Fan, "Sample quantiles in
/// statistical packages" (1996), type 7.
///
/// `sorted` rises.
#[must_use]
pub fn observed(sorted: &[f64], level: Probability) -> Option<f64> {
    let place = sorted.len().checked_sub(1)? as f64 * level.get();
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// A standard deviation that does not mind outliers: 1.4826 times the median absolute deviation, which is
/// the standard deviation of a normal distribution. In the unit of the samples; 0 without any.
///
/// `sorted` rises.
#[must_use]
pub fn deviation(sorted: &[f64]) -> f64 {
    let Some(median) = sorted.get(sorted.len() / 2) else { return 0.0 };
    let mut distances: Vec<_> = sorted.iter().map(|value| (value - median).abs()).collect();
    distances.sort_by(f64::total_cmp);
    1.4826 * distances[distances.len() / 2]
}

/// ⌈(n + 1)·level⌉; a hair above a whole number is that number: the product is rounded.
fn rank(samples: usize, level: Probability) -> usize {
    ((samples as f64 + 1.0) * level.get() - 1e-9).ceil() as usize
}
