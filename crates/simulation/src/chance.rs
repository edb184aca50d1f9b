//! Chance that is the same for the same seed.

use std::ops::Range;
use std::time::Duration;

/// What a seed draws by lot, of which cases are made: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Draws what this seed draws.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number of the range, which is not empty.
    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// A time of the range, which is given in milliseconds and not empty, to the microsecond.
    pub fn time(&mut self, milliseconds: Range<u64>) -> Duration {
        let Range { start, end } = milliseconds;
        Duration::from_micros(self.within(start * 1000..end * 1000))
    }

    /// Whether it comes to the one of so many cases; `cases` is not 0.
    pub fn one_in(&mut self, cases: u64) -> bool {
        self.number().is_multiple_of(cases)
    }

    /// One of these, of which there is one at least.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.within(0..choices.len() as u64) as usize]
    }
}
