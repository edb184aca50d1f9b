use std::time::Duration;

use punctual_guest_protocol::control::Failure;

use super::random::Random;
use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// Writes pages drawn uniformly from the set.
pub(super) struct Uniform {
    pub(super) pages: usize,
    pub(super) random: Random,
}

impl Work for Uniform {
    fn work(&mut self, set: &mut Set, units: u64, _: Duration) -> Result<u64, Failure> {
        for _ in 0..units {
            set.write(self.random.below(self.pages));
        }
        Ok(units)
    }

    keeps_nothing_outside_the_set!();
}
