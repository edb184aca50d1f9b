//! When to stop the guest, when to go on copying, and when to give up. Each decision says why.

mod reasons;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::time::Duration;

use punctual_model::Rounds;

pub(crate) use reasons::Shown;
pub use reasons::{Continue, Decision, Expected, GiveUp, Stop};

/// Of the time that the fixed part leaves, the copy may take so much by its estimate: the rest is
/// for what a link and an encoder do unforeseen. What the guest does is in the estimate.
pub(crate) const SHARE: f64 = 0.9;
/// Another round is worth its time if it is expected to shrink what is left by this share ...
const WORTHWHILE: f64 = 0.2;
/// ... and the interruption by at least this.
const NOTICEABLE: Duration = Duration::from_micros(500);
/// So many rounds may be spent on making an interruption shorter that already meets the promise.
const MOST_EXTRA: u32 = 3;
/// Copying goes on so long without coming nearer to the promise before it is asked whether that
/// will ever change.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same of a machine that is moved in any case and cannot come within what was asked.
const LITTLE_PATIENCE: Duration = Duration::from_millis(100);
/// An estimate that is better by less than this share is no headway.
const HEADWAY: f64 = 0.05;

/// What is known at the end of a round.
pub(crate) struct Outlook<'a> {
    /// Now, since the beginning.
    pub(crate) at: Duration,
    /// How many rounds have been sent.
    pub(crate) round: u32,
    /// The interruption that a stop now would make.
    pub(crate) now: Outcome,
    /// The same if every disk request had just settled: less, with direct I/O.
    pub(crate) settled: Outcome,
    /// How long the next round would take.
    pub(crate) next_round: Duration,
    /// What copying would take if the guest were stopped behind that round.
    pub(crate) copy_after: &'a dyn Fn() -> Duration,
    /// When the guest will have written little for long enough, if that is likely within the time
    /// given.
    pub(crate) lull: &'a dyn Fn(Duration) -> Option<Duration>,
}

/// The interruption that a stop would make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// As it is likely to be.
    pub(crate) likely: Expected,
    /// What it will not exceed, as surely as was asked for.
    pub(crate) surely: Expected,
}

/// The rule of one move, with what it has seen so far.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    asked: Duration,
    within: Duration,
    rounds: Rounds,
    force: bool,
    extra: u32,
    /// The best estimate so far, and when there was last headway.
    best: Option<(Duration, Duration)>,
}

impl Rule {
    pub(crate) fn new(asked: Duration, within: Duration, rounds: Rounds, force: bool) -> Self {
        Self { asked, within, rounds, force, extra: 0, best: None }
    }

    /// The shortest interruption that can be promised of which so much cannot be avoided.
    pub(crate) fn least(unavoidable: Expected) -> Duration {
        unavoidable.fixed.saturating_add(unavoidable.copy.div_f64(SHARE))
    }

    /// What the copy may take if the rest takes `fixed`.
    pub(crate) fn allowed(&self, fixed: Duration) -> Duration {
        self.asked.saturating_sub(fixed).mul_f64(SHARE)
    }

    fn is_met(&self, surely: &Expected) -> bool {
        surely.fixed <= self.asked && surely.copy <= self.allowed(surely.fixed)
    }

    /// Whether the guest is stopped behind the round of this number, whatever is left then.
    pub(crate) fn is_last(&self, round: u32) -> bool {
        matches!(self.rounds, Rounds::Exactly(rounds) if rounds.get() == round)
    }

    /// Whether a machine that is moved in any case has to be stopped now to be there in time, if
    /// the interruption takes so long.
    pub(crate) fn must_stop(&self, at: Duration, stopped: Duration) -> bool {
        self.force && at.saturating_add(stopped) > self.within
    }

    /// Decides at the end of a round.
    pub(crate) fn decide(&mut self, now: &Outlook<'_>) -> Decision {
        if !self.force && now.at.saturating_add(self.asked) > self.within {
            return Decision::GiveUp(self.deadline_passed(now.settled.surely.total()));
        }
        if let Rounds::Exactly(rounds) = self.rounds {
            return self.count(now, rounds);
        }
        if self.is_met(&now.now.surely) {
            return self.stop_or_shrink(now);
        }
        if self.is_last_moment(now) {
            return self.forced(now);
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

    fn stop_or_shrink(&mut self, now: &Outlook<'_>) -> Decision {
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
        self.must_stop(behind_it, now.settled.likely.total())
    }

    fn forced(&self, now: &Outlook<'_>) -> Decision {
        Decision::Stop(Stop::Forced { expected: now.now.likely, asked: self.asked })
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
        let patience = if in_reach { PATIENCE } else { LITTLE_PATIENCE };
        if without_headway < patience.max(now.next_round.saturating_mul(3)) {
            return Ok(Headway::Made);
        }
        if let Some(wait) = (now.lull)(left).filter(|_| in_reach) {
            return Ok(Headway::Lull(wait));
        }
        if self.force {
            // It comes and goes: stop when it is about as good as it was at best.
            let good = expected.as_secs_f64() <= best.as_secs_f64() * (1.0 + 2.0 * HEADWAY);
            return Ok(if good { Headway::Lacking } else { Headway::Made });
        }
        let asked = self.asked;
        Err(GiveUp::CannotConverge { best: best.min(expected), asked, without_headway, left })
    }

    pub(crate) fn deadline_passed(&self, expected: Duration) -> GiveUp {
        GiveUp::DeadlinePassed { within: self.within, expected, asked: self.asked }
    }
}

/// Whether copying comes nearer to the promise.
enum Headway {
    /// It does, or it is too early to tell.
    Made,
    /// It does not, but the guest will write less after this time.
    Lull(Duration),
    /// It does not, and will not.
    Lacking,
}
