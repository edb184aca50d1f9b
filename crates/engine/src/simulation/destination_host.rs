//! The destination: its state machine, and what its driver would do.

use std::time::Duration;

use punctual_wire::{DestinationMessage, Outcome as Decided, SourceMessage};

use super::faults::Point;
use super::world::{Action, EFFECT, Frame, RESTART, World, digest};
use crate::destination::{self, Destination};

impl World {
    pub(super) fn arrive(&mut self, frame: Frame) {
        if self.destination.is_none() {
            if let Frame::Message(SourceMessage::Offer(offer)) = frame {
                let next = Destination::begin(*offer);
                self.follow_destination(next);
            }
            return;
        }
        match frame {
            Frame::Padding => {
                self.probe_began.get_or_insert((self.now, self.arrived));
            }
            Frame::Message(SourceMessage::ProbeEnd) => {
                let (began, before) = self.probe_began.take().unwrap();
                let rate = (self.arrived - before).per(self.now - began).unwrap();
                self.step_destination(destination::Event::Probed { rate });
            }
            Frame::Pages(pages) => {
                assert!(self.destination.as_ref().unwrap().takes_pages());
                for (page, version) in pages {
                    self.memory[page as usize] = version;
                }
                self.acknowledge();
            }
            Frame::DeviceState(bytes) => {
                self.device_state += bytes;
                let bytes = self.device_state;
                self.step_destination(destination::Event::StateReceived { bytes });
            }
            Frame::Message(message) => {
                if matches!(message, SourceMessage::RoundEnd { .. }) {
                    self.acknowledge();
                }
                self.step_destination(destination::Event::Heard(message));
            }
        }
    }

    pub(super) fn acknowledge(&mut self) {
        let bytes = self.arrived;
        self.say(DestinationMessage::Received { bytes });
    }

    pub(super) fn step_destination(&mut self, event: destination::Event) {
        if let Some(destination) = self.destination.take() {
            let next = destination.step(self.now, event);
            self.follow_destination(next);
        }
    }

    pub(super) fn follow_destination(&mut self, next: destination::Next) {
        let effects = match next {
            destination::Next::Go(destination, effects) => {
                self.destination = Some(destination);
                effects
            }
            destination::Next::End(_, effects) => effects,
        };
        for effect in effects {
            let before = self.destination.is_some();
            if self.point(Point::Effect) {
                self.carry_out_there(effect);
            } else if before && self.destination.is_some() {
                self.fail_there(&effect);
            }
            if before && self.destination.is_none() {
                return;
            }
        }
    }

    pub(super) fn fail_there(&mut self, effect: &destination::Effect) {
        use destination::{Effect, Event};
        let reason = || "injected".to_owned();
        let event = match effect {
            Effect::Say(_) => return self.lose_link(),
            Effect::Admit => Event::NotAdmitted(vec![]),
            Effect::Record(_) => Event::NotRecorded(reason()),
            Effect::Inquire { .. } => Event::NotAnswered(reason()),
            // A machine that cannot be let run or removed needs its operator.
            Effect::Resume => {
                self.excused = true;
                Event::Failed(reason())
            }
            Effect::Discard => {
                self.started = false;
                Event::Discarded
            }
            Effect::Start | Effect::PageOnDemand { .. } | Effect::Digest { .. } | Effect::Load => {
                Event::Failed(reason())
            }
        };
        self.schedule(EFFECT, Action::Destination(event));
    }

    pub(super) fn carry_out_there(&mut self, effect: destination::Effect) {
        use destination::{Effect, Event, Record};
        let took = EFFECT;
        let mut after = EFFECT;
        let event = match effect {
            Effect::Say(message) => return self.say(message),
            Effect::Admit => Event::Admitted { command_line: vec!["qemu".to_owned()] },
            Effect::Record(record) => {
                if record == Record::AskedForCommit {
                    self.asking = true;
                }
                Event::Recorded
            }
            Effect::Start => {
                self.started = true;
                after = Duration::from_millis(20);
                Event::Started
            }
            Effect::PageOnDemand { .. } => Event::PagedOnDemand,
            Effect::Digest { .. } => Event::Digested { digest: digest(&self.memory), took },
            Effect::Load => Event::Loaded { took },
            Effect::Inquire { after: wait } => {
                after = wait + self.setting.latency * 2;
                Event::Answered(self.decided())
            }
            Effect::Resume => {
                assert!(self.committed, "let run without a commit");
                assert_eq!(self.memory, self.guest.memory, "memory was lost");
                self.runs_at_destination = true;
                Event::Resumed { took }
            }
            Effect::Discard => {
                assert!(!self.committed, "discarded the only machine");
                self.started = false;
                Event::Discarded
            }
        };
        self.schedule(after, Action::Destination(event));
    }
    pub(super) fn crash_destination(&mut self) {
        if self.destination.take().is_some() {
            self.lose_link();
            self.schedule(RESTART, Action::DestinationRestarts);
        }
    }

    /// The daemon reads its log: what may have been asked for is asked about, the rest is removed.
    pub(super) fn destination_restarts(&mut self) {
        if !self.asking {
            self.started = false;
            return;
        }
        match self.decided() {
            Decided::Committed => self.runs_at_destination = true,
            Decided::Aborted => self.started = false,
            Decided::Undecided => self.schedule(RESTART, Action::DestinationRestarts),
        }
    }
}
