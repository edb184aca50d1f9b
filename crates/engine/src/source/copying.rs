//! Between two rounds, while the guest runs: what was written is looked for, and it is decided what
//! comes next.

use std::time::Duration;

use super::context::Context;
use super::event::{Effect, Event, Why};
use super::phases::{State, Transition};
use super::sending::Sending;
use super::stopped::Stopping;
use crate::remainder::Remainder;
use crate::rule::{Decision, Stop};

/// While nothing is gained rounds are at least this far apart: a guest that never calms down is not
/// to keep both hosts busy, and one that does is found out no later than this.
const PACE: Duration = Duration::from_millis(20);

/// A round has arrived; the pages written meanwhile are looked for.
#[derive(Debug, Clone)]
pub(super) struct Scanning {
    pub(super) remainder: Remainder,
    stage: Stage,
    stop_prepared: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// They have been looked for since then.
    Looking(Duration),
    /// The same, and the next round comes right behind.
    LookingAgain(Duration),
    /// Nothing was gained, and the next round would be short: it waits until then.
    Resting(Duration),
}

/// The promise is in reach: the machine makes ready for the stop.
#[derive(Debug, Clone)]
pub(super) struct Readying {
    pub(super) remainder: Remainder,
    /// There is no time for another round.
    in_haste: bool,
}

/// The disk requests in flight are waited for.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) remainder: Remainder,
}

impl Scanning {
    /// Looks for what was written, behind `effects`.
    pub(super) fn begin(
        at: Duration,
        remainder: Remainder,
        stop_prepared: bool,
        mut effects: Vec<Effect>,
    ) -> Transition {
        effects.push(Effect::Scan);
        let state = Self { remainder, stage: Stage::Looking(at), stop_prepared };
        Transition::To(State::Scanning(state), effects)
    }

    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let (written, since, has_rested) = match (event, self.stage) {
            (Event::Scanned { written }, Stage::Looking(since)) => (written, since, false),
            (Event::Scanned { written }, Stage::LookingAgain(since)) => (written, since, true),
            (Event::TimePassed, Stage::Resting(until)) if at >= until => {
                self.stage = Stage::LookingAgain(at);
                return Transition::To(State::Scanning(self), vec![Effect::Scan]);
            }
            (other, _) => return State::Scanning(self).unexpected(&other),
        };
        self.remainder.found(&written);
        context.scanned(since, at, &written, self.remainder.at_a_stop());
        let decision = context.decide(at, &self.remainder);
        if !has_rested && decision.is_in_no_hurry() {
            let rest = PACE.saturating_sub(context.next_round(&self.remainder));
            if !rest.is_zero() {
                self.stage = Stage::Resting(at + rest);
                return Transition::To(State::Scanning(self), vec![]);
            }
        }
        let remainder = self.remainder;
        match decision {
            Decision::GiveUp(reason) => {
                let state = Readying { remainder, in_haste: false };
                State::Readying(state).abort(Why::GaveUp(reason))
            }
            Decision::Continue(_) => Sending::begin(context, at, remainder, self.stop_prepared),
            Decision::Throttle(share) => {
                let next = Sending::begin(context, at, remainder, self.stop_prepared);
                next.behind(Effect::Throttle(share))
            }
            Decision::Stop(stop) if !self.stop_prepared => {
                Readying::begin(remainder, !matches!(stop, Stop::PromiseMet { .. }))
            }
            Decision::Settle if !self.stop_prepared => Readying::begin(remainder, false),
            Decision::Settle => {
                Transition::To(State::Settling(Settling { remainder }), vec![Effect::Settle])
            }
            Decision::Stop(stop) => Stopping::begin(context, at, remainder, stop),
        }
    }
}

impl Readying {
    pub(super) fn begin(remainder: Remainder, in_haste: bool) -> Transition {
        let state = Self { remainder, in_haste };
        Transition::To(State::Readying(state), vec![Effect::PrepareStop])
    }

    pub(super) fn step(self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let Self { remainder, in_haste } = self;
        match event {
            Event::StopPrepared if in_haste => Scanning::begin(at, remainder, true, vec![]),
            Event::StopPrepared if remainder.direct_io() => {
                Transition::To(State::Settling(Settling { remainder }), vec![Effect::Settle])
            }
            Event::StopPrepared => Sending::begin(context, at, remainder, true),
            other => State::Readying(Self { remainder, in_haste }).unexpected(&other),
        }
    }
}

impl Settling {
    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let Event::Settled { .. } = event else {
            return State::Settling(self).unexpected(&event);
        };
        self.remainder.settled();
        Sending::begin(context, at, self.remainder, true)
    }
}
