//! The rounds, while the guest runs.
//!
//! Nothing is scanned while a round is being sent. A page that a scan finds is dirty until a round
//! that it was part of has arrived; a round that does not arrive ends the attempt, and with it what
//! the destination has, so nothing can be lost.

use std::time::Duration;

use punctual_units::Pages;
use punctual_wire::SourceMessage;

use super::context::Context;
use super::event::{Batch, BatchKind, Effect, Event, Why};
use super::phases::{State, Transition};
use super::stopped::Stopping;
use crate::remainder::Remainder;
use crate::rule::Decision;

/// A round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) pages: Pages,
}

/// The pages of a round are being sent, or the last of them are on their way.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) round: Round,
    pub(super) remainder: Remainder,
    stop_prepared: bool,
    /// Pages of the round that have been sent.
    sent: Pages,
    all_sent: bool,
}

/// A round has arrived; the pages written meanwhile are looked for.
#[derive(Debug, Clone)]
pub(super) struct Scanning {
    pub(super) remainder: Remainder,
    round: Round,
    stop_prepared: bool,
}

/// The promise is in reach: the machine makes ready for the stop.
#[derive(Debug, Clone)]
pub(super) struct Readying {
    pub(super) remainder: Remainder,
}

/// The disk requests in flight are waited for.
#[derive(Debug, Clone)]
pub(super) struct Settling {
    pub(super) remainder: Remainder,
}

impl Sending {
    pub(super) fn begin(
        context: &mut Context,
        at: Duration,
        mut remainder: Remainder,
        stop_prepared: bool,
    ) -> Transition {
        context.course.rounds += 1;
        context.course.sample(at, Pages::ZERO, remainder.at_a_stop());
        context.meter.begin_round(at);
        let number = context.course.rounds;
        let pages = remainder.take();
        let round = Round { number, pages: pages.len() };
        let state = Self { round, remainder, stop_prepared, sent: Pages::ZERO, all_sent: false };
        let batch = Batch { pages, kind: BatchKind::Round(number) };
        Transition::To(State::Sending(state), vec![Effect::Send(batch)])
    }

    /// Pages of the round that are still to be sent.
    pub(super) fn left(&self) -> Pages {
        self.round.pages.saturating_sub(self.sent)
    }

    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let mut effects = vec![];
        match event {
            Event::PagesSent { sent } if !self.all_sent => {
                (self.all_sent, self.sent) = (true, self.round.pages);
                context.course.pages_sent += self.round.pages;
                context.meter.end_round(at, sent, self.round.pages);
                effects.push(Effect::Say(SourceMessage::RoundEnd { round: self.round.number }));
            }
            Event::Sending { pages, .. } => {
                self.sent = pages;
                context.course.sample(at, Pages::ZERO, self.left() + self.remainder.at_a_stop());
            }
            Event::Heard(punctual_wire::DestinationMessage::Received { .. })
            | Event::TimePassed => {}
            other => return State::Sending(self).unexpected(&other),
        }
        if self.all_sent && context.arrived() {
            let Self { round, remainder, stop_prepared, .. } = self;
            effects.push(Effect::Scan);
            return Transition::To(
                State::Scanning(Scanning { remainder, round, stop_prepared }),
                effects,
            );
        }
        Transition::To(State::Sending(self), effects)
    }
}

impl Scanning {
    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let Event::Scanned { written } = event else {
            return State::Scanning(self).unexpected(&event);
        };
        self.remainder.found(&written);
        context.scanned(at, written.len(), self.remainder.at_a_stop());
        let outlook = context.outlook(at, &self.remainder, self.round.pages);
        let decision = context.rule.decide(&outlook);
        let remainder = self.remainder;
        match decision {
            Decision::GiveUp(reason) => {
                State::Readying(Readying { remainder }).abort(Why::GaveUp(reason))
            }
            Decision::Continue(_) => Sending::begin(context, at, remainder, self.stop_prepared),
            Decision::Stop(_) | Decision::Settle if !self.stop_prepared => {
                Transition::To(State::Readying(Readying { remainder }), vec![Effect::PrepareStop])
            }
            Decision::Settle => {
                Transition::To(State::Settling(Settling { remainder }), vec![Effect::Settle])
            }
            Decision::Stop(_) => Stopping::begin(at, remainder),
        }
    }
}

impl Readying {
    pub(super) fn step(self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let remainder = self.remainder;
        match event {
            Event::StopPrepared if remainder.direct_io() => {
                Transition::To(State::Settling(Settling { remainder }), vec![Effect::Settle])
            }
            Event::StopPrepared => Sending::begin(context, at, remainder, true),
            other => State::Readying(Self { remainder }).unexpected(&other),
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
