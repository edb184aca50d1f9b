//! What the destination's driver would do.

use std::time::Duration;

use punctual_engine::destination::{Destination, Effect, Event, Next};
use punctual_units::Bytes;
use punctual_wire::{DestinationMessage, Outcome, SourceMessage};

use super::world::{Action, SourceSide, World};

/// The destination says so often how much it has received.
const ACKNOWLEDGE_EVERY: u64 = 1 << 20;
/// A durable record.
const RECORD: Duration = Duration::from_millis(1);
/// Whether a machine can be taken.
const ADMIT: Duration = Duration::from_millis(5);

impl World<'_> {
    pub(super) fn arrive(&mut self, bytes: Bytes, message: Option<SourceMessage>) {
        self.arrived += bytes;
        let round_ended = matches!(message, Some(SourceMessage::RoundEnd { .. }));
        match message {
            Some(SourceMessage::Offer(offer)) if self.destination.is_none() => {
                let next = Destination::begin(*offer);
                self.follow_destination(next);
            }
            Some(message) => self.step_destination(Event::Heard(message)),
            None => {}
        }
        let every = Bytes::new(ACKNOWLEDGE_EVERY / u64::from(self.subject.thinning));
        if round_ended || self.arrived.saturating_sub(self.acknowledged) >= every {
            self.acknowledged = self.arrived;
            self.answer(DestinationMessage::Received { bytes: self.arrived });
        }
    }

    fn answer(&mut self, message: DestinationMessage) {
        self.after(self.link.latency, Action::ToSource(message));
    }

    pub(super) fn step_destination(&mut self, event: Event) {
        if let Some(destination) = self.destination.take() {
            let next = destination.step(self.now, event);
            self.follow_destination(next);
        }
    }

    fn follow_destination(&mut self, next: Next) {
        let effects = match next {
            Next::Go(destination, effects) => {
                self.destination = Some(destination);
                effects
            }
            Next::End(_, effects) => effects,
        };
        for effect in effects {
            self.carry_out_there(effect);
        }
    }

    fn carry_out_there(&mut self, effect: Effect) {
        let costs = self.costs;
        let (takes, event) = match effect {
            Effect::Say(message) => return self.answer(message),
            Effect::Admit => (ADMIT, Event::Admitted { command_line: vec![] }),
            Effect::Record(_) => (RECORD, Event::Recorded),
            // Preparing is counted from the offer, whatever else was done in that time.
            Effect::Start => (costs.preparing.saturating_sub(self.now + RECORD), Event::Started),
            Effect::Forget { .. } => (RECORD, Event::Forgot),
            Effect::PageOnDemand { .. } => (RECORD, Event::PagedOnDemand),
            Effect::Digest { .. } => {
                (Duration::ZERO, Event::Digested { digest: 0, took: Duration::ZERO })
            }
            Effect::Load => (costs.load, Event::Loaded { took: costs.load }),
            Effect::Inquire { after } => (after, Event::Answered(self.decided())),
            Effect::Resume => (costs.resume, Event::Resumed { took: costs.resume }),
            Effect::Discard => (RECORD, Event::Discarded),
        };
        self.after(takes, Action::Destination(event));
    }

    fn decided(&self) -> Outcome {
        match self.source {
            SourceSide::Committed(_) => Outcome::Committed,
            SourceSide::Holding(_) | SourceSide::Stepping => Outcome::Undecided,
            SourceSide::Ended(_) => Outcome::Aborted,
        }
    }
}
