//! How long a guest was slowed down, and what it lost by that.

use std::time::Duration;

use punctual_units::Probability;

use crate::report::Throttled;

/// The account of one move.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slowing {
    /// Since when it has had less than all of its time, and how much of it.
    now: Option<(Duration, Probability)>,
    sum: Option<Throttled>,
}

impl Slowing {
    /// From `at` on the guest has this share of its time.
    pub(crate) fn set(&mut self, at: Duration, share: Probability) {
        self.sum = self.until(at);
        self.now = (share < Probability::ONE).then_some((at, share));
    }

    /// The share of its time that the guest has now; `None`: all of it.
    pub(crate) fn share(&self) -> Option<Probability> {
        self.now.map(|(_, share)| share)
    }

    /// What it came to until `at`; `None` if the guest was never slowed down.
    pub(crate) fn until(&self, at: Duration) -> Option<Throttled> {
        let Some((since, share)) = self.now else { return self.sum };
        let time = at.saturating_sub(since);
        let least = Throttled { share, time: Duration::ZERO, lost: Duration::ZERO };
        let before = self.sum.unwrap_or(least);
        Some(Throttled {
            share: if share < before.share { share } else { before.share },
            time: before.time + time,
            lost: before.lost + time.mul_f64(1.0 - share.get()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_the_share_taken_away_of_each_stretch() {
        let seconds = Duration::from_secs;
        let mut slowing = Slowing::default();
        assert_eq!((slowing.until(seconds(9)), slowing.share()), (None, None));
        slowing.set(seconds(10), Probability::saturating(0.5));
        assert_eq!(slowing.share(), Some(Probability::saturating(0.5)));
        slowing.set(seconds(12), Probability::saturating(0.25));
        slowing.set(seconds(16), Probability::ONE);
        assert_eq!(slowing.share(), None);
        let sum = slowing.until(seconds(100)).unwrap();
        assert_eq!(sum.share, Probability::saturating(0.25));
        assert_eq!((sum.time, sum.lost), (seconds(6), seconds(4)));
    }
}
