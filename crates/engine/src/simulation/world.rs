//! Two hosts, a link between them and a clock that only the simulation moves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use punctual_model::{Heat, Rounds, Strategy};
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PageIndex, PageSet, Pages, Region};
use punctual_wire::{DestinationMessage, MigrationId, Offer, Outcome as Decided, SourceMessage};

use super::faults::{Fault, FaultKind, Point};
use super::guest::{Guest, Workload};
use crate::Request;
use crate::destination::{self, Destination};
use crate::report::{Policy, Report};
use crate::source::{self, Committed, Holding};

pub(super) const EFFECT: Duration = Duration::from_micros(500);
/// A network that carries nothing any more is found out after this time.
const STALL: Duration = Duration::from_secs(12);
pub(super) const RESTART: Duration = Duration::from_millis(100);

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
    pub(super) policy: Policy,
    pub(super) strategy: Strategy,
    pub(super) force: bool,
    pub(super) heat: Option<Heat>,
    /// What a scan of all pages takes.
    pub(super) scan: Duration,
    pub(super) fault: Option<Fault>,
}

/// What there was at the end.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) report: Option<Report>,
    pub(super) committed: bool,
    pub(super) points: u32,
    /// Pages that were sent while the guest was stopped.
    pub(super) final_pages: u64,
    /// What was said of the end, and when.
    pub(super) progress: Vec<(Duration, Duration)>,
    runs_at_source: bool,
    runs_at_destination: bool,
    destination_left: bool,
    excused: bool,
    blackout: Duration,
    longest: Duration,
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
        assert!(self.blackout < self.longest, "{:?}: {context}", self.blackout);
        assert!(self.committed || !self.destination_left, "left behind: {context}");
    }
}

pub(super) enum Frame {
    Message(SourceMessage),
    Padding,
    Pages(Vec<(u64, u32)>),
    DeviceState(Bytes),
}

pub(super) enum Action {
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

pub(super) enum SourceHost {
    Holding(Box<Holding>),
    Committed(Committed),
    Down,
}

pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) now: Duration,
    pub(super) queue: BinaryHeap<Reverse<(Duration, u64)>>,
    pub(super) actions: HashMap<u64, Action>,
    pub(super) scheduled: u64,
    pub(super) points: u32,
    pub(super) final_pages: u64,
    pub(super) watch_progress: bool,
    progress: Vec<(Duration, Duration)>,
    pub(super) link_up: bool,
    pub(super) link_free: Duration,
    pub(super) sent: Bytes,
    pub(super) arrived: Bytes,
    pub(super) source: SourceHost,
    pub(super) guest: Guest,
    /// The batch that is being sent, and how far; and those that wait.
    pub(super) sending: VecDeque<(Vec<PageIndex>, usize)>,
    /// Pages of which the destination has some version.
    pub(super) sent_before: PageSet,
    pub(super) committed: bool,
    pub(super) under_way: bool,
    pub(super) destination: Option<Box<Destination>>,
    pub(super) memory: Vec<u32>,
    pub(super) device_state: Bytes,
    pub(super) probe_began: Option<(Duration, Bytes)>,
    pub(super) started: bool,
    pub(super) asking: bool,
    pub(super) runs_at_destination: bool,
    pub(super) excused: bool,
    pub(super) report: Option<Report>,
    pub(super) stopped_at: Duration,
    /// How long the guest was stopped before its daemon let it run on at the source.
    pub(super) blackout: Duration,
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
            final_pages: 0,
            watch_progress: false,
            progress: vec![],
            link_up: true,
            link_free: Duration::ZERO,
            sent: Bytes::ZERO,
            arrived: Bytes::ZERO,
            source: SourceHost::Down,
            guest: Guest::new(setting.workload, setting.seed),
            sending: VecDeque::new(),
            sent_before: PageSet::empty(Pages::new(setting.workload.pages)),
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
            stopped_at: Duration::ZERO,
            blackout: Duration::ZERO,
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
        let longest = self.longest_blackout();
        Outcome {
            report: self.report,
            committed: self.committed,
            points: self.points,
            final_pages: self.final_pages,
            progress: self.progress,
            runs_at_source: self.guest.running,
            runs_at_destination: self.runs_at_destination,
            destination_left: self.started,
            excused: self.excused,
            blackout: self.blackout,
            longest,
            fault: self.setting.fault,
        }
    }

    /// A guest that stays is not kept stopped for longer.
    fn longest_blackout(&self) -> Duration {
        let Setting { workload, bandwidth, force, strategy, .. } = &self.setting;
        let whole = bandwidth.time_for(Pages::new(workload.pages).bytes());
        let any = *force || matches!(strategy.rounds, Rounds::Exactly(_));
        Duration::from_secs(3) + if any { whole * 6 } else { Duration::ZERO }
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
            post_copy: false,
            engine: punctual_wire::Engine::External,
        }
    }

    fn request(&self) -> Request {
        Request {
            within: self.setting.within,
            round_trip: self.setting.latency * 2,
            strategy: self.setting.strategy,
            heat: self.setting.heat.clone(),
            force: self.setting.force,
            ..Request::new("b", self.setting.policy)
        }
    }

    pub(super) fn schedule(&mut self, after: Duration, action: Action) {
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
        if let SourceHost::Holding(holding) = &self.source
            && self.watch_progress
        {
            let ends_in = holding.progress(self.now).ends_in;
            self.progress.extend(ends_in.map(|ends_in| (self.now, ends_in)));
        }
        let source = !matches!(self.source, SourceHost::Down);
        if source || self.destination.is_some() {
            self.schedule(Duration::from_millis(5), Action::Tick);
        }
        self.step_source(source::Event::TimePassed);
        self.step_destination(destination::Event::TimePassed);
    }

    /// Passes a point where something may go wrong; `false` if it does and what was to happen here
    /// does not.
    pub(super) fn point(&mut self, point: Point) -> bool {
        let number = self.points;
        self.points += 1;
        let Some(fault) = self.setting.fault.filter(|fault| fault.at == number) else {
            return true;
        };
        match fault.kind {
            FaultKind::LinkLost => self.lose_link(),
            FaultKind::LinkStalls => self.cut_link(STALL),
            FaultKind::Cancelled => {
                self.schedule(Duration::ZERO, Action::Source(source::Event::Cancelled))
            }
            FaultKind::SourceCrash => self.crash_source(),
            FaultKind::DestinationCrash => self.crash_destination(),
            FaultKind::EffectFails => return point == Point::Message,
        }
        matches!(fault.kind, FaultKind::Cancelled)
            || (matches!(fault.kind, FaultKind::LinkLost | FaultKind::LinkStalls)
                && point == Point::Effect)
    }

    pub(super) fn lose_link(&mut self) {
        self.cut_link(EFFECT);
    }

    /// Nothing arrives any more, which is found out some time later.
    fn cut_link(&mut self, found_out: Duration) {
        if std::mem::replace(&mut self.link_up, false) {
            let reason = || "reset".to_owned();
            self.schedule(found_out, Action::Source(source::Event::LinkLost(reason())));
            self.schedule(found_out, Action::Destination(destination::Event::LinkLost(reason())));
        }
    }

    pub(super) fn decided(&self) -> Decided {
        match (self.committed, self.under_way) {
            (true, _) => Decided::Committed,
            (false, true) => Decided::Undecided,
            (false, false) => Decided::Aborted,
        }
    }

    pub(super) fn transmit(&mut self, frame: Frame, length: Bytes) {
        self.sent += length;
        self.link_free = self.link_free.max(self.now) + self.setting.bandwidth.time_for(length);
        let after = self.link_free + self.setting.latency - self.now;
        self.schedule(after, Action::ToDestination(frame, length));
    }

    pub(super) fn say(&mut self, message: DestinationMessage) {
        self.schedule(self.setting.latency, Action::ToSource(message));
    }
}

pub(super) fn digest(memory: &[u32]) -> u128 {
    memory.iter().fold(0, |sum, version| sum * 31 % 1_000_000_007 + u128::from(*version))
}
