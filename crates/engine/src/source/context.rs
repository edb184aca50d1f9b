use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, Pages};
use punctual_wire::{DestinationMessage, Offer};

use super::event::{Event, Why};
use super::phases::State;
use crate::course::Course;
use crate::meter::Meter;
use crate::remainder::Remainder;
use crate::rule::{Expected, GiveUp, Outlook, Rule};
use crate::{Phase, Progress, Request};

/// What is still on its way when a scan begins takes at most this long: the link is not left idle,
/// and what the scan finds is as fresh as can be.
const ON_ITS_WAY: Duration = Duration::from_millis(2);
/// A stopped guest is let run on here after so many times the interruption asked for ...
const OVERRUN: u32 = 5;
/// ... but not before this time ...
const OVERRUN_LEAST: Duration = Duration::from_secs(2);
/// ... to which the time for digests is added, at this rate.
const DIGEST_RATE: BytesPerSecond = BytesPerSecond::new(100_000_000);

/// What all phases of the source know.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) offer: Offer,
    pub(super) request: Request,
    pub(super) meter: Meter,
    pub(super) rule: Rule,
    pub(super) course: Course,
    /// Pages that the guest lately wrote in a second.
    pub(super) written_rate: f64,
    last_scan: Duration,
}

impl Context {
    pub(super) fn new(offer: Offer, request: Request) -> Self {
        Self {
            meter: Meter::new(offer.bandwidth),
            rule: Rule::new(offer.downtime, request.within),
            course: Course::default(),
            written_rate: 0.0,
            last_scan: Duration::ZERO,
            offer,
            request,
        }
    }

    /// Whether the interruption asked for is shorter than one without any page would be.
    pub(super) fn too_short(&self) -> Option<Why> {
        let fixed = self.fixed();
        let least = Rule::least(Expected { fixed, copy: ON_ITS_WAY });
        let asked = self.offer.downtime;
        (least > asked).then_some(Why::TooShort { asked, fixed, least })
    }

    /// Takes note of what is measured in every phase.
    pub(super) fn note(&mut self, at: Duration, event: &Event) {
        match event {
            Event::Heard(DestinationMessage::Received { bytes }) => self.meter.received(at, *bytes),
            Event::Sending { sent, .. }
            | Event::PagesSent { sent }
            | Event::StateSent { sent, .. } => self.meter.sent(*sent),
            _ => return,
        }
        self.course.sent = self.meter.total_sent();
    }

    /// Takes note of a scan.
    pub(super) fn scanned(&mut self, at: Duration, written: Pages, dirty: Pages) {
        let time = at.saturating_sub(self.last_scan).as_secs_f64();
        if time > 0.0 {
            self.written_rate = written.get() as f64 / time;
        }
        self.last_scan = at;
        self.course.sample(at, written, dirty);
    }

    /// Tracing begins: what was written before does not count.
    pub(super) fn tracing_began(&mut self, at: Duration) {
        self.last_scan = at;
    }

    /// Whether so little is on its way that the round may be taken for arrived.
    pub(super) fn arrived(&self) -> bool {
        match self.meter.bandwidth() {
            Some(rate) => rate.time_for(self.meter.outstanding()) <= ON_ITS_WAY,
            None => self.meter.outstanding() <= Bytes::kib(64),
        }
    }

    fn fixed(&self) -> Duration {
        self.request.fixed.sum() + self.request.round_trip
    }

    /// The interruption that a stop now would make, with so many pages to be sent.
    pub(super) fn expected(&self, pages: Pages) -> Expected {
        let until_stopped = self.request.fixed.stop.as_secs_f64();
        let more = Pages::new((self.written_rate * until_stopped) as u64);
        Expected { fixed: self.fixed(), copy: self.meter.time_for(pages + more) }
    }

    pub(super) fn outlook(
        &self,
        at: Duration,
        remainder: &Remainder,
        dirty_before: Pages,
    ) -> Outlook {
        Outlook {
            at,
            expected: self.expected(remainder.at_a_stop()),
            expected_settled: self.expected(remainder.dirty()),
            dirty: remainder.dirty(),
            dirty_before,
            next_round: self.meter.time_alone(remainder.dirty()),
        }
    }

    pub(super) fn deadline_passed(&self, at: Duration, dirty: Pages) -> Option<GiveUp> {
        (at > self.request.within).then(|| self.rule.deadline_passed(self.expected(dirty).total()))
    }

    /// How long a guest may be stopped before it is let run on here: five times the interruption
    /// asked for, at least two seconds, and the time for digests.
    fn budget(&self) -> Duration {
        let digests = if self.offer.verify {
            DIGEST_RATE.time_for(self.offer.layout.pages().bytes())
        } else {
            Duration::ZERO
        };
        (self.offer.downtime * OVERRUN).max(OVERRUN_LEAST) + digests
    }

    pub(super) fn overrun(&self, at: Duration, since: Duration, phase: Phase) -> Option<Why> {
        let stopped = at.saturating_sub(since);
        let asked = self.offer.downtime;
        (stopped > self.budget()).then_some(Why::Overrun { phase, stopped, asked })
    }

    pub(super) fn progress(&self, at: Duration, state: &State) -> Progress {
        let dirty = state.dirty();
        let rate = self.meter.bandwidth().unwrap_or_default();
        let round_left = state.round_left().unwrap_or_default();
        let known = rate != BytesPerSecond::ZERO && state.round_left().is_some();
        Progress {
            machine: self.offer.machine.clone(),
            phase: state.phase(),
            elapsed: at,
            round: self.course.rounds,
            round_left,
            dirty,
            pages_sent: self.course.pages_sent,
            sent: self.course.sent,
            rate,
            round_ends_in: known.then(|| self.meter.time_for(round_left)),
            downtime_now: known.then(|| self.expected(dirty).total()),
            ends_in: None,
            downtime_predicted: None,
            downtime_asked: self.offer.downtime,
        }
    }
}
