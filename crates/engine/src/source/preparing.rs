//! Before the first page: the offer, the measure of the link, the two machines made ready.

use std::time::Duration;

use punctual_units::{BytesPerSecond, PageSet};
use punctual_wire::DestinationMessage;

use super::context::Context;
use super::copying::Readying;
use super::event::{Effect, Event, Why};
use super::phases::{State, Transition};
use super::sending::Sending;
use crate::probe::{self, Measured};
use crate::remainder::Remainder;

/// The link is being measured.
#[derive(Debug, Clone)]
pub(super) struct Probing {
    pub(super) since: Duration,
    asked: BytesPerSecond,
    measured: Measured,
    command_line: Vec<String>,
}

/// The destination starts its process, the source begins to trace.
#[derive(Debug, Clone)]
pub(super) struct Preparing {
    pub(super) since: Duration,
    /// Whether the destination's process is up.
    prepared: bool,
    tracing: Tracing,
}

#[derive(Debug, Clone)]
enum Tracing {
    Starting,
    Settling(PageSet),
    Done(Remainder),
}

/// The offer has been made.
pub(super) fn offered(
    context: &mut Context,
    since: Duration,
    at: Duration,
    event: Event,
) -> Transition {
    match event {
        Event::Heard(DestinationMessage::Refused(refusals)) => {
            State::Offering { since }.abort(Why::Refused(refusals))
        }
        Event::Heard(DestinationMessage::Accepted { command_line }) => {
            let Some(asked) = context.offer.bandwidth else {
                return accepted(context, at, command_line);
            };
            let measured = Measured::default();
            Probing { since: at, asked, measured, command_line }.probe()
        }
        other => State::Offering { since }.unexpected(&other),
    }
}

/// Nothing is in the way.
fn accepted(context: &mut Context, at: Duration, command_line: Vec<String>) -> Transition {
    if context.offer.dry_run {
        return State::Offering { since: at }.abort(Why::Rehearsed { command_line });
    }
    let state = Preparing { since: at, prepared: false, tracing: Tracing::Starting };
    Transition::To(State::Preparing(state), vec![Effect::StartTracing])
}

impl Probing {
    fn probe(self) -> Transition {
        let rate = probe::rate(self.asked);
        Transition::To(State::Probing(self), vec![Effect::Probe { rate }])
    }

    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let Event::Heard(DestinationMessage::Probed { rate }) = event else {
            return State::Probing(self).unexpected(&event);
        };
        self.measured.add(rate);
        let measured = self.measured.rate();
        if self.measured.is_enough(self.asked) {
            context.meter.probed(measured.min(self.asked));
            return accepted(context, at, self.command_line);
        }
        if !self.measured.is_over() {
            return self.probe();
        }
        let why = Why::LinkSlower { asked: self.asked, measured };
        State::Probing(self).abort(why)
    }
}

impl Preparing {
    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let mut effects = vec![];
        match (event, self.tracing) {
            (Event::Heard(DestinationMessage::Prepared), tracing) if !self.prepared => {
                self.prepared = true;
                self.tracing = tracing;
            }
            (Event::Traced { populated }, Tracing::Starting) => {
                context.watch.begin(at);
                self.tracing = Tracing::Settling(populated);
                // Requests that were in flight before the tracer was armed are seen by nobody:
                // round one must not begin before they have ended.
                effects.push(Effect::Settle);
            }
            (Event::Settled { direct_io }, Tracing::Settling(populated)) => {
                self.tracing = Tracing::Done(Remainder::new(populated, direct_io));
            }
            (other, tracing) => {
                self.tracing = tracing;
                return State::Preparing(self).unexpected(&other);
            }
        }
        match self.tracing {
            Tracing::Done(remainder) if self.prepared && context.rule.stops_at_once() => {
                Readying::begin(remainder, true)
            }
            Tracing::Done(remainder) if self.prepared => {
                Sending::begin(context, at, remainder, false)
            }
            _ => Transition::To(State::Preparing(self), effects),
        }
    }
}
