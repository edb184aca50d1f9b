//! When to stop the guest, when to go on copying, and when to give up. Each decision says why.

mod at_once;
mod field;
mod miss;
mod pre_copy;
mod reasons;
#[cfg(test)]
mod tests;
mod throttle;

use std::time::Duration;

use punctual_model::{Mode, OnMiss, Rounds};
use punctual_units::Pages;

use crate::Request;
use crate::report::Missed;
pub(crate) use reasons::Shown;
pub use reasons::{Continue, Decision, Expected, GiveUp, Stop};
use throttle::Slowing;

/// Of the time that the fixed part leaves, the copy may take so much by its estimate: the rest is
/// for what a link and an encoder do unforeseen. What the guest does is in the estimate.
pub(crate) const SHARE: f64 = 0.9;

/// What is known at the end of a round.
pub(crate) struct Outlook<'a> {
    /// Now, since the beginning.
    pub(crate) at: Duration,
    /// How many rounds have been sent.
    pub(crate) round: u32,
    /// Pages that are missing or old, ...
    pub(crate) left: Pages,
    /// ... what sending just them takes, ...
    pub(crate) left_takes: Duration,
    /// ... pages that have been sent, counted each time, and those that the machine has.
    pub(crate) sent: Pages,
    pub(crate) memory: Pages,
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
    /// The interruption of a stop behind which pages follow, as it will surely not be exceeded.
    pub(crate) follow: &'a dyn Fn() -> Expected,
    /// What the copy will surely not exceed once the guest has been left this share of its time for
    /// some rounds.
    pub(crate) copy_slowed: &'a dyn Fn(f64) -> Duration,
    /// Whether anything is known of the rate of the link.
    pub(crate) link_known: bool,
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
    mode: Mode,
    asked: Duration,
    within: Duration,
    rounds: Rounds,
    /// The guest is stopped in any case, in time.
    force: bool,
    /// What the interruption will surely not exceed, by what was foreseen before the move.
    predicted: Option<Duration>,
    on_miss: OnMiss,
    slowing: Slowing,
    extra: u32,
    /// The best estimate so far, and when there was last headway.
    best: Option<(Duration, Duration)>,
    /// The promise has turned out to be unreachable, and something else than giving up was done.
    missed: Option<Missed>,
}

impl Rule {
    /// The rule of a move whose interruption was asked to be no longer than `asked`.
    pub(crate) fn new(asked: Duration, request: &Request) -> Self {
        Self {
            mode: request.mode,
            asked,
            within: request.within,
            rounds: request.strategy.rounds,
            predicted: request.predicted.map(|predicted| predicted.downtime.p99),
            // Where pages may follow, that is better than a long interruption.
            force: request.force
                && (request.mode, request.on_miss) != (Mode::PreCopy, OnMiss::PostCopy),
            slowing: Slowing::default(),
            on_miss: request.on_miss,
            extra: 0,
            best: None,
            missed: None,
        }
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

    /// Whether the guest is stopped before anything has been copied.
    pub(crate) fn stops_at_once(&self) -> bool {
        matches!(self.mode, Mode::PostCopy | Mode::StopAndCopy)
    }

    /// Whether the guest is stopped behind the round of this number, whatever is left then.
    pub(crate) fn is_last(&self, round: u32) -> bool {
        matches!(self.rounds, Rounds::Exactly(rounds) if rounds.get() == round)
    }

    /// Whether a machine that is moved in any case has to be stopped now to be there in time, if
    /// the interruption takes so long.
    pub(crate) fn must_stop(&self, at: Duration, stopped: Duration) -> bool {
        (self.force || self.may_follow()) && at.saturating_add(stopped) > self.within
    }

    /// Whether pages are let follow the machine rather than that it stays.
    pub(crate) fn may_follow(&self) -> bool {
        self.mode.may_depend() || self.on_miss == OnMiss::PostCopy
    }

    /// Whether the end of the time is not the end of the move.
    pub(crate) fn goes_on_late(&self) -> bool {
        self.force || self.may_follow() || self.on_miss == OnMiss::Extend
    }

    /// What became of a promise that turned out to be unreachable, if anything but giving up.
    pub(crate) fn missed(&self) -> Option<&Missed> {
        self.missed.as_ref()
    }

    /// Decides at the end of a round, or where there are none, before the first page.
    pub(crate) fn decide(&mut self, now: &Outlook<'_>) -> Decision {
        if self.missed.is_some() && self.on_miss == OnMiss::PostCopy {
            return self.stop_somehow(now);
        }
        let decision = match self.mode {
            Mode::StopAndCopy => self.copy_stopped(now),
            Mode::PostCopy => self.follow(now),
            Mode::Hybrid => self.hybrid(now),
            Mode::PreCopy | Mode::Restart => self.pre_copy(now),
        };
        match decision {
            Decision::GiveUp(reason) if !reason.is_refusal() => self.miss(now, reason),
            decision => decision,
        }
    }

    fn forced(&self, now: &Outlook<'_>) -> Decision {
        Decision::Stop(Stop::Forced { expected: now.now.likely, asked: self.asked })
    }

    pub(crate) fn deadline_passed(&self, expected: Duration) -> GiveUp {
        GiveUp::DeadlinePassed { within: self.within, expected, asked: self.asked }
    }
}
