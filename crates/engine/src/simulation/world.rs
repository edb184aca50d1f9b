//! Two hosts, a link between them and a clock that only the simulation moves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PAGE_SIZE, PageIndex, Pages, Region};
use punctual_wire::{DestinationMessage, MigrationId, Offer, Outcome as Decided, SourceMessage};

use super::faults::{Fault, FaultKind, Point};
use super::guest::{Guest, Workload};
use crate::destination::{self, Destination};
use crate::report::Report;
use crate::source::{self, Batch, Committed, Holding};
use crate::{FixedCost, Request};

const CHUNK: usize = 16;
const EFFECT: Duration = Duration::from_micros(500);
const RESTART: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) workload: Workload,
    pub(super) bandwidth: BytesPerSecond,
    pub(super) latency: Duration,
    pub(super) downtime: Duration,
    pub(super) within: Duration,
    pub(super) verify: bool,
    pub(super) bandwidth_asked: Option<BytesPerSecond>,
    pub(super) seed: u64,
    pub(super) fault: Option<Fault>,
}

/// What there was at the end.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) report: Option<Report>,
    pub(super) committed: bool,
    pub(super) points: u32,
    runs_at_source: bool,
    runs_at_destination: bool,
    destination_left: bool,
    excused: bool,
    fault: Option<Fault>,
}

impl Outcome {
    /// Exactly one host runs the machine, the one that the log of the source names.
    pub(super) fn check(&self) {
        let context = format!("{:?}, {:?}", self.fault, self.report.as_ref().map(|r| &r.reason));
        if !self.excused {
            assert_eq!(self.runs_at_source, !self.committed, "{context}");
            assert_eq!(self.runs_at_destination, self.committed, "{context}");
        }
        assert!(self.committed || !self.destination_left, "left behind: {context}");
    }
}

enum Frame {
    Message(SourceMessage),
    Padding,
    Pages(Vec<(u64, u32)>),
    DeviceState(Bytes),
}

enum Action {
    ToDestination(Frame, Bytes),
    ToSource(DestinationMessage),
    Source(source::Event),
    Destination(destination::Event),
    SendChunk,
    StateSaved,
    Tick,
    SourceRestarts,
    DestinationRestarts,
}

enum SourceHost {
    Holding(Box<Holding>),
    Committed(Committed),
    Down,
}

pub(super) struct World {
    setting: Setting,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    actions: HashMap<u64, Action>,
    scheduled: u64,
    points: u32,
    link_up: bool,
    link_free: Duration,
    sent: Bytes,
    arrived: Bytes,
    source: SourceHost,
    guest: Guest,
    /// The batch that is being sent, and how far.
    sending: Option<(Vec<PageIndex>, usize)>,
    committed: bool,
    under_way: bool,
    destination: Option<Box<Destination>>,
    memory: Vec<u32>,
    device_state: Bytes,
    probe_began: Option<(Duration, Bytes)>,
    started: bool,
    asking: bool,
    runs_at_destination: bool,
    excused: bool,
    report: Option<Report>,
}

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let pages = setting.workload.pages as usize;
        Self {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            actions: HashMap::new(),
            scheduled: 0,
            points: 0,
            link_up: true,
            link_free: Duration::ZERO,
            sent: Bytes::ZERO,
            arrived: Bytes::ZERO,
            source: SourceHost::Down,
            guest: Guest::new(setting.workload, setting.seed),
            sending: None,
            committed: false,
            under_way: true,
            destination: None,
            memory: vec![0; pages],
            device_state: Bytes::ZERO,
            probe_began: None,
            started: false,
            asking: false,
            runs_at_destination: false,
            excused: false,
            report: None,
            setting,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        self.schedule(Duration::from_millis(5), Action::Tick);
        let first = Holding::begin(self.offer(), self.request());
        self.follow_source(first);
        while let Some(Reverse((at, id))) = self.queue.pop() {
            assert!(at < self.setting.within + Duration::from_secs(60), "it never ends");
            self.guest.advance(at);
            self.now = at;
            let action = self.actions.remove(&id).expect("each is scheduled once");
            self.act(action);
            assert!(!(self.guest.running && self.runs_at_destination), "two owners");
            assert!(!self.runs_at_destination || self.committed, "an owner without a commit");
        }
        Outcome {
            report: self.report,
            committed: self.committed,
            points: self.points,
            runs_at_source: self.guest.running,
            runs_at_destination: self.runs_at_destination,
            destination_left: self.started,
            excused: self.excused,
            fault: self.setting.fault,
        }
    }

    fn offer(&self) -> Offer {
        let size = Pages::new(self.setting.workload.pages).bytes();
        let region = Region { name: "ram0".to_owned(), size };
        Offer {
            migration: MigrationId(1),
            machine: "web".to_owned(),
            source: "a".to_owned(),
            source_address: "192.0.2.1:7000".to_owned(),
            layout: MemoryLayout::new(vec![region]).unwrap(),
            populated: size,
            description: vec![],
            downtime: self.setting.downtime,
            bandwidth: self.setting.bandwidth_asked,
            verify: self.setting.verify,
            dry_run: false,
        }
    }

    fn request(&self) -> Request {
        Request {
            to: "b".to_owned(),
            within: self.setting.within,
            fixed: FixedCost::default(),
            round_trip: self.setting.latency * 2,
        }
    }

    fn schedule(&mut self, after: Duration, action: Action) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.actions.insert(self.scheduled, action);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ToDestination(frame, length) if self.link_up => {
                if self.point(Point::Message) {
                    self.arrived += length;
                    self.arrive(frame);
                }
            }
            Action::ToSource(message) if self.link_up => {
                if self.point(Point::Message) {
                    self.step_source(source::Event::Heard(message));
                }
            }
            Action::ToDestination(..) | Action::ToSource(_) => {}
            Action::Source(event) => self.step_source(event),
            Action::Destination(event) => self.step_destination(event),
            Action::SendChunk => self.send_chunk(),
            Action::StateSaved => self.state_saved(),
            Action::Tick => self.tick(),
            Action::SourceRestarts => self.source_restarts(),
            Action::DestinationRestarts => self.destination_restarts(),
        }
    }

    fn tick(&mut self) {
        let source = !matches!(self.source, SourceHost::Down);
        if source || self.destination.is_some() {
            self.schedule(Duration::from_millis(5), Action::Tick);
        }
        self.step_source(source::Event::TimePassed);
        self.step_destination(destination::Event::TimePassed);
    }

    /// Passes a point where something may go wrong; `false` if it does and what was to happen here
    /// does not.
    fn point(&mut self, point: Point) -> bool {
        let number = self.points;
        self.points += 1;
        let Some(fault) = self.setting.fault.filter(|fault| fault.at == number) else {
            return true;
        };
        match fault.kind {
            FaultKind::LinkLost => self.lose_link(),
            FaultKind::Cancelled => {
                self.schedule(Duration::ZERO, Action::Source(source::Event::Cancelled))
            }
            FaultKind::SourceCrash => self.crash_source(),
            FaultKind::DestinationCrash => self.crash_destination(),
            FaultKind::EffectFails => return point == Point::Message,
        }
        matches!(fault.kind, FaultKind::Cancelled)
            || (fault.kind == FaultKind::LinkLost && point == Point::Effect)
    }

    fn lose_link(&mut self) {
        if std::mem::replace(&mut self.link_up, false) {
            let reason = || "reset".to_owned();
            self.schedule(EFFECT, Action::Source(source::Event::LinkLost(reason())));
            self.schedule(EFFECT, Action::Destination(destination::Event::LinkLost(reason())));
        }
    }

    fn crash_source(&mut self) {
        if !matches!(self.source, SourceHost::Down) {
            self.source = SourceHost::Down;
            self.sending = None;
            self.lose_link();
            self.schedule(RESTART, Action::SourceRestarts);
        }
    }

    /// The daemon reads its log: what was not committed is its own.
    fn source_restarts(&mut self) {
        self.under_way = false;
        if !self.committed {
            self.guest.running = true;
        }
    }

    fn crash_destination(&mut self) {
        if self.destination.take().is_some() {
            self.lose_link();
            self.schedule(RESTART, Action::DestinationRestarts);
        }
    }

    /// The daemon reads its log: what may have been asked for is asked about, the rest is removed.
    fn destination_restarts(&mut self) {
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

    fn decided(&self) -> Decided {
        match (self.committed, self.under_way) {
            (true, _) => Decided::Committed,
            (false, true) => Decided::Undecided,
            (false, false) => Decided::Aborted,
        }
    }

    fn transmit(&mut self, frame: Frame, length: Bytes) {
        self.sent += length;
        self.link_free = self.link_free.max(self.now) + self.setting.bandwidth.time_for(length);
        let after = self.link_free + self.setting.latency - self.now;
        self.schedule(after, Action::ToDestination(frame, length));
    }

    fn send_chunk(&mut self) {
        let Some((pages, from)) = self.sending.take() else { return };
        let until = (from + CHUNK).min(pages.len());
        let content: Vec<_> = pages[from..until]
            .iter()
            .map(|page| (page.0, self.guest.memory[page.0 as usize]))
            .collect();
        if !content.is_empty() {
            let length = Bytes::new((PAGE_SIZE.get() + 8) * content.len() as u64);
            self.transmit(Frame::Pages(content), length);
        }
        if until == pages.len() {
            self.step_source(source::Event::PagesSent { sent: self.sent });
            return;
        }
        self.sending = Some((pages, until));
        // The socket holds two milliseconds' worth.
        let ahead = self.link_free.saturating_sub(self.now);
        self.schedule(ahead.saturating_sub(Duration::from_millis(2)), Action::SendChunk);
        self.step_source(source::Event::Sending { sent: self.sent });
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

    fn acknowledge(&mut self) {
        let bytes = self.arrived;
        self.say(DestinationMessage::Received { bytes });
    }

    fn say(&mut self, message: DestinationMessage) {
        self.schedule(self.setting.latency, Action::ToSource(message));
    }

    fn step_source(&mut self, event: source::Event) {
        match std::mem::replace(&mut self.source, SourceHost::Down) {
            SourceHost::Holding(holding) => {
                let next = holding.step(self.now, event);
                self.follow_source(next);
            }
            SourceHost::Committed(committed) => match committed.step(self.now, event) {
                Ok(committed) => self.source = SourceHost::Committed(committed),
                Err(moved) => self.end_source(moved.report),
            },
            SourceHost::Down => {}
        }
    }

    fn follow_source(&mut self, next: source::Next) {
        match next {
            source::Next::Hold(holding, effects) => {
                self.source = SourceHost::Holding(holding);
                for effect in effects {
                    if matches!(self.source, SourceHost::Down) {
                        return;
                    }
                    if self.point(Point::Effect) {
                        self.carry_out(effect);
                    } else {
                        self.fail(&effect);
                    }
                }
            }
            source::Next::Committed(committed) => {
                self.source = SourceHost::Committed(committed);
                self.transmit(Frame::Message(SourceMessage::Commit), Bytes::new(20));
            }
            source::Next::Unknown(unknown) => {
                self.report = Some(unknown.report);
                self.schedule(RESTART, Action::SourceRestarts);
            }
            source::Next::Stayed(stayed) => {
                if let Some(farewell) = stayed.farewell {
                    self.transmit(Frame::Message(farewell), Bytes::new(20));
                }
                self.end_source(stayed.report);
            }
        }
    }

    fn end_source(&mut self, report: Report) {
        self.under_way = false;
        self.report = Some(report);
    }

    fn fail(&mut self, effect: &source::Effect) {
        let reason = || "injected".to_owned();
        let event = match effect {
            source::Effect::RecordCommit if self.setting.seed.is_multiple_of(3) => {
                source::Event::NotRecorded(reason())
            }
            source::Effect::RecordCommit => {
                self.committed = self.setting.seed % 3 == 1;
                source::Event::RecordUnknown(reason())
            }
            source::Effect::Say(_) | source::Effect::Send(_) | source::Effect::Probe { .. } => {
                return self.lose_link();
            }
            source::Effect::Resume => {
                self.excused = true;
                source::Event::MachineFailed(reason())
            }
            _ => source::Event::MachineFailed(reason()),
        };
        self.schedule(EFFECT, Action::Source(event));
    }

    fn carry_out(&mut self, effect: source::Effect) {
        use source::{Effect, Event};
        let event = match effect {
            Effect::Say(message) => {
                return self.transmit(Frame::Message(message), Bytes::new(20));
            }
            Effect::Probe { .. } => {
                for _ in 0..20 {
                    self.transmit(Frame::Padding, Bytes::kib(16));
                }
                return self.transmit(Frame::Message(SourceMessage::ProbeEnd), Bytes::new(20));
            }
            Effect::Send(batch) => return self.begin_batch(&batch),
            Effect::StartTracing => Event::Traced { populated: self.guest.start_tracing() },
            Effect::Settle => {
                let after = self.guest.settled_at() - self.now;
                let direct_io = self.guest.direct_io();
                return self.schedule(after, Action::Source(Event::Settled { direct_io }));
            }
            Effect::PrepareStop => Event::StopPrepared,
            // A scan is instantaneous; that its result takes time to come is what matters.
            Effect::Scan => Event::Scanned { written: self.guest.scan() },
            Effect::Stop => {
                self.guest.running = false;
                let after = (self.guest.settled_at() - self.now).max(EFFECT);
                return self.schedule(after, Action::Source(Event::Stopped { since: self.now }));
            }
            Effect::SaveDeviceState => {
                return self.schedule(EFFECT * 6, Action::StateSaved);
            }
            Effect::Digest => Event::Digested(digest(&self.guest.memory)),
            Effect::RecordCommit => {
                self.committed = true;
                Event::Recorded
            }
            Effect::Resume => {
                assert!(!self.committed, "resumed behind the commit");
                self.sending = None;
                self.guest.running = true;
                Event::Resumed
            }
        };
        self.schedule(EFFECT, Action::Source(event));
    }

    /// The last of the device state has been written, which touched the memory once more.
    fn state_saved(&mut self) {
        if !self.guest.running {
            self.guest.save_device_state();
            self.transmit(Frame::DeviceState(Bytes::kib(200)), Bytes::kib(200));
            let (bytes, sent) = (Bytes::kib(200), self.sent);
            self.step_source(source::Event::StateSent { bytes, sent });
        }
    }

    fn begin_batch(&mut self, batch: &Batch) {
        self.sending = Some((batch.pages.iter().collect(), 0));
        self.schedule(Duration::ZERO, Action::SendChunk);
    }

    fn step_destination(&mut self, event: destination::Event) {
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

    fn fail_there(&mut self, effect: &destination::Effect) {
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
            Effect::Start | Effect::Digest | Effect::Load => Event::Failed(reason()),
        };
        self.schedule(EFFECT, Action::Destination(event));
    }

    fn carry_out_there(&mut self, effect: destination::Effect) {
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
            Effect::Digest => Event::Digested { digest: digest(&self.memory), took },
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
}

fn digest(memory: &[u32]) -> u128 {
    memory.iter().fold(0, |sum, version| sum * 31 % 1_000_000_007 + u128::from(*version))
}
