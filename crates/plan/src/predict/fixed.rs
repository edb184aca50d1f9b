//! The part of an interruption that does not depend on pages, by what past ones took.

use std::time::Duration;

use punctual_engine::FixedCost;
use punctual_model::{Spread, quantile};
use punctual_units::Probability;

/// As how many past interruptions the prior counts: one or two that happened on a busy moment do
/// not make a host refuse what it can do.
const PRIOR: usize = 3;
/// Fewer past interruptions than this are no rule.
const RULE: usize = 4;
/// The spread before there is a rule, as a share of the median.
const ASSUMED_SPREAD: f64 = 0.25;
/// From so many past interruptions on their own upper end counts as well, ...
const MANY: usize = 20;
/// ... which so many of a hundred do not exceed.
const UPPER_END: f64 = 0.95;

/// The fixed part of an interruption: the median of each part over `past` and the prior, and what
/// is to be added so that it is not exceeded with the probability `confidence`.
///
/// The addition is that of a gamma distribution with the spread of the past (by its median absolute
/// deviation), or what one in twenty of the past took more, whichever is longer: a few that happened
/// on a busy moment are no rule, and must not make a host refuse what it can do.
#[must_use]
pub fn expected(past: &[FixedCost], confidence: Probability) -> (FixedCost, Duration) {
    let prior = [FixedCost::default(); PRIOR];
    let median = |part: fn(&FixedCost) -> Duration| {
        let mut times: Vec<_> = past.iter().chain(&prior).map(part).collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let fixed = FixedCost {
        stop: median(|cost| cost.stop),
        device_state: median(|cost| cost.device_state),
        commit: median(|cost| cost.commit),
        resume: median(|cost| cost.resume),
    };
    let middle = fixed.sum().as_secs_f64();
    let mut sums: Vec<_> = past.iter().map(|cost| cost.sum().as_secs_f64()).collect();
    sums.sort_by(f64::total_cmp);
    let (deviation, seen) = match sums.as_slice() {
        few if few.len() < RULE => (middle * ASSUMED_SPREAD, 0.0),
        sums if sums.len() < MANY => (quantile::deviation(sums), 0.0),
        sums => {
            let level = confidence.get().min(UPPER_END);
            let upper_end = quantile::observed(sums, Probability::saturating(level));
            (quantile::deviation(sums), upper_end.unwrap_or_default())
        }
    };
    let likely = Spread { mean: middle, variance: deviation * deviation };
    let most = likely.quantile(confidence).max(seen);
    (fixed, Duration::from_secs_f64((most - middle).max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn cost(step: Duration) -> FixedCost {
        FixedCost { stop: step * 4, device_state: step * 4, commit: step, resume: step * 3 }
    }

    #[test]
    fn a_few_are_no_rule_and_a_single_mishap_neither() {
        let sure = Probability::saturating(0.99);
        let (fixed, spread) = expected(&[], sure);
        assert_eq!(fixed, FixedCost::default());
        assert!((ms(5)..ms(15)).contains(&spread), "{spread:?}");
        let mut past = vec![cost(ms(100))];
        assert_eq!(expected(&past, sure), (fixed, spread), "one is no rule");
        past.extend([cost(ms(1)); 10]);
        past.push(cost(ms(100)));
        assert!(expected(&past, sure).1 < ms(15), "two of twelve happened on a busy moment");

        past.extend((0..20).map(|step| cost(ms(2) + ms(step) / 20)));
        let (fixed, spread) = expected(&past, sure);
        assert!((ms(24)..ms(36)).contains(&fixed.sum()), "{fixed:?}");
        assert!(expected(&past, Probability::saturating(0.5)).1 < spread);
        assert!(spread > ms(300), "two of 32 are: {spread:?}");
    }
}
