//! The clock, and what happens at its times.

use std::time::Duration;

use punctual_engine::destination::{self, Destination};
use punctual_engine::source::{self, Committed, Holding};
use punctual_engine::{Report, Request};
use punctual_units::{Bytes, MemoryLayout, Region};
use punctual_wire::{DestinationMessage, MigrationId, Offer, SourceMessage};

use super::agenda::Agenda;
use super::guest::{Guest, Writes};
use super::outlet::Outlet;
use super::{Costs, Link, Subject, Terms};

/// The engine is told at least so often that time passes.
const TICK: Duration = Duration::from_millis(20);

pub(super) enum Action {
    /// Bytes reach the destination, with the message that they are, if they are no pages.
    Arrive(Bytes, Option<SourceMessage>),
    /// The end of a probe that came in at some rate reaches the destination.
    ArriveProbe(Bytes, punctual_units::BytesPerSecond),
    ToSource(DestinationMessage),
    Source(source::Event),
    Destination(destination::Event),
    /// The sending thread can go on.
    Outlet,
    /// The machine has written all of its device state.
    StateSaved,
    Tick,
}

pub(super) enum SourceSide {
    Holding(Box<Holding>),
    Committed(Committed),
    Ended(Box<Report>),
    /// While a step is being made.
    Stepping,
}

pub(super) struct World<'a> {
    pub(super) subject: &'a Subject,
    pub(super) link: Link,
    pub(super) costs: Costs,
    terms: Terms,
    pub(super) now: Duration,
    pub(super) agenda: Agenda<Action>,
    pub(super) source: SourceSide,
    /// The source's main thread carries out effects one after the other.
    pub(super) busy: Duration,
    pub(super) guest: Guest<'a>,
    pub(super) outlet: Outlet,
    pub(super) destination: Option<Box<Destination>>,
    pub(super) arrived: Bytes,
    pub(super) acknowledged: Bytes,
    pub(super) device_state: Bytes,
}

impl<'a> World<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        writes: &'a mut dyn Writes,
        link: &Link,
        costs: &Costs,
        terms: Terms,
    ) -> Self {
        let pages = subject.populated.capacity();
        let rate = terms.bandwidth.map_or(link.rate, |asked| asked.min(link.rate));
        let paced = Link { rate, ..*link };
        Self {
            subject,
            link: *link,
            costs: *costs,
            terms,
            now: Duration::ZERO,
            agenda: Agenda::new(),
            source: SourceSide::Stepping,
            busy: Duration::ZERO,
            guest: Guest::new(writes, pages),
            outlet: Outlet::new(paced, *costs, subject.content, pages, subject.thinning),
            destination: None,
            arrived: Bytes::ZERO,
            acknowledged: Bytes::ZERO,
            device_state: Bytes::ZERO,
        }
    }

    pub(super) fn run(mut self, request: Request) -> Report {
        self.agenda.add(TICK, Action::Tick);
        let next = Holding::begin(self.offer(), request);
        self.follow_source(next);
        while let Some((at, action)) = self.agenda.next() {
            self.now = at;
            if let SourceSide::Ended(report) = self.source {
                return *report;
            }
            self.act(action);
        }
        unreachable!("a tick follows each tick until the source's attempt has ended")
    }

    fn offer(&self) -> Offer {
        let size = self.subject.populated.capacity().bytes();
        let region = Region { name: "ram0".to_owned(), size };
        let layout = MemoryLayout::new(vec![region])
            .expect("a machine has pages, and no more than its layout could name");
        Offer {
            migration: MigrationId(0),
            machine: self.subject.machine.clone(),
            source: "here".to_owned(),
            source_address: String::new(),
            layout,
            populated: self.subject.populated.len().bytes(),
            description: vec![],
            downtime: self.terms.downtime,
            bandwidth: self.thinned(self.terms.bandwidth),
            verify: false,
            dry_run: false,
            post_copy: false,
            engine: punctual_wire::Engine::External,
        }
    }

    /// What the engine sees of a rate: a link slowed down like the machine was thinned.
    pub(super) fn thinned(
        &self,
        rate: Option<punctual_units::BytesPerSecond>,
    ) -> Option<punctual_units::BytesPerSecond> {
        let thinning = u64::from(self.subject.thinning);
        rate.map(|rate| punctual_units::BytesPerSecond::new((rate.get() / thinning).max(1)))
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Arrive(bytes, message) => self.arrive(bytes, message),
            Action::ArriveProbe(bytes, rate) => {
                self.arrived += bytes;
                self.step_destination(destination::Event::Probed { rate });
            }
            Action::ToSource(message) => self.step_source(source::Event::Heard(message)),
            Action::Source(event) => self.step_source(event),
            Action::Destination(event) => self.step_destination(event),
            Action::Outlet => self.outlet_free(),
            Action::StateSaved => self.state_saved(),
            Action::Tick => {
                self.agenda.add(self.now + TICK, Action::Tick);
                self.step_source(source::Event::TimePassed);
            }
        }
    }

    pub(super) fn after(&mut self, time: Duration, action: Action) {
        self.agenda.add(self.now + time, action);
    }
}
