//! Carries out what the source of a move by the machine's own hypervisor decides.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use punctual_engine::report::{OnMiss, Report};
use punctual_engine::{Cancel, Connection, Entry, Journal, JournalError, Observer, Phase};
use punctual_guest::MachineError;
use punctual_guest::qemu::native::{Limits, Remains, Source};
use punctual_link::{Closer, Link, LinkError, Sender, Timeouts, Tunnel};
use punctual_units::{Bytes, BytesPerSecond};
use punctual_wire::{MigrationId, Offer, SourceMessage};

use super::core::{Asked, Committed, Effect, Event, Holding, Marks, Moved, Next, Why};
use super::ears;
use super::report::{Course, End};
use super::shown::Shown;
use super::tunnel::carry;

/// How often time passes where nothing else happens.
const TICK: Duration = Duration::from_millis(20);
/// How often the hypervisor is asked how its migration goes on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A move that is to be made.
pub(crate) struct Move<'a> {
    pub(crate) machine: Source,
    /// The link over which it is offered.
    pub(crate) link: Link,
    /// Where the tunnel goes: the same host.
    pub(crate) address: &'a str,
    pub(crate) offer: Offer,
    /// The rate to keep to.
    pub(crate) bandwidth: Option<BytesPerSecond>,
    pub(crate) within: Duration,
    pub(crate) force: bool,
    pub(crate) on_miss: OnMiss,
    /// What an interruption takes beside the last pages: the hypervisor is allowed the rest.
    pub(crate) fixed: Duration,
    /// What is asked, as a report of nothing.
    pub(crate) base: Report,
    pub(crate) journal: &'a dyn Journal,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) cancel: &'a Cancel,
}

/// How a move ended at the source.
pub(crate) enum Ended {
    /// The machine is the destination's. What is left here is to be removed once the report says
    /// that the move was completed.
    Moved { report: Report, remains: Remains },
    /// The machine runs on here.
    Stayed { report: Report, command_line: Option<Vec<String>> },
    /// Nobody can tell whether the commit is in the log. The machine stays paused.
    Unknown { report: Report },
}

impl Move<'_> {
    /// Makes the move. The outcome is always clear; whatever goes wrong before the commit is
    /// recorded leaves the machine running here. Uses four threads more.
    pub(crate) fn drive(self) -> Ended {
        let Self { offer, within, force, on_miss, .. } = &self;
        let asked =
            Asked { offer: offer.clone(), within: *within, force: *force, on_miss: *on_miss };
        let entry = Entry::Offered {
            migration: offer.migration,
            machine: offer.machine.clone(),
            to: self.base.to.clone(),
        };
        let first = match self.journal.record(&entry) {
            Ok(()) => Holding::begin(asked),
            Err(error) => Next::Stayed {
                marks: Marks::default(),
                why: Why::NotRecorded(error.to_string()),
                not_resumed: None,
                farewell: None,
            },
        };
        Driver::new(self).run(first)
    }
}

struct Driver<'a> {
    machine: Source,
    address: &'a str,
    limits: Limits,
    bandwidth: Option<BytesPerSecond>,
    migration: MigrationId,
    asked_downtime: Duration,
    base: Report,
    journal: &'a dyn Journal,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    begin: Instant,
    sender: Sender,
    closer: Closer,
    tunnel: Option<Closer>,
    /// Bytes that have gone into the tunnel.
    tunnelled: Arc<AtomicU64>,
    events: mpsc::Sender<(Instant, Event)>,
    inbox: mpsc::Receiver<(Instant, Event)>,
    /// Answers to effects that were carried out at once.
    answers: VecDeque<Event>,
    cancelled: bool,
    looked: Option<Instant>,
    /// Nobody need watch the hypervisor any more.
    over: Arc<AtomicBool>,
    course: Course,
}

impl<'a> Driver<'a> {
    fn new(made: Move<'a>) -> Self {
        let Connection { sender, receiver, closer } = made.link.into();
        let (events, inbox) = mpsc::channel();
        ears::listen(receiver, events.clone());
        let limits = Limits {
            bandwidth: made.bandwidth,
            downtime: made.offer.downtime.saturating_sub(made.fixed),
            throttle: made.on_miss == OnMiss::Throttle,
        };
        Self {
            machine: made.machine,
            address: made.address,
            limits,
            bandwidth: made.bandwidth,
            migration: made.offer.migration,
            asked_downtime: made.offer.downtime,
            base: made.base,
            journal: made.journal,
            observer: made.observer,
            cancel: made.cancel,
            begin: Instant::now(),
            sender,
            closer,
            tunnel: None,
            tunnelled: Arc::default(),
            events,
            inbox,
            answers: VecDeque::new(),
            cancelled: false,
            looked: None,
            over: Arc::default(),
            course: Course::default(),
        }
    }

    fn run(mut self, mut next: Next) -> Ended {
        loop {
            match next {
                Next::Hold(holding, effects) => {
                    self.show(&holding);
                    for effect in effects {
                        self.carry_out(effect);
                    }
                    let (at, event) = self.next_event(holding.phase());
                    if let Event::Looked(look) = &event {
                        let sent = self.sent();
                        self.course.looked(at, look, sent);
                    }
                    next = holding.step(at, event);
                }
                Next::Committed(committed) => return self.moved(committed),
                Next::Unknown { marks, reason } => {
                    let report = self.end(&marks, End::Unknown(&reason));
                    return Ended::Unknown { report };
                }
                Next::Stayed { marks, why, not_resumed, farewell } => {
                    if let Some(farewell) = farewell {
                        self.say(&farewell);
                    }
                    let (migration, reason) = (self.migration, why.to_string());
                    self.note(&Entry::Aborted { migration, reason });
                    let not_resumed = not_resumed.as_deref();
                    let report = self.end(&marks, End::Stayed { why: &why, not_resumed });
                    let command_line = match why {
                        Why::Rehearsed { command_line } => Some(command_line),
                        _ => None,
                    };
                    return Ended::Stayed { report, command_line };
                }
            }
        }
    }

    /// The destination owns the machine: what is left of it here cannot run.
    fn moved(mut self, mut committed: Committed) -> Ended {
        self.say(&SourceMessage::Commit);
        let Moved { marks, trouble } = loop {
            let (at, event) = self.next_event(Phase::Committed);
            match committed.step(at, event) {
                Ok(next) => committed = next,
                Err(moved) => break *moved,
            }
        };
        if trouble.is_none() {
            self.note(&Entry::Surrendered { migration: self.migration });
        }
        let report = self.report(&marks, End::Moved(trouble.as_deref()));
        self.close();
        Ended::Moved { report, remains: self.machine.surrender() }
    }

    fn end(mut self, marks: &Marks, end: End<'_>) -> Report {
        let report = self.report(marks, end);
        self.close();
        report
    }

    fn report(&mut self, marks: &Marks, end: End<'_>) -> Report {
        let (at, sent) = (self.begin.elapsed(), self.sent());
        // The last pages were sent behind the last look. Without an answer they are not counted.
        if marks.begun.is_some()
            && let Ok(look) = self.machine.look()
        {
            self.course.ended(look);
        }
        std::mem::take(&mut self.course).report(self.base.clone(), marks, at, sent, end)
    }

    fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.closer.close();
        self.tunnel.iter().for_each(Closer::close);
    }

    /// What has been put on both connections.
    fn sent(&self) -> Bytes {
        self.sender.sent().total() + Bytes::new(self.tunnelled.load(Ordering::Relaxed))
    }

    fn next_event(&mut self, phase: Phase) -> (Duration, Event) {
        if let Some(answer) = self.answers.pop_front() {
            return (self.begin.elapsed(), answer);
        }
        if self.cancel.is_cancelled() && !std::mem::replace(&mut self.cancelled, true) {
            return (self.begin.elapsed(), Event::Cancelled);
        }
        match self.inbox.recv_timeout(TICK) {
            Ok((at, event)) => (at.saturating_duration_since(self.begin), event),
            Err(RecvTimeoutError::Timeout) if phase == Phase::Copying && self.is_to_look() => {
                let looked = self.machine.look();
                let event = looked.map_or_else(failed, Event::Looked);
                (self.begin.elapsed(), event)
            }
            // The channel cannot close: this end of it is kept here.
            Err(_) => (self.begin.elapsed(), Event::TimePassed),
        }
    }

    fn is_to_look(&mut self) -> bool {
        let due = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if due {
            self.looked = Some(Instant::now());
        }
        due
    }

    fn carry_out(&mut self, effect: Effect) {
        let answer = match effect {
            Effect::Say(message) => return self.say(&message),
            Effect::Begin => match self.open() {
                Ok(()) => return,
                Err(event) => event,
            },
            Effect::AllowAny => match self.machine.allow(Duration::MAX) {
                Ok(()) => return,
                Err(error) => failed(error),
            },
            Effect::HandOver => match self.machine.hand_over() {
                Ok(()) => return,
                Err(error) => failed(error),
            },
            Effect::RecordCommit => self.record_commit(),
            Effect::Resume => {
                // A hypervisor that waits for its stream cannot give up. What it still says is
                // thrown away.
                self.tunnel.iter().for_each(Closer::close);
                self.machine.resume().map_or_else(failed, |()| Event::Resumed)
            }
        };
        self.answers.push_back(answer);
    }

    fn say(&mut self, message: &SourceMessage) {
        if self.sender.send(message).is_err() {
            // Who listens hears of it, too, and says why.
            self.closer.close();
        }
    }

    /// Opens the tunnel and begins the migration through it.
    fn open(&mut self) -> Result<(), Event> {
        let tunnel = self.dial().map_err(|error| Event::LinkLost(error.to_string()))?;
        self.tunnel = Some(tunnel.closer());
        let (stream, watch) = self.machine.begin(&self.limits).map_err(failed)?;
        let tell = self.events.clone();
        let broken = move |error: &io::Error| {
            let event = Event::GaveUp(format!("its stream to the destination broke: {error}"));
            // Nobody listens once the move has ended.
            let _ = tell.send((Instant::now(), event));
        };
        carry(tunnel, stream, &self.tunnelled, broken)
            .map_err(|error| Event::MachineFailed(format!("no thread for its stream: {error}")))?;
        let (events, over) = (self.events.clone(), Arc::clone(&self.over));
        ears::watch(watch, events, over, self.begin)
            .map_err(|error| Event::MachineFailed(format!("no thread to watch it: {error}")))
    }

    fn dial(&self) -> Result<Tunnel, LinkError> {
        let link = Link::connect(self.address, &Timeouts::default())?;
        link.pace(self.bandwidth)?;
        let (mut sender, receiver) = link.split();
        sender.send(&SourceMessage::Tunnel { migration: self.migration })?;
        Tunnel::of(sender, receiver)
    }

    fn record_commit(&self) -> Event {
        match self.journal.record(&Entry::Committed { migration: self.migration }) {
            Ok(()) => Event::Recorded,
            Err(error @ JournalError::NotRecorded(_)) => Event::NotRecorded(error.to_string()),
            Err(error @ JournalError::Unknown(_)) => Event::RecordUnknown(error.to_string()),
        }
    }

    /// Records what is good to know but decides nothing.
    fn note(&self, entry: &Entry) {
        if let Err(error) = self.journal.record(entry) {
            tracing::warn!(?entry, %error, "not in the log; nothing depends on it");
        }
    }

    fn show(&self, holding: &Holding) {
        let (machine, elapsed) = (self.base.machine.clone(), self.begin.elapsed());
        let at = Shown { machine, elapsed, sent: self.sent(), asked: self.asked_downtime };
        self.observer.progress(&at.progress(holding.phase(), holding.look()));
    }
}

fn failed(error: MachineError) -> Event {
    Event::MachineFailed(error.to_string())
}
