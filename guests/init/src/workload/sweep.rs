use std::time::Duration;

use punctual_guest_protocol::control::Failure;

use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// Writes one page after the other, for ever.
pub(super) struct Sweep {
    pages: usize,
    next: usize,
}

impl Sweep {
    pub(super) const fn new(pages: usize) -> Self {
        Self { pages, next: 0 }
    }

    pub(super) fn write(&mut self, set: &mut Set, units: u64) {
        for _ in 0..units {
            set.write(self.next);
            self.next = (self.next + 1) % self.pages;
        }
    }
}

impl Work for Sweep {
    fn work(&mut self, set: &mut Set, units: u64, _: Duration) -> Result<u64, Failure> {
        self.write(set, units);
        Ok(units)
    }

    keeps_nothing_outside_the_set!();
}
