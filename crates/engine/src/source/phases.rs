use std::time::Duration;

use punctual_units::Pages;
use punctual_wire::{DestinationMessage, Message as _};

use super::aborting::Aborting;
use super::context::Context;
use super::copying::{Readying, Scanning, Settling};
use super::event::{Effect, Event, Why};
use super::preparing::{Preparing, Probing};
use super::sending::Sending;
use super::stopped::{Committing, Final, HandingOver, Opening, Stopping};
use crate::Phase;
use crate::meter::Load;

/// How long the destination may take for an answer before anything has moved. It may have to start
/// a machine for it.
const ANSWER: Duration = Duration::from_secs(30);

/// The phases, each with its own data.
#[derive(Debug, Clone)]
pub(super) enum State {
    Offering { since: Duration },
    Probing(Probing),
    Preparing(Preparing),
    Sending(Box<Sending>),
    Scanning(Scanning),
    Readying(Readying),
    Settling(Settling),
    Opening(Opening),
    Stopping(Stopping),
    Final(Final),
    HandingOver(HandingOver),
    Committing(Committing),
    Aborting(Aborting),
}

/// Where an event leads.
#[derive(Debug)]
pub(super) enum Transition {
    To(State, Vec<Effect>),
    Stay { why: Why, resume_failed: Option<String>, farewell: bool },
    Commit { link_lost: Option<String> },
    Unknown(String),
}

impl Transition {
    /// The same, with another effect before all others.
    pub(super) fn behind(mut self, effect: Effect) -> Self {
        if let Self::To(_, effects) = &mut self {
            effects.insert(0, effect);
        }
        self
    }
}

impl State {
    /// What ends an attempt in any phase: a lost link, a wish, a failure, the passing of time.
    pub(super) fn interrupted(
        &self,
        context: &Context,
        at: Duration,
        event: &Event,
    ) -> Option<Transition> {
        if matches!(self, Self::Committing(_) | Self::Aborting(_)) {
            return None;
        }
        let why = match event {
            Event::Cancelled => Why::Cancelled,
            Event::LinkLost(reason) => Why::LinkLost(reason.clone()),
            Event::MachineFailed(reason) => Why::MachineFailed(reason.clone()),
            Event::Heard(DestinationMessage::Failed { reason }) => {
                Why::DestinationFailed(reason.clone())
            }
            _ => self.late(context, at)?,
        };
        Some(self.abort(why))
    }

    pub(super) fn step(self, context: &mut Context, at: Duration, event: Event) -> Transition {
        match self {
            Self::Offering { since } => super::preparing::offered(context, since, at, event),
            Self::Probing(state) => state.step(context, at, event),
            Self::Preparing(state) => state.step(context, at, event),
            Self::Sending(state) => state.step(context, at, event),
            Self::Scanning(state) => state.step(context, at, event),
            Self::Readying(state) => state.step(context, at, event),
            Self::Settling(state) => state.step(context, at, event),
            Self::Opening(state) => state.step(at, event),
            Self::Stopping(state) => state.step(context, at, event),
            Self::Final(state) => state.step(context, at, event),
            Self::HandingOver(state) => state.step(context, at, event),
            Self::Committing(state) => state.step(context, at, event),
            Self::Aborting(state) => state.step(context, at, event),
        }
    }

    /// Lets the machine run on here. Before tracing began it never did anything else.
    pub(super) fn abort(&self, why: Why) -> Transition {
        let farewell = why.is_to_be_told();
        match self {
            Self::Offering { .. } | Self::Probing(_) => {
                Transition::Stay { why, resume_failed: None, farewell }
            }
            _ => Transition::To(Self::Aborting(Aborting { why }), vec![Effect::Resume]),
        }
    }

    /// An event that has no meaning in this phase: a message is the other side's mistake, anything
    /// else is the late answer to an effect and does no harm.
    pub(super) fn unexpected(self, event: &Event) -> Transition {
        match event {
            // What is behind a handover is acknowledged when it matters no more.
            Event::Heard(
                DestinationMessage::Received { .. } | DestinationMessage::Forgotten { .. },
            ) => Transition::To(self, vec![]),
            Event::Heard(message) => {
                let said = message.name();
                self.abort(Why::Protocol { phase: self.phase(), said })
            }
            _ => Transition::To(self, vec![]),
        }
    }

    /// Whether this phase has taken too long.
    fn late(&self, context: &Context, at: Duration) -> Option<Why> {
        let phase = self.phase();
        match self {
            Self::Offering { since }
            | Self::Probing(Probing { since, .. })
            | Self::Preparing(Preparing { since, .. })
            | Self::Opening(Opening { since, .. }) => {
                let waited = at.saturating_sub(*since);
                (waited > ANSWER).then_some(Why::NoAnswer { phase, waited })
            }
            Self::Sending(_) | Self::Scanning(_) | Self::Readying(_) | Self::Settling(_) => {
                context.deadline_passed(at, self).map(Why::GaveUp)
            }
            Self::Stopping(Stopping { since, .. }) => context.overrun(at, *since, phase, None),
            Self::Final(_) | Self::HandingOver(_) => {
                let since = context.course.stopped_at().unwrap_or(at);
                let copied = match self {
                    Self::Final(state) => state.copied(),
                    _ => None,
                };
                context.overrun(at, since, phase, copied)
            }
            Self::Committing(_) | Self::Aborting(_) => None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Offering { .. } | Self::Probing(_) => Phase::Offering,
            Self::Preparing(_) => Phase::Preparing,
            Self::Sending(_) | Self::Scanning(_) | Self::Readying(_) => Phase::Copying,
            Self::Settling(_) => Phase::Settling,
            Self::Opening(_) => Phase::Opening,
            Self::Stopping(_) => Phase::Stopping,
            Self::Final(_) => Phase::FinalCopy,
            Self::HandingOver(_) => Phase::HandingOver,
            Self::Committing(_) => Phase::Committing,
            Self::Aborting(_) => Phase::Aborting,
        }
    }

    /// Pages that the destination lacks or has in an old version, as far as is known; those being
    /// sent included.
    pub(super) fn dirty(&self) -> Pages {
        match self {
            Self::Sending(state) => state.dirty(),
            Self::Scanning(state) => state.remainder.at_a_stop(),
            Self::Readying(state) => state.remainder.at_a_stop(),
            Self::Settling(state) => state.remainder.at_a_stop(),
            Self::Opening(state) => state.remainder.at_a_stop(),
            Self::Stopping(state) => state.remainder.at_a_stop(),
            Self::Final(state) => state.sending(),
            Self::Offering { .. }
            | Self::Probing(_)
            | Self::Preparing(_)
            | Self::HandingOver(_)
            | Self::Committing(_)
            | Self::Aborting(_) => Pages::ZERO,
        }
    }

    /// What [`State::dirty`] counts, by what it costs.
    pub(super) fn load(&self, context: &Context) -> Load {
        let remainder = match self {
            Self::Sending(state) => return state.load(context),
            Self::Scanning(state) => &state.remainder,
            Self::Readying(state) => &state.remainder,
            Self::Settling(state) => &state.remainder,
            Self::Opening(state) => &state.remainder,
            Self::Stopping(state) => &state.remainder,
            _ => return Load::default(),
        };
        context.load(&remainder.pages_at_a_stop())
    }

    /// Pages of the present round that are still to be sent.
    pub(super) fn left(&self) -> Option<Load> {
        match self {
            Self::Sending(state) => Some(state.left()),
            _ => None,
        }
    }
}
