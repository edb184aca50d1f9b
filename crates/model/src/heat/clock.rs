use std::time::Duration;

use super::count::{Count, codes_per_ms};

/// Interval lengths are gathered by octaves of microseconds, up to 2³⁰ µs.
const OCTAVES: usize = 31;
/// Codes of a count that share an entry of the table, 64 to a factor of two.
const SHARED: usize = 16;
/// The points at which the expected count is computed, eight to a factor of two.
const PER_OCTAVE: f64 = 8.0;

/// The intervals of one time scale, with the same decay as the counts of the pages: what a count
/// says about a rate.
///
/// A Poisson writer of rate λ is found in an interval of length L with probability 1 − e^(−λL), so
/// its decayed count C is expected to be G(λ) = Σ w·(1 − e^(−λL)) over all intervals with their
/// decayed weights w. λ is estimated by the inverse of G at C.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    half_life: Duration,
    codes_per_ms: f32,
    lengths: [Lengths; OCTAVES],
    /// λ by code of the count, in steps of [`SHARED`].
    rates: Vec<f32>,
}

/// The intervals of one octave of lengths.
#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    /// How many, decayed.
    weight: f64,
    /// Their sum in seconds, decayed.
    seconds: f64,
}

impl Clock {
    pub(super) fn new(half_life: Duration) -> Self {
        Self {
            half_life,
            codes_per_ms: codes_per_ms(half_life),
            lengths: [Lengths::default(); OCTAVES],
            rates: vec![0.0; usize::from(u16::MAX) / SHARED + 1],
        }
    }

    /// Adds an interval that ends now; returns the decay since the last one ended.
    pub(super) fn advance(&mut self, interval: Duration) -> f64 {
        let decay = (-(interval.as_secs_f64() / self.half_life.as_secs_f64())).exp2();
        for lengths in &mut self.lengths {
            lengths.weight *= decay;
            lengths.seconds *= decay;
        }
        let octave = (interval.as_micros().max(1).ilog2() as usize).min(OCTAVES - 1);
        self.lengths[octave].weight += 1.0;
        self.lengths[octave].seconds += interval.as_secs_f64();
        self.tabulate();
        decay
    }

    /// How many codes a count loses in so many milliseconds.
    pub(super) fn codes(&self, ms: u32) -> f32 {
        ms as f32 * self.codes_per_ms
    }

    /// How much time the count rests on, in seconds.
    pub(super) fn exposure(&self) -> f64 {
        self.lengths.iter().map(|lengths| lengths.seconds).sum()
    }

    /// The rate of a page with this count, in writes a second.
    pub(super) fn rate(&self, count: Count) -> f64 {
        f64::from(self.rates[usize::from(count.code()) / SHARED])
    }

    /// Fills the table: λ = C/ΣwL for small counts, where hardly an interval had two writes; the
    /// inverse of G above; and the rate of [`Clock::highest`] for counts that no rate explains.
    fn tabulate(&mut self) {
        let lengths: Vec<_> =
            self.lengths.iter().copied().filter(|lengths| lengths.weight > 0.0).collect();
        let exposure = self.exposure();
        let intervals: f64 = lengths.iter().map(|lengths| lengths.weight).sum();
        let expected = |rate: f64| -> f64 {
            let missed = |l: &Lengths| l.weight * (-rate * l.seconds / l.weight).exp_m1();
            -lengths.iter().map(missed).sum::<f64>()
        };
        // Half an interval is held to have missed it, so that the estimate stays finite and honest.
        let most = (intervals - 0.5).max(intervals / 2.0);
        let longest = lengths.iter().map(|l| l.seconds / l.weight).fold(0.0, f64::max);
        let (mut below, mut above) = (Point::default(), Point::at(1e-3 / longest, expected));
        for (index, entry) in self.rates.iter_mut().enumerate() {
            let middle = (index * SHARED + SHARED / 2) as u16;
            let count = Count::from_code(middle).get().min(most);
            while above.count < count && above.rate < 1e7 {
                below = above;
                above = Point::at(above.rate * (1.0 / PER_OCTAVE).exp2(), expected);
            }
            *entry = match below.rate {
                0.0 => count / exposure,
                _ => below.towards(above, count),
            } as f32;
        }
        self.rates[0] = 0.0;
    }
}

/// A rate and the count expected at it.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    rate: f64,
    count: f64,
}

impl Point {
    fn at(rate: f64, expected: impl Fn(f64) -> f64) -> Self {
        Self { rate, count: expected(rate) }
    }

    /// The rate at a count between two points.
    fn towards(self, other: Self, count: f64) -> f64 {
        let share = (count - self.count) / (other.count - self.count).max(f64::MIN_POSITIVE);
        self.rate * (other.rate / self.rate).powf(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: f64) -> Count {
        let mut best = Count::from_code(1);
        for code in 1..u16::MAX {
            let candidate = Count::from_code(code);
            if (candidate.get() - number).abs() < (best.get() - number).abs() {
                best = candidate;
            }
        }
        best
    }

    #[test]
    fn a_count_is_turned_back_into_the_rate_that_made_it() {
        let mut clock = Clock::new(Duration::from_secs(24));
        let lengths = [5, 200, 10, 400, 20, 200, 7, 200];
        for _ in 0..100 {
            lengths.iter().for_each(|ms| _ = clock.advance(Duration::from_millis(*ms)));
        }
        for rate in [1e-4, 0.02, 0.5, 3.0, 20.0, 100.0] {
            let mut expected = 0.0;
            for _ in 0..100 {
                for ms in lengths {
                    let seconds = ms as f64 / 1000.0;
                    expected *= (-seconds / 24.0).exp2();
                    expected -= (-rate * seconds).exp_m1();
                }
            }
            let estimate = clock.rate(count(expected));
            assert!((estimate / rate - 1.0).abs() < 0.03, "{rate}: {estimate}");
        }
    }

    #[test]
    fn a_page_of_every_interval_gets_the_rate_they_can_vouch_for() {
        let mut clock = Clock::new(Duration::from_secs(1));
        clock.advance(Duration::from_millis(200));
        // One interval: at least an even chance of a write in it.
        let once = clock.rate(count(1.0));
        assert!((once / (2f64.ln() / 0.2) - 1.0).abs() < 0.03, "{once}");
        (0..50).for_each(|_| _ = clock.advance(Duration::from_millis(10)));
        assert!(clock.rate(count(51.0)) > 5.0 * once);
    }
}
