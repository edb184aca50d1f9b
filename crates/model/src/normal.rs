//! The standard normal distribution.

use punctual_units::Probability;

/// Behind this many standard deviations lies less than what an `f64` tells from nothing.
const FARTHEST: f64 = 8.3;

/// The probability of a value of at most `x`.
///
/// Source: the series Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …), Marsaglia, "Evaluating the normal
/// distribution" (2004). Its terms all have one sign, so that nothing cancels.
pub(crate) fn below(x: f64) -> f64 {
    if x.abs() > FARTHEST {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (0.5 + density * sum).clamp(0.0, 1.0)
}

/// The value that is not exceeded with this probability, within ±8.3.
pub(crate) fn quantile(probability: Probability) -> f64 {
    let (mut low, mut high) = (-FARTHEST, FARTHEST);
    while high - low > 1e-12 {
        let middle = f64::midpoint(low, high);
        if below(middle) < probability.get() {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_tables() {
        for (x, p) in [(0.0, 0.5), (1.0, 0.841_344_746_068_5), (-2.0, 0.022_750_131_948_2)] {
            assert!((below(x) - p).abs() < 1e-12, "{x}");
        }
        for (p, x) in [(0.5, 0.0), (0.99, 2.326_347_874_0), (0.025, -1.959_963_984_5)] {
            assert!((quantile(Probability::saturating(p)) - x).abs() < 1e-9, "{p}");
        }
    }

    #[test]
    fn certainty_is_far_but_finite() {
        assert!(quantile(Probability::ONE) > 8.0 && quantile(Probability::ONE).is_finite());
        assert!(quantile(Probability::ZERO) < -8.0);
    }
}
