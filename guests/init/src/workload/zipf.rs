use std::time::Duration;

use punctual_guest_protocol::control::Failure;

use super::random::Random;
use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// Writes page *i* with a probability proportional to 1 / (*i* + 1).
pub(super) struct Zipf {
    /// Probability that a page up to this one is drawn.
    cumulative: Vec<f64>,
    random: Random,
}

impl Zipf {
    pub(super) fn new(pages: usize, random: Random) -> Self {
        let weight = |page| 1.0 / (page + 1) as f64;
        let total: f64 = (0..pages).map(weight).sum();
        let cumulative = (0..pages)
            .scan(0.0, |sum, page| {
                *sum += weight(page) / total;
                Some(*sum)
            })
            .collect();
        Self { cumulative, random }
    }

    fn draw(&mut self) -> usize {
        let point = self.random.fraction();
        let page = self.cumulative.partition_point(|up_to| *up_to <= point);
        // Rounding may leave the last sum a little below 1.
        page.min(self.cumulative.len() - 1)
    }
}

impl Work for Zipf {
    fn work(&mut self, set: &mut Set, units: u64, _: Duration) -> Result<u64, Failure> {
        for _ in 0..units {
            set.write(self.draw());
        }
        Ok(units)
    }

    keeps_nothing_outside_the_set!();
}

#[cfg(test)]
mod tests {
    use punctual_guest_protocol::Pattern;

    use super::*;

    #[test]
    fn frequencies_fall_as_the_inverse_of_the_rank() {
        let mut zipf = Zipf::new(100, Random::new(Pattern::new(1)));
        let mut seen = [0_u32; 100];
        for _ in 0..100_000 {
            seen[zipf.draw()] += 1;
        }
        // The harmonic number of 100 is 5.187: page 0 is drawn 19,277 times in the mean.
        assert!((18_700..19_900).contains(&seen[0]), "{}", seen[0]);
        assert!((1750..2100).contains(&seen[9]), "{}", seen[9]);
    }
}
