//! The rule of a move that copies until the promise can be kept.

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_model::{OnMiss, Rounds};

use super::{Continue, Decision, GiveUp, Outlook, Rule, Stop};

/// Another round is worth its time if it is expected to shrink what is left by this share ...
pub(super) const WORTHWHILE: f64 = 0.2;
/// ... and the interruption by at least this.
const NOTICEABLE: Duration = Duration::from_micros(500);
/// So many rounds may be spent on making an interruption shorter that already meets the promise.
pub(super) const MOST_EXTRA: u32 = 3;
/// Copying goes on so long without coming nearer to the promise before it is asked whether that
/// will ever change.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The same of a machine that is moved in any case and cannot come within what was asked.
const LITTLE_PATIENCE: Duration = Duration::from_millis(100);
/// So long without headway is nothing unusual: rounds go on without a pause.
pub(super) const HASTE: Duration = Duration::from_secs(3);
/// An estimate that is better by less than this share is no headway.
const HEADWAY: f64 = 0.05;

impl Rule {
    /// Decides at the end of a round of copying, with the guest running.
    pub(super) fn pre_copy(&mut self, now: &Outlook<'_>) -> Decision {
        if !self.force && now.at.saturating_add(self.asked) > self.within {
            return Decision::GiveUp(self.deadline_passed(now.settled.surely.total()));
        }
        if let Rounds::Exactly(rounds) = self.rounds {
            return self.count(now, rounds);
        }
        if let Some(decision) = self.as_the_field(now) {
            return decision;
        }
        if self.is_met(&now.now.surely) {
            return self.stop_or_shrink(now);
        }
        if self.is_last_moment(now) {
            let late = || self.deadline_passed(now.settled.surely.total());
            return if self.force { self.forced(now) } else { Decision::GiveUp(late()) };
        }
        let headway = match self.hopeless(now) {
            Err(reason) => return Decision::GiveUp(reason),
            Ok(Headway::Lacking) => return self.forced(now),
            Ok(headway) => headway,
        };
        if self.is_met(&now.settled.surely) {
            return Decision::Settle;
        }
        Decision::Continue(match headway {
            Headway::Lull(wait) => Continue::LullForeseen { wait },
            Headway::Awaited => Continue::NothingGained,
            Headway::Made | Headway::Lacking => Continue::NotYet,
        })
    }

    /// Stops behind a number of rounds, whatever is left.
    fn count(&self, now: &Outlook<'_>, rounds: NonZeroU32) -> Decision {
        if now.round < rounds.get() {
            return Decision::Continue(Continue::NotYet);
        }
        let expected = now.now.likely;
        Decision::Stop(Stop::RoundsDone { rounds, expected, asked: self.asked })
    }

    pub(super) fn stop_or_shrink(&mut self, now: &Outlook<'_>) -> Decision {
        // Twice, since a round may take longer than expected.
        let in_time = now.at.saturating_add(now.next_round.saturating_mul(2)) + self.asked;
        // With direct I/O a round adds to what has to be sent again: it makes nothing shorter.
        let adds = now.now != now.settled;
        if self.extra < MOST_EXTRA && in_time < self.within && !adds {
            let (before, after) = (now.now.likely.copy, (now.copy_after)());
            let gain = before.saturating_sub(after);
            if gain >= NOTICEABLE && gain >= before.mul_f64(WORTHWHILE) {
                self.extra += 1;
                return Decision::Continue(Continue::ShrinksFurther { gain });
            }
        }
        Decision::Stop(Stop::PromiseMet { expected: now.now.surely, asked: self.asked })
    }

    /// Whether another round would be one too many for a machine that is moved in any case.
    fn is_last_moment(&self, now: &Outlook<'_>) -> bool {
        let behind_it = now.at.saturating_add(now.next_round.mul_f64(1.25));
        let stopped = match self.may_follow() {
            true => (now.follow)(),
            false => now.settled.likely,
        };
        self.must_stop(behind_it, stopped.total())
    }

    /// Whether copying on leads to anything.
    fn hopeless(&mut self, now: &Outlook<'_>) -> Result<Headway, GiveUp> {
        // What could be promised: a guess that no promise is made by is no headway.
        let expected = now.settled.surely.total();
        let left = self.within.saturating_sub(now.at);
        if !self.force && now.next_round > left.saturating_add(self.asked) {
            return Err(GiveUp::TooLittleTime { next_round: now.next_round, left });
        }
        let Some((best, since)) = self.best else {
            self.best = Some((expected, now.at));
            return Ok(Headway::Made);
        };
        if expected.as_secs_f64() <= best.as_secs_f64() * (1.0 - HEADWAY) {
            self.best = Some((expected, now.at));
            return Ok(Headway::Made);
        }
        let without_headway = now.at.saturating_sub(since);
        // Nothing makes up for a fixed part that is too long alone.
        let in_reach = now.settled.surely.fixed < self.asked;
        let patience = if in_reach { self.patience() } else { LITTLE_PATIENCE };
        if without_headway < patience.max(now.next_round.saturating_mul(3)) {
            let early = without_headway < HASTE && in_reach;
            return Ok(if early { Headway::Made } else { Headway::Awaited });
        }
        if let Some(wait) = (now.lull)(left).filter(|_| in_reach) {
            return Ok(Headway::Lull(wait));
        }
        if self.force && self.on_miss != OnMiss::Throttle {
            // It comes and goes: stop when it is about as good as it was at best.
            let good = expected.as_secs_f64() <= best.as_secs_f64() * (1.0 + 2.0 * HEADWAY);
            return Ok(if good { Headway::Lacking } else { Headway::Awaited });
        }
        let asked = self.asked;
        Err(GiveUp::CannotConverge { best: best.min(expected), asked, without_headway, left })
    }

    /// How long nothing may be gained. What is done on a miss needs time of its own.
    fn patience(&self) -> Duration {
        match self.on_miss {
            OnMiss::Throttle => self.slowing.patience(self.within),
            _ => PATIENCE,
        }
    }
}

/// Whether copying comes nearer to the promise.
enum Headway {
    /// It does, or did lately.
    Made,
    /// It does not lately, and it is too early to tell.
    Awaited,
    /// It does not, but the guest will write less after this time.
    Lull(Duration),
    /// It does not, and will not.
    Lacking,
}
