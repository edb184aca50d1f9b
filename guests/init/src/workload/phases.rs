use std::time::Duration;

use punctual_guest_protocol::control::Failure;

use super::random::Random;
use super::{Work, keeps_nothing_outside_the_set};
use crate::memory::Set;

/// How long each phase lasts.
const LENGTH: Duration = Duration::from_secs(3);

/// Which eighths of the set a phase writes to, and at how many quarters of the rate.
struct Phase {
    eighths: (usize, usize),
    quarters: u64,
}

/// Four phases that come again and again: a small set at the full rate, another, larger one at a
/// quarter of it, all at twice the rate, and rest.
const PHASES: [Phase; 4] = [
    Phase { eighths: (0, 1), quarters: 4 },
    Phase { eighths: (4, 8), quarters: 1 },
    Phase { eighths: (0, 8), quarters: 8 },
    Phase { eighths: (0, 0), quarters: 0 },
];

/// Changes what it writes to, and how fast, every few seconds.
pub(super) struct Phases {
    pages: usize,
    random: Random,
    /// When the first phase began.
    start: Option<Duration>,
    /// Quarters of a unit that are due beyond what was done.
    remainder: u64,
}

impl Phases {
    pub(super) const fn new(pages: usize, random: Random) -> Self {
        Self { pages, random, start: None, remainder: 0 }
    }

    fn phase(&mut self, now: Duration) -> &'static Phase {
        let start = *self.start.get_or_insert(now);
        let number = now.saturating_sub(start).as_millis() / LENGTH.as_millis();
        &PHASES[(number % PHASES.len() as u128) as usize]
    }
}

impl Work for Phases {
    fn work(&mut self, set: &mut Set, units: u64, now: Duration) -> Result<u64, Failure> {
        let phase = self.phase(now);
        let quarters = units * phase.quarters + self.remainder;
        self.remainder = quarters % 4;
        let first = self.pages * phase.eighths.0 / 8;
        let count = self.pages * phase.eighths.1 / 8 - first;
        if count == 0 {
            return Ok(0);
        }
        for _ in 0..quarters / 4 {
            set.write(first + self.random.below(count));
        }
        Ok(quarters / 4)
    }

    keeps_nothing_outside_the_set!();
}

#[cfg(test)]
mod tests {
    use punctual_guest_protocol::Pattern;

    use super::*;

    #[test]
    fn rates_follow_the_phases() {
        let mut set = Set::new(64 << 12, Pattern::new(1)).unwrap();
        let mut phases = Phases::new(64, Random::new(Pattern::new(2)));
        let mut done = |second| phases.work(&mut set, 1000, Duration::from_secs(second)).unwrap();
        assert_eq!(done(100), 1000);
        assert_eq!(done(104), 250);
        assert_eq!(done(107), 2000);
        assert_eq!(done(110), 0);
        assert_eq!(done(112), 1000);
    }
}
