//! Choices that look random and come from the seed.

use punctual_guest_protocol::Pattern;

/// A sequence of choices.
#[derive(Clone, Debug)]
pub(super) struct Random {
    pattern: Pattern,
    next: u64,
}

impl Random {
    pub(super) const fn new(pattern: Pattern) -> Self {
        Self { pattern, next: 0 }
    }

    pub(super) fn word(&mut self) -> u64 {
        self.next += 1;
        self.pattern.word(self.next)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.word()) * bound as u128) >> 64) as usize
    }

    /// A number from 0 up to, but not including, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_stay_below_the_bound_and_reach_all() {
        let mut random = Random::new(Pattern::new(1));
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[random.below(7)] += 1;
            assert!((0.0..1.0).contains(&random.fraction()));
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
