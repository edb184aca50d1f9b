//! Two hosts, a link between them and a clock that only the simulation moves.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use punctual_engine::Phase;
use punctual_engine::destination::{self, Destination};
use punctual_engine::report::Report;
use punctual_engine::source::{self, Committed, Holding};
use punctual_model::Rounds;
use punctual_units::{Bytes, PageIndex, PageSet};

use crate::chance::Chance;
use crate::fault::{Failure, Side};
use crate::guest::Guest;
use crate::link::Link;
use crate::outcome::Outcome;
use crate::setting::Setting;

pub(crate) const EFFECT: Duration = Duration::from_micros(500);
/// How soon a daemon is started again by whoever watches it.
pub(crate) const RESTART: Duration = Duration::from_millis(100);
/// Time beyond a move's own within which everything settles, whatever went wrong.
const SETTLED: Duration = Duration::from_secs(180);

pub(crate) enum Action {
    ToDestination,
    ToSource,
    Source(source::Event),
    Destination(destination::Event),
    SendChunk,
    StateSaved,
    /// The process at the destination has been started.
    Started,
    /// Missing pages are asked for.
    Ask,
    /// They arrive, in the version that the source has.
    Arrive(Vec<(PageIndex, u32)>),
    /// The destination tells the source that it runs the machine, and has all of it.
    Remind,
    Tick,
    SourceRestarts,
    DestinationRestarts,
    /// The fault is due that comes so long after another.
    Strike,
    ConnectionEnds,
}

pub(crate) enum SourceHost {
    Holding(Box<Holding>),
    Committed(Committed),
    /// No move is under way, or no daemon.
    Idle,
}

/// What the log of the source says of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Open,
    Committed,
    /// Nobody can tell, but the next daemon will: whether it finds the commit.
    Unknown {
        finds: bool,
    },
}

/// Where the guest runs, or would if it were not stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Source,
    Destination,
}

pub(crate) struct World {
    pub(crate) setting: Setting,
    pub(crate) chance: Chance,
    pub(crate) now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    actions: HashMap<u64, Action>,
    scheduled: u64,
    pub(crate) points: u32,
    pub(crate) final_pages: u64,
    pub(crate) watch_progress: bool,
    pub(crate) progress: Vec<(Duration, Duration)>,
    /// How many of the faults have come, and at which point the phase of the next one.
    pub(crate) struck: usize,
    pub(crate) phase_at: Option<u32>,
    pub(crate) armed: Armed,
    pub(crate) wrong: Vec<String>,
    pub(crate) link: Link,
    pub(crate) sent: Bytes,
    pub(crate) arrived: Bytes,
    pub(crate) guest: Guest,
    pub(crate) place: Place,

    pub(crate) source: SourceHost,
    pub(crate) source_up: bool,
    pub(crate) source_frozen: Duration,
    /// Whether anything of the machine is at the source.
    pub(crate) source_has: bool,
    pub(crate) log: Log,
    pub(crate) under_way: bool,
    /// The batch that is being sent, and how far; and those that wait.
    pub(crate) sending: VecDeque<(Vec<PageIndex>, usize)>,
    /// Pages of which the destination has some version.
    pub(crate) sent_before: PageSet,
    /// Whether pages are served, and the memory that they are read from once it is committed.
    pub(crate) serving: bool,
    pub(crate) left_behind: Vec<u32>,

    pub(crate) destination: Option<Box<Destination>>,
    pub(crate) destination_up: bool,
    pub(crate) destination_frozen: Duration,
    /// Whether anything of the machine is at the destination.
    pub(crate) started: bool,
    pub(crate) starting: bool,
    pub(crate) machine_died: bool,
    /// Whether its log says that the commit may have been asked for.
    pub(crate) asking: bool,
    pub(crate) memory: Vec<u32>,
    pub(crate) missing: PageSet,
    pub(crate) followed: bool,
    pub(crate) load_waits: bool,
    pub(crate) device_state: Bytes,
    pub(crate) probe_began: Option<(Duration, Bytes)>,

    pub(crate) excused: bool,
    pub(crate) report: Option<Report>,
    pub(crate) stopped_at: Duration,
    /// How long the guest was stopped before its daemon let it run on at the source.
    pub(crate) blackout: Duration,
}

/// What goes wrong at the next opportunity.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    pub(crate) source_log: Option<Failure>,
    pub(crate) destination_log: Option<Failure>,
    pub(crate) scan: bool,
    pub(crate) frame: bool,
}

impl World {
    pub(crate) fn new(setting: Setting) -> Self {
        let guest = Guest::new(setting.workload, setting.seed);
        Self::with(setting, guest)
    }

    /// A move of a guest that is there already, with its memory and its tracer as they are.
    pub(crate) fn with(setting: Setting, guest: Guest) -> Self {
        let pages = setting.pages();
        Self {
            chance: Chance::new(setting.seed),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            actions: HashMap::new(),
            scheduled: 0,
            points: 0,
            final_pages: 0,
            watch_progress: false,
            progress: vec![],
            struck: 0,
            phase_at: None,
            armed: Armed::default(),
            wrong: vec![],
            link: Link::new(),
            sent: Bytes::ZERO,
            arrived: Bytes::ZERO,
            guest,
            place: Place::Source,
            source: SourceHost::Idle,
            source_up: true,
            source_frozen: Duration::ZERO,
            source_has: true,
            log: Log::Open,
            under_way: true,
            sending: VecDeque::new(),
            sent_before: PageSet::empty(pages),
            serving: false,
            left_behind: vec![],
            destination: None,
            destination_up: true,
            destination_frozen: Duration::ZERO,
            started: false,
            starting: false,
            machine_died: false,
            asking: false,
            memory: vec![0; pages.get() as usize],
            missing: PageSet::empty(pages),
            followed: false,
            load_waits: false,
            device_state: Bytes::ZERO,
            probe_began: None,
            excused: false,
            report: None,
            stopped_at: Duration::ZERO,
            blackout: Duration::ZERO,
            setting,
        }
    }

    /// Runs until nothing is left to be done.
    pub(crate) fn run(mut self) -> Outcome {
        self.schedule(self.setting.tick, Action::Tick);
        let first = Holding::begin(self.setting.offer(), self.setting.request());
        self.follow_source(first);
        let last = self.setting.within + SETTLED;
        while let Some(Reverse((at, id))) = self.queue.pop() {
            let action = self.actions.remove(&id).expect("each is scheduled once");
            if at > last {
                self.wrong.push(format!("it has not settled after {last:.0?}"));
                break;
            }
            self.guest.advance(at);
            self.now = at;
            match self.put_off(&action) {
                Some(until) => self.schedule(until - at, action),
                None => self.act(action),
            }
        }
        let longest = self.longest_blackout();
        Outcome::of(self, longest)
    }

    /// A guest that stays is not kept stopped for longer, if nothing stands still.
    fn longest_blackout(&self) -> Duration {
        let Setting { bandwidth, force, strategy, .. } = &self.setting;
        let whole = bandwidth.time_for(self.setting.pages().bytes());
        let any = *force || matches!(strategy.rounds, Rounds::Exactly(_));
        Duration::from_secs(3) + if any { whole * 6 } else { Duration::ZERO }
    }

    pub(crate) fn schedule(&mut self, after: Duration, action: Action) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.actions.insert(self.scheduled, action);
    }

    /// Until when nothing comes of this action, if that is so: the way is held, or the daemon
    /// stands still.
    fn put_off(&self, action: &Action) -> Option<Duration> {
        if self.link.up
            && let Some(until) = self.held(action)
        {
            return Some(until);
        }
        let frozen = match action {
            Action::ToSource | Action::Source(_) | Action::SendChunk | Action::StateSaved => {
                self.source_frozen
            }
            Action::ToDestination
            | Action::Destination(_)
            | Action::Started
            | Action::Ask
            | Action::Arrive(_)
            | Action::Remind => self.destination_frozen,
            _ => return None,
        };
        (frozen > self.now).then_some(frozen)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::ToDestination => self.frame_arrives(),
            Action::ToSource => self.message_arrives(),
            Action::Source(event) => self.step_source(event),
            Action::Destination(event) => self.step_destination(event),
            Action::SendChunk => self.send_chunk(),
            Action::StateSaved => self.state_saved(),
            Action::Started => self.has_started(),
            Action::Ask => self.ask_for_pages(),
            Action::Arrive(pages) => self.pages_arrive(pages),
            Action::Remind => self.remind(),
            Action::Tick => self.tick(),
            Action::SourceRestarts => self.source_restarts(),
            Action::DestinationRestarts => self.destination_restarts(),
            Action::Strike => self.strike_later(),
            Action::ConnectionEnds => self.link.up = false,
        }
    }

    fn tick(&mut self) {
        if let SourceHost::Holding(holding) = &self.source
            && self.watch_progress
        {
            let ends_in = holding.progress(self.now).ends_in;
            self.progress.extend(ends_in.map(|ends_in| (self.now, ends_in)));
        }
        let source = !matches!(self.source, SourceHost::Idle);
        if source || self.destination.is_some() {
            self.schedule(self.setting.tick, Action::Tick);
        }
        if self.now >= self.source_frozen {
            self.step_source(source::Event::TimePassed);
        }
        if self.now >= self.destination_frozen {
            self.step_destination(destination::Event::TimePassed);
        }
    }

    /// The phase of the move as the source has it.
    pub(crate) fn phase(&self) -> Phase {
        match &self.source {
            SourceHost::Holding(holding) => holding.phase(),
            SourceHost::Committed(_) => Phase::Committed,
            SourceHost::Idle if !self.missing.is_empty() => Phase::PostCopy,
            SourceHost::Idle => Phase::Ended,
        }
    }

    /// Notes what must not be.
    pub(crate) fn expect(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.wrong.push(format!("{otherwise}, at {:.3?}", self.now));
        }
    }

    /// Which side a daemon's standing still or dying means.
    pub(crate) fn is_up(&self, side: Side) -> bool {
        match side {
            Side::Source => self.source_up && self.now >= self.source_frozen,
            Side::Destination => self.destination_up && self.now >= self.destination_frozen,
        }
    }
}

/// A digest of the memory but for these pages.
pub(crate) fn digest(memory: &[u32], except: &PageSet) -> u128 {
    let pages = memory.iter().enumerate();
    let counted = pages.filter(|(page, _)| !except.contains(PageIndex(*page as u64)));
    counted.fold(0, |sum, (_, version)| (sum * 31 + u128::from(*version)) % 1_000_000_007)
}
