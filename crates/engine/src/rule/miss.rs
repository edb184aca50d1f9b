//! What is done where the promise turns out to be unreachable.

use punctual_model::OnMiss;

use super::{Decision, GiveUp, Outlook, Rule, Stop};
use crate::report::Missed;

impl Rule {
    /// The promise cannot be kept, for this `reason`: does what was asked for in that case.
    pub(super) fn miss(&mut self, now: &Outlook<'_>, reason: GiveUp) -> Decision {
        match self.on_miss {
            OnMiss::Cancel => Decision::GiveUp(reason),
            OnMiss::Throttle => self.slow_down(now, reason),
            OnMiss::Extend => {
                self.note_miss(now, &reason);
                self.within = self.within.saturating_mul(2);
                self.force = true;
                self.pre_copy(now)
            }
            OnMiss::PostCopy => {
                self.note_miss(now, &reason);
                self.stop_somehow(now)
            }
        }
    }

    /// Stops the guest, whatever is left; it follows, unless the promise has come into reach.
    pub(super) fn stop_somehow(&self, now: &Outlook<'_>) -> Decision {
        let (expected, asked) = (now.now.surely, self.asked);
        Decision::Stop(match self.is_met(&expected) {
            true => Stop::PromiseMet { expected, asked },
            false => Stop::Follow { expected: (now.follow)(), asked },
        })
    }

    /// The first miss is the one that counts.
    pub(super) fn note_miss(&mut self, now: &Outlook<'_>, reason: &GiveUp) {
        self.missed.get_or_insert_with(|| Missed {
            at: now.at,
            why: reason.to_string(),
            did: self.on_miss,
        });
    }
}
