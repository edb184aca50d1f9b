use std::sync::OnceLock;
use std::time::Duration;

use super::count::{Count, codes_per_ms};

/// Interval lengths are gathered by octaves of microseconds, up to 2³⁰ µs.
const OCTAVES: usize = 31;
/// Codes of a count that share an entry of the table, 64 to a factor of two.
const SHARED: usize = 16;
/// The points at which the expected count is computed, eight to a factor of two.
const PER_OCTAVE: f64 = 8.0;

/// Intervals that differ by less than this share are as good as the same.
const UNCHANGED: f64 = 0.03;

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
    /// The sum of all lengths.
    exposure: f64,
    /// The sum of the squares of all weights.
    squares: f64,
    /// By code of the count, in steps of [`SHARED`]; made when it is first asked for.
    rates: OnceLock<Vec<Rate>>,
    /// The intervals when the table was last given up.
    tabulated: [Lengths; OCTAVES],
}

/// The intervals of one octave of lengths.
#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    /// How many, decayed.
    weight: f64,
    /// Their sum in seconds, decayed.
    seconds: f64,
}

/// What a count says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// λ, in writes a second.
    pub(super) per_second: f32,
    /// Its natural logarithm.
    pub(super) ln: f32,
    /// So many seconds in which each write is seen would say as much about λ as the intervals do. An
    /// interval in which a page is sure to be written says nothing.
    pub(super) seconds: f32,
}

impl Rate {
    fn new(per_second: f64, seconds: f64) -> Self {
        Self { per_second: per_second as f32, ln: per_second.ln() as f32, seconds: seconds as f32 }
    }
}

impl Clock {
    pub(super) fn new(half_life: Duration) -> Self {
        Self {
            half_life,
            codes_per_ms: codes_per_ms(half_life),
            lengths: [Lengths::default(); OCTAVES],
            exposure: 0.0,
            squares: 0.0,
            rates: OnceLock::new(),
            tabulated: [Lengths::default(); OCTAVES],
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
        self.squares = self.squares * decay * decay + 1.0;
        self.exposure = self.lengths.iter().map(|lengths| lengths.seconds).sum();
        if self.has_changed() {
            self.rates.take();
            self.tabulated = self.lengths;
        }
        decay
    }

    /// Whether the intervals have changed by so much that the table no longer says what they do. It
    /// takes half a millisecond to make, and equal intervals soon follow one another for long.
    fn has_changed(&self) -> bool {
        let pairs = || self.lengths.iter().zip(&self.tabulated);
        let weight: f64 = pairs().map(|(now, then)| (now.weight - then.weight).abs()).sum();
        let seconds: f64 = pairs().map(|(now, then)| (now.seconds - then.seconds).abs()).sum();
        let whole: f64 = self.lengths.iter().map(|lengths| lengths.weight).sum();
        weight > UNCHANGED * whole || seconds > UNCHANGED * self.exposure
    }

    /// How many codes a count loses in so many milliseconds.
    pub(super) fn codes(&self, ms: u32) -> f32 {
        ms as f32 * self.codes_per_ms
    }

    /// How much time the count rests on, in seconds.
    pub(super) fn exposure(&self) -> f64 {
        self.exposure
    }

    /// The rate of a page with this count.
    pub(super) fn rate(&self, count: Count) -> Rate {
        self.rates.get_or_init(|| self.tabulate())[usize::from(count.code()) / SHARED]
    }

    /// The table: λ = C/ΣwL for small counts, where hardly an interval had two writes; the
    /// inverse of G above; and the highest rate that can be vouched for where no rate explains the count.
    fn tabulate(&self) -> Vec<Rate> {
        let mut rates = vec![Rate::new(0.0, 0.0); usize::from(u16::MAX) / SHARED + 1];
        if self.exposure <= 0.0 {
            return rates;
        }
        let lengths: Vec<_> =
            self.lengths.iter().copied().filter(|lengths| lengths.weight > 0.0).collect();
        let intervals: f64 = lengths.iter().map(|lengths| lengths.weight).sum();
        let at = |rate: f64| Point::at(rate, &lengths);
        // The inverse of G is convex: counts that scatter around their mean would be turned into rates
        // that are too high on average. To first order what is too much is half a count's variance
        // over its mean missed part; and a page found in all intervals stays finite.
        let unbiased = 1.0 - self.squares / (2.0 * intervals * intervals);
        let longest = lengths.iter().map(|l| l.seconds / l.weight).fold(0.0, f64::max);
        let (mut below, mut above) = (Point::default(), at(1e-3 / longest));
        for (index, entry) in rates.iter_mut().enumerate() {
            let middle = (index * SHARED + SHARED / 2) as u16;
            let count = Count::from_code(middle).get().min(intervals) * unbiased;
            while above.count < count && above.rate < 1e7 {
                below = above;
                above = at(above.rate * (1.0 / PER_OCTAVE).exp2());
            }
            *entry = match below.rate {
                0.0 => Rate::new(count / self.exposure, self.exposure),
                _ => Rate::new(below.towards(above, count), below.seconds),
            };
        }
        rates[0] = Rate::new(0.0, self.exposure);
        rates
    }
}

/// A rate and the count expected at it.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    rate: f64,
    count: f64,
    seconds: f64,
}

impl Point {
    /// The seconds are λ·Σ w·L²/(e^(λL) − 1), Fisher's information about λ in the intervals in units
    /// of that in a second of watching each write, 1/λ.
    fn at(rate: f64, lengths: &[Lengths]) -> Self {
        let (mut count, mut seconds) = (0.0, 0.0);
        for lengths in lengths {
            let length = lengths.seconds / lengths.weight;
            count -= lengths.weight * (-rate * length).exp_m1();
            seconds += lengths.weight * rate * length * length / (rate * length).exp_m1();
        }
        Self { rate, count, seconds }
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
            let estimate = f64::from(clock.rate(count(expected)).per_second);
            assert!((estimate / rate - 1.0).abs() < 0.03, "{rate}: {estimate}");
        }
    }

    #[test]
    fn a_page_of_every_interval_gets_the_rate_they_can_vouch_for() {
        let mut clock = Clock::new(Duration::from_secs(1));
        clock.advance(Duration::from_millis(200));
        // One interval: at least an even chance of a write in it.
        let once = f64::from(clock.rate(count(1.0)).per_second);
        assert!((once / (2f64.ln() / 0.2) - 1.0).abs() < 0.03, "{once}");
        (0..50).for_each(|_| _ = clock.advance(Duration::from_millis(10)));
        assert!(f64::from(clock.rate(count(51.0)).per_second) > 5.0 * once);
    }
}
