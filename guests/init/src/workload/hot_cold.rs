use std::time::Duration;

use punctual_guest_protocol::control::Failure;

use super::random::Random;
use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// Sends nine writes in ten to the first tenth of the set, the others to the rest.
pub(super) struct HotCold {
    pub(super) pages: usize,
    pub(super) random: Random,
}

impl HotCold {
    fn draw(&mut self) -> usize {
        let hot = self.pages.div_ceil(10);
        if self.random.below(10) < 9 {
            self.random.below(hot)
        } else {
            hot + self.random.below(self.pages - hot)
        }
    }
}

impl Work for HotCold {
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
    fn nine_in_ten_are_hot() {
        let mut workload = HotCold { pages: 1000, random: Random::new(Pattern::new(1)) };
        let hot = (0..10_000).filter(|_| workload.draw() < 100).count();
        assert!((8800..9200).contains(&hot), "{hot}");
        let mut smallest = HotCold { pages: 2, random: Random::new(Pattern::new(1)) };
        assert!((0..100).all(|_| smallest.draw() < 2));
    }
}
