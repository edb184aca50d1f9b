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

/// Where waiting for the other host took so many times what it usually takes, ...
const DRAWN_OUT: u32 = 10;
/// ... and at least this, nothing came over the link meanwhile: TCP sends again after 0.2 s, and
/// after twice as long each time (RFC 6298, section 5; Linux's `TCP_RTO_MIN`).
const SILENCE: Duration = Duration::from_millis(400);

/// What interruptions usually take, so that those can be told apart in which the link was down.
///
/// A host that is busy is slow in all that it does. A link that carries nothing for a while shows in
/// what is waited for over it alone: the device state that is loaded at the other host, and the word
/// that the machine runs there. Such an interruption says nothing of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    at_home: Duration,
    over_the_link: Duration,
}

impl Usual {
    /// What three in four of `past` and of the prior took at least: they may be wrong where most of
    /// the past is.
    #[must_use]
    pub fn of(past: &[FixedCost]) -> Self {
        let prior = [FixedCost::default(); PRIOR];
        let lower_quarter = |part: fn(&FixedCost) -> Duration| {
            let mut times: Vec<_> = past.iter().chain(&prior).map(part).collect();
            times.sort_unstable();
            times[times.len() / 4]
        };
        Self { at_home: lower_quarter(at_home), over_the_link: lower_quarter(over_the_link) }
    }

    /// Whether an interruption was drawn out by a link that carried nothing.
    #[must_use]
    pub fn link_was_down(&self, cost: &FixedCost) -> bool {
        let busy = at_home(cost) > self.at_home * DRAWN_OUT;
        !busy && over_the_link(cost) > (self.over_the_link * DRAWN_OUT).max(SILENCE)
    }
}

fn at_home(cost: &FixedCost) -> Duration {
    cost.stop + cost.commit
}

fn over_the_link(cost: &FixedCost) -> Duration {
    cost.device_state + cost.resume
}

/// The fixed part of an interruption: the median of each part over `past` and some of what was `assumed`
/// of handovers of their kind, and what is to be added so that it is not exceeded with the probability
/// `confidence`.
///
/// The addition is that of a gamma distribution with the spread of the past (by its median absolute
/// deviation), or what one in twenty of the past took more, whichever is longer: a few that happened
/// on a busy moment are no rule, and must not make a host refuse what it can do.
#[must_use]
pub fn expected(
    past: &[FixedCost],
    assumed: FixedCost,
    confidence: Probability,
) -> (FixedCost, Duration) {
    let prior = [assumed; PRIOR];
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

    /// An ordinary interruption, drawn out by a link that carried nothing for so long.
    fn cut(silence: Duration) -> FixedCost {
        FixedCost { resume: silence, ..cost(ms(2)) }
    }

    #[test]
    fn a_link_that_was_down_says_nothing_of_the_host() {
        let down = |past: &[FixedCost]| {
            let usual = Usual::of(past);
            past.iter().filter(|cost| usual.link_was_down(cost)).count()
        };
        // Also where nothing else has been seen yet, and where most were cut.
        assert_eq!(down(&[cut(ms(5_000)); 5]), 5);
        let mut past = vec![cost(ms(2)); 8];
        past.extend([cut(ms(3_000)); 12]);
        past.push(FixedCost { device_state: ms(700), ..cost(ms(2)) });
        assert_eq!(down(&past), 13);
        // A busy host is slow in everything, and one that always takes so long is what it is.
        past.push(cost(ms(200)));
        assert_eq!(down(&past), 13);
        assert_eq!(down(&[cut(ms(600)); 12]), 0);
        assert_eq!(down(&[cut(ms(200)); 5]), 0, "no link was down for so short a time");
    }

    #[test]
    fn a_few_are_no_rule_and_a_single_mishap_neither() {
        let sure = Probability::saturating(0.99);
        let expected =
            |past: &[FixedCost], confidence| expected(past, FixedCost::default(), confidence);
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
