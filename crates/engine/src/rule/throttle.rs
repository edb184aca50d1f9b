//! How far the guest is slowed down where the promise is out of reach otherwise.

use std::time::Duration;

use punctual_units::Probability;

use super::pre_copy::PATIENCE;
use super::{Decision, GiveUp, Outlook, Rule};

/// Each step leaves the guest this share of what it had.
const STEP: f64 = 0.7;
/// It is left with no less.
pub(super) const LEAST: f64 = 0.05;
/// A step is given so long, and three rounds, to show what it does.
const EFFECT: Duration = Duration::from_secs(1);
/// At most this share of the time is spent on seeing that the guest has to be slowed down.
const OF_THE_TIME: u32 = 4;

/// What has been done to the guest's processors.
#[derive(Debug, Clone)]
pub(super) struct Slowing {
    /// The share of its time that the guest is left with.
    pub(super) share: f64,
    /// Why they cannot be slowed down.
    refused: Option<String>,
}

impl Default for Slowing {
    fn default() -> Self {
        Self { share: 1.0, refused: None }
    }
}

impl Slowing {
    pub(super) fn patience(&self, within: Duration) -> Duration {
        if self.share < 1.0 { EFFECT } else { PATIENCE.min(within / OF_THE_TIME) }
    }
}

impl Rule {
    /// The guest's processors have this share of their time now.
    pub(crate) fn throttled(&mut self, share: Probability) {
        self.slowing.share = share.get();
    }

    /// They cannot be slowed down, or no further.
    pub(crate) fn not_throttled(&mut self, reason: String) {
        self.slowing = Slowing { share: 1.0, refused: Some(reason) };
    }

    /// Slows the guest down by as little as makes the promise reachable, if anything does.
    pub(super) fn slow_down(&mut self, now: &Outlook<'_>, miss: GiveUp) -> Decision {
        // It takes a round or two to show: in too little time it changes nothing.
        if !matches!(miss, GiveUp::CannotConverge { .. }) {
            return Decision::GiveUp(miss);
        }
        match self.slower(now) {
            Ok(share) => {
                self.note_miss(now, &miss);
                self.slowing.share = share;
                self.best = None;
                Decision::Throttle(Probability::saturating(share))
            }
            Err(_) if self.force => self.forced(now),
            Err(reason) => {
                Decision::GiveUp(GiveUp::NotSlowedEnough { miss: Box::new(miss), reason })
            }
        }
    }

    /// The next share, or why there is none.
    fn slower(&self, now: &Outlook<'_>) -> Result<f64, String> {
        let Slowing { share: present, refused } = &self.slowing;
        if let Some(refused) = refused {
            return Err(refused.clone());
        }
        let fixed = now.settled.surely.fixed;
        if fixed >= self.asked {
            return Err("the interruption is too long without any page".to_owned());
        }
        if *present <= LEAST {
            return Err(format!("it was left {:.0} % of its time", present * 100.0));
        }
        let mut share = *present;
        loop {
            share = (share * STEP).max(LEAST);
            // Once it is slow, what was seen of it says more than what was foreseen.
            let suffices = *present < 1.0 || (now.copy_slowed)(share) <= self.allowed(fixed);
            if suffices || share <= LEAST {
                return Ok(share);
            }
        }
    }
}
