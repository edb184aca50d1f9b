//! The destination: its state machine, and what its driver and its host would do.

use std::time::Duration;

use punctual_engine::destination::{self, Destination, Effect, Event, Record};
use punctual_units::PageIndex;
use punctual_wire::{DestinationMessage, Outcome as Decided, SourceMessage};

use crate::fault::Side;
use crate::link::Frame;
use crate::strike::{Passed, Point};
use crate::world::{Action, EFFECT, Place, World, digest};

/// How often a restarted daemon asks how an attempt ended, and reminds a source.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// What it takes to start a machine's process.
const START: Duration = Duration::from_millis(20);

impl World {
    pub(crate) fn frame_arrives(&mut self) {
        let (frame, length) = self.link.frames.pop_front().expect("each has its arrival");
        let arrives = self.link.up && self.destination_up;
        if arrives && self.point(Point::Message(Side::Destination)) == Passed::Happens {
            self.arrived += length;
            self.arrive(frame);
        }
    }

    fn arrive(&mut self, frame: Frame) {
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
                if let Some((began, before)) = self.probe_began.take()
                    && let Some(rate) = (self.arrived - before).per(self.now - began)
                {
                    self.step_destination(Event::Probed { rate });
                }
            }
            Frame::Pages(pages) => self.take(pages),
            Frame::DeviceState(bytes) => {
                self.device_state += bytes;
                let bytes = self.device_state;
                self.step_destination(Event::StateReceived { bytes });
            }
            Frame::Message(message) => {
                if matches!(message, SourceMessage::RoundEnd { .. }) {
                    self.acknowledge();
                }
                self.step_destination(Event::Heard(message));
            }
        }
    }

    fn take(&mut self, pages: Vec<(u64, u32)>) {
        // An attempt that is being given up throws away what still comes.
        if self.destination.as_ref().is_some_and(|destination| destination.takes_pages()) {
            for (page, version) in pages {
                self.memory[page as usize] = version;
            }
            self.acknowledge();
        }
    }

    fn acknowledge(&mut self) {
        let bytes = self.arrived;
        self.say(DestinationMessage::Received { bytes });
    }

    pub(crate) fn step_destination(&mut self, event: Event) {
        if let Some(destination) = self.destination.take() {
            let next = destination.step(self.now, event);
            self.follow_destination(next);
        }
    }

    fn follow_destination(&mut self, next: destination::Next) {
        let effects = match next {
            destination::Next::Go(destination, effects) => {
                self.destination = Some(destination);
                effects
            }
            destination::Next::End(_, effects) => effects,
        };
        for effect in effects {
            let before = self.destination.is_some();
            match self.point(Point::Effect(Side::Destination)) {
                Passed::Happens => self.carry_out_there(effect),
                Passed::Fails if before && self.destination.is_some() => self.fail_there(&effect),
                Passed::Fails => {}
                Passed::Lost => return,
            }
            if before && self.destination.is_none() {
                return;
            }
        }
    }

    fn fail_there(&mut self, effect: &Effect) {
        let reason = || "injected".to_owned();
        let event = match effect {
            Effect::Say(_) => return self.reset(),
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
            Effect::Start
            | Effect::Forget { .. }
            | Effect::PageOnDemand { .. }
            | Effect::Digest { .. }
            | Effect::Load => Event::Failed(reason()),
        };
        self.schedule(EFFECT, Action::Destination(event));
    }

    fn carry_out_there(&mut self, effect: Effect) {
        let took = EFFECT;
        let mut after = EFFECT;
        let event = match effect {
            Effect::Say(message) => return self.say(message),
            Effect::Admit => Event::Admitted { command_line: vec!["qemu".to_owned()] },
            Effect::Record(record) => self.record_there(&record),
            Effect::Start => {
                (self.started, self.starting) = (true, true);
                return self.schedule(START, Action::Started);
            }
            Effect::Digest { except } => {
                Event::Digested { digest: digest(&self.memory, &except), took }
            }
            Effect::Forget { .. } => Event::Forgot,
            Effect::PageOnDemand { missing } => {
                self.have_paged(missing);
                Event::PagedOnDemand
            }
            Effect::Load if self.machine_died => Event::Failed("its process is gone".to_owned()),
            // Devices look at the first page.
            Effect::Load if self.missing.contains(PageIndex(0)) => return self.load_waits = true,
            Effect::Load => Event::Loaded { took },
            Effect::Inquire { after: wait } => {
                after = wait + self.setting.latency * 2;
                match self.answer() {
                    Some(answer) => Event::Answered(answer),
                    None => Event::NotAnswered("no answer".to_owned()),
                }
            }
            Effect::Resume => {
                self.resume_there();
                Event::Resumed { took }
            }
            Effect::Discard => {
                self.discard();
                Event::Discarded
            }
        };
        self.schedule(after, Action::Destination(event));
    }

    /// The machine's process is there, or has died meanwhile and is gone.
    pub(crate) fn has_started(&mut self) {
        self.starting = false;
        if !self.destination_up {
            return;
        }
        if std::mem::take(&mut self.machine_died) {
            self.started = false;
            self.step_destination(Event::Failed("it has ended".to_owned()));
        } else {
            self.step_destination(Event::Started);
        }
    }

    fn record_there(&mut self, record: &Record) -> Event {
        if self.armed.destination_log.take().is_some() {
            return Event::NotRecorded("no space left on the device".to_owned());
        }
        if *record == Record::AskedForCommit {
            self.asking = true;
        }
        Event::Recorded
    }

    fn resume_there(&mut self) {
        self.expect(self.is_committed(), "let run at the destination without a commit");
        let lost = (0..self.memory.len()).filter(|page| {
            let is_here = !self.missing.contains(PageIndex(*page as u64));
            is_here && self.memory[*page] != self.guest.memory[*page]
        });
        let lost: Vec<_> = lost.collect();
        self.expect(lost.is_empty(), &format!("let run with pages {lost:?} old"));
        if self.place == Place::Source {
            self.expect(!self.guest.running, "let run at the destination while it runs elsewhere");
            self.place = Place::Destination;
            self.guest.arrive(self.missing.clone());
        }
        self.schedule(ASK_AGAIN, Action::Remind);
    }

    fn discard(&mut self) {
        self.expect(!self.is_committed(), "the only copy was discarded");
        self.started = false;
        self.missing.clear();
        self.load_waits = false;
    }

    pub(crate) fn crash_destination(&mut self, down: Duration) {
        if std::mem::replace(&mut self.destination_up, false) {
            self.destination = None;
            self.reset();
            self.schedule(down, Action::DestinationRestarts);
        }
    }

    /// The daemon reads its log: a guest that runs is its own, what may have been asked for is
    /// asked about, the rest is removed.
    pub(crate) fn destination_restarts(&mut self) {
        self.destination_up = true;
        if self.place == Place::Destination {
            self.schedule(Duration::ZERO, Action::Ask);
            return self.schedule(Duration::ZERO, Action::Remind);
        }
        if !self.started {
            return;
        }
        if !self.asking {
            return self.discard();
        }
        match self.answer() {
            Some(Decided::Committed) => {
                self.resume_there();
                self.schedule(Duration::ZERO, Action::Ask);
            }
            Some(Decided::Aborted) => self.discard(),
            Some(Decided::Undecided) | None => {
                self.schedule(ASK_AGAIN, Action::DestinationRestarts);
            }
        }
    }

    /// Tells the source that it runs here, and has all of it, until there is nothing left there.
    pub(crate) fn remind(&mut self) {
        if !self.destination_up || !self.source_has {
            return;
        }
        if self.answer() == Some(Decided::Committed) && !self.under_way {
            self.surrender();
        }
        self.schedule(ASK_AGAIN, Action::Remind);
    }
}
