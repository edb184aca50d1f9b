//! Everything that the source's main thread holds beside the machine: its threads, its log, its
//! clock and who watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use punctual_guest::{Ram, Stopped};
use punctual_wire::{MigrationId, Offer};

use super::ears::{Timed, listen};
use super::outlet::Outlet;
use super::{Cancel, Connection, told};
use crate::journal::{Entry, Journal, JournalError};
use crate::source::{Event, Holding};
use crate::{Observer, Phase, Progress};

/// How long an event is waited for before it is looked whether the move was cancelled.
const TICK: Duration = Duration::from_millis(20);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Line<'a> {
    pub(super) migration: MigrationId,
    pub(super) outlet: Outlet,
    begin: Instant,
    ears: JoinHandle<()>,
    events: mpsc::Sender<Timed>,
    inbox: mpsc::Receiver<Timed>,
    /// Answers to effects that were carried out at once.
    answers: VecDeque<Timed>,
    journal: &'a dyn Journal,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    cancelled: bool,
    /// What was shown last, and when.
    shown: Option<(Instant, Progress)>,
}

impl<'a> Line<'a> {
    pub(super) fn open(
        link: Connection,
        offer: &Offer,
        ram: Arc<Ram>,
        journal: &'a dyn Journal,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Self {
        let Connection { sender, receiver, closer } = link;
        let (events, inbox) = mpsc::channel();
        let ears = listen(receiver, events.clone());
        let outlet = Outlet::open(sender, closer, ram, offer.bandwidth, events.clone());
        Self {
            migration: offer.migration,
            outlet,
            begin: Instant::now(),
            ears,
            events,
            inbox,
            answers: VecDeque::new(),
            journal,
            observer,
            cancel,
            cancelled: false,
            shown: None,
        }
    }

    /// Waits for the next event, for a moment. Answers come first, then what was heard.
    pub(super) fn next_event(&mut self) -> (Duration, Event) {
        let (at, event) = self.answers.pop_front().unwrap_or_else(|| self.wait());
        (at.saturating_duration_since(self.begin), event)
    }

    fn wait(&mut self) -> Timed {
        if !self.cancelled && self.cancel.is_cancelled() {
            self.cancelled = true;
            return (Instant::now(), Event::Cancelled);
        }
        match self.inbox.recv_timeout(TICK) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                (Instant::now(), Event::TimePassed)
            }
        }
    }

    /// An effect has been carried out.
    pub(super) fn answer(&mut self, event: Event) {
        self.answers.push_back((Instant::now(), event));
    }

    /// The guest is stopped: its device state begins to flow.
    pub(super) fn stopped(&self, stopped: Stopped) -> Event {
        self.outlet.pump(stopped.device_state, self.events.clone());
        Event::Stopped { since: stopped.at.saturating_duration_since(self.begin) }
    }

    /// The commit point.
    pub(super) fn record_commit(&self) -> Event {
        match self.journal.record(&Entry::Committed { migration: self.migration }) {
            Ok(()) => Event::Recorded,
            Err(error @ JournalError::NotRecorded(_)) => Event::NotRecorded(told(&error)),
            Err(error @ JournalError::Unknown(_)) => Event::RecordUnknown(told(&error)),
        }
    }

    /// Records what must be on record before it goes on.
    pub(super) fn record(&self, entry: &Entry) -> Result<(), JournalError> {
        self.journal.record(entry)
    }

    /// Records what is good to know but decides nothing.
    pub(super) fn note(&self, entry: &Entry) {
        if let Err(error) = self.journal.record(entry) {
            tracing::warn!(?entry, error = told(&error), "not in the log; nothing depends on it");
        }
    }

    pub(super) fn show(&mut self, holding: &Holding) {
        let (now, phase) = (Instant::now(), holding.phase());
        let due = (self.shown.as_ref())
            .is_none_or(|(at, shown)| shown.phase != phase || now - *at >= SHOW_EVERY);
        if due {
            self.show_as(now, holding.progress(now - self.begin));
        }
    }

    /// Shows that a phase is reached behind which nothing is counted any more.
    pub(super) fn reached(&mut self, phase: Phase) {
        if let Some((_, shown)) = self.shown.take() {
            let now = Instant::now();
            self.show_as(now, Progress { phase, elapsed: now - self.begin, ..shown });
        }
    }

    fn show_as(&mut self, now: Instant, progress: Progress) {
        self.observer.progress(&progress);
        self.shown = Some((now, progress));
    }

    /// Says what there is to say, and ends the connection and its threads.
    pub(super) fn close(mut self) {
        self.reached(Phase::Ended);
        self.outlet.close();
        // It ends with the connection.
        let _ = self.ears.join();
    }
}
