//! The rule of moves that stop the guest with much still to be moved: all of it, or what copying
//! ahead does not bring down any further.

use std::time::Duration;

use punctual_model::Rounds;

use super::pre_copy::WORTHWHILE;
use super::{Continue, Decision, GiveUp, Outlook, Rule, Stop};

/// So many rounds at most are copied ahead of pages that follow.
pub(super) const MOST_AHEAD: u32 = 8;

impl Rule {
    /// All is copied while the guest is stopped, if that is as short as was asked for.
    pub(super) fn copy_stopped(&self, now: &Outlook<'_>) -> Decision {
        let (mut expected, asked) = (now.now.surely, self.asked);
        let is_met = match self.predicted {
            // What was foreseen knows the pages: how many are empty, and how well they pack.
            Some(predicted) => {
                expected.copy = predicted.saturating_sub(expected.fixed);
                predicted <= asked
            }
            None => now.link_known && self.is_met(&expected),
        };
        if is_met {
            return Decision::Stop(Stop::PromiseMet { expected, asked });
        }
        if self.force {
            return Decision::Stop(Stop::Forced { expected, asked });
        }
        Decision::GiveUp(match now.link_known || self.predicted.is_some() {
            true => GiveUp::TooLong { mode: self.mode, expected: expected.total(), asked },
            false => GiveUp::LinkUnknown,
        })
    }

    /// The guest is stopped and its pages follow, if the rest is as short as was asked for.
    pub(super) fn follow(&self, now: &Outlook<'_>) -> Decision {
        let (expected, asked) = ((now.follow)(), self.asked);
        if self.is_met(&expected) || self.force {
            return Decision::Stop(Stop::Follow { expected, asked });
        }
        Decision::GiveUp(GiveUp::TooLong { mode: self.mode, expected: expected.total(), asked })
    }

    /// Copies for as long as that gains something. If the promise can be kept then, nothing has to
    /// follow; otherwise the rest does.
    pub(super) fn hybrid(&mut self, now: &Outlook<'_>) -> Decision {
        if self.is_met(&now.now.surely) {
            return self.stop_or_shrink(now);
        }
        let behind = now.at.saturating_add(now.next_round.mul_f64(1.25));
        let in_time = !self.must_stop(behind, (now.follow)().total());
        let goes_on = in_time
            && match self.rounds {
                Rounds::Exactly(rounds) => now.round < rounds.get(),
                _ => now.round < MOST_AHEAD && self.gains(now),
            };
        if !goes_on {
            return self.follow(now);
        }
        if self.is_met(&now.settled.surely) {
            return Decision::Settle;
        }
        Decision::Continue(Continue::NotYet)
    }

    /// Whether a further round is expected to leave noticeably less.
    fn gains(&self, now: &Outlook<'_>) -> bool {
        let (before, after) = (now.settled.likely.copy, (now.copy_after)());
        before.saturating_sub(after) >= before.mul_f64(WORTHWHILE).max(Duration::from_micros(1))
    }
}
