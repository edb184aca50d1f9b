use std::time::Duration;

use punctual_model::Rounds;
use punctual_units::{Bytes, BytesPerSecond, PageSet, Pages, Probability};
use punctual_wire::{DestinationMessage, Offer};

use super::enforcement::Mark;
use super::event::{Event, Why};
use super::forecast::Standing;
use super::phases::State;
use super::watch::Watch;
use crate::course::Course;
use crate::meter::{Care, Load, Meter};
use crate::remainder::Remainder;
use crate::rule::{Expected, GiveUp, Rule};
use crate::{Progress, Request};

/// What is still on its way when a scan begins takes at most this long: the link is not left idle,
/// and what the scan finds is as fresh as can be.
const ON_ITS_WAY: Duration = Duration::from_millis(2);
/// What all phases of the source know.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) offer: Offer,
    pub(super) request: Request,
    pub(super) meter: Meter,
    pub(super) rule: Rule,
    pub(super) course: Course,
    pub(super) watch: Watch,
    /// Pages of which the destination has some version.
    sent_before: PageSet,
    /// Where the move last stood, for a look ahead.
    pub(super) standing: Option<Standing>,
    /// The interruption that was expected when the guest was stopped.
    pub(super) stopping_for: Duration,
    /// Where the connection stood then.
    pub(super) stopped: Option<Mark>,
    /// How many pages follow the machine.
    pub(super) left: Pages,
}

impl Context {
    pub(super) fn new(offer: Offer, mut request: Request) -> Self {
        let rule = Rule::new(offer.downtime, &request);
        let seen = request.bandwidth.filter(|_| rule.stops_at_once());
        Self {
            meter: Meter::new(offer.bandwidth.or(seen)),
            rule,
            course: Course::default(),
            watch: Watch::new(offer.layout.pages(), request.heat.take()),
            sent_before: PageSet::empty(offer.layout.pages()),
            standing: None,
            stopping_for: Duration::ZERO,
            stopped: None,
            left: Pages::ZERO,
            offer,
            request,
        }
    }

    /// What these pages are: such that go for the first time, and such that go again.
    pub(super) fn load(&self, pages: &PageSet) -> Load {
        Load::of(pages, &self.sent_before)
    }

    /// These pages are to be read and sent.
    pub(super) fn take(&mut self, remainder: &mut Remainder, leg: &PageSet) -> Load {
        let load = self.load(leg);
        remainder.take(leg);
        self.sent_before.union(leg);
        load
    }

    /// Those that cost less than any other, if that makes a difference on this link.
    pub(super) fn cheap(&self) -> Option<&PageSet> {
        self.meter.packs().then_some(&self.sent_before)
    }

    /// Whether the interruption asked for is shorter than one without any page would be.
    pub(super) fn too_short(&self) -> Option<Why> {
        // The rules of the field know of no such part.
        if matches!(self.request.strategy.rounds, Rounds::AsXen | Rounds::AsQemu) {
            return None;
        }
        // Only by what was measured: it is too early to refuse because of what is assumed.
        let known = &self.request;
        let fixed = known.fixed.sum() + known.round_trip + known.fixed_spread;
        let least = Rule::least(Expected { fixed, copy: ON_ITS_WAY });
        let asked = self.offer.downtime;
        (least > asked && !self.request.force).then_some(Why::TooShort { asked, fixed, least })
    }

    /// Takes note of what is measured in every phase.
    pub(super) fn note(&mut self, at: Duration, event: &Event) {
        match event {
            Event::Heard(DestinationMessage::Received { bytes }) => self.meter.received(at, *bytes),
            Event::Sending { sent, .. }
            | Event::PagesSent { sent }
            | Event::StateSent { sent, .. } => self.meter.sent(*sent),
            Event::Throttled { share } => return self.throttled(at, *share),
            Event::NotThrottled(reason) => return self.rule.not_throttled(reason.clone()),
            _ => return,
        }
        self.course.sent = self.meter.total_sent();
    }

    fn throttled(&mut self, at: Duration, share: Probability) {
        self.rule.throttled(share);
        self.course.slowing.set(at, share);
    }

    /// All pages have been scanned, which was asked for at `asked`; with what was found, so many
    /// are `dirty`.
    pub(super) fn scanned(
        &mut self,
        asked: Duration,
        at: Duration,
        written: &PageSet,
        dirty: Pages,
    ) {
        let written = self.watch.all(asked, at, written);
        self.course.sample(at, written, dirty);
    }

    /// Whether so little is on its way that the round may be taken for arrived.
    pub(super) fn arrived(&self) -> bool {
        match self.meter.bandwidth() {
            Some(rate) => rate.time_for(self.meter.outstanding()) <= ON_ITS_WAY,
            None => self.meter.outstanding() <= Bytes::kib(64),
        }
    }

    pub(super) fn deadline_passed(&self, at: Duration, state: &State) -> Option<GiveUp> {
        let late = at > self.request.within && !self.rule.goes_on_late();
        late.then(|| self.rule.deadline_passed(self.expected(state.load(self), Care::Surely)))
    }

    pub(super) fn progress(&self, at: Duration, state: &State) -> Progress {
        let (dirty, forecast) = (state.dirty(), self.forecast());
        let left = state.left();
        let rate = self.meter.bandwidth().unwrap_or_default();
        let known = left.filter(|_| rate != BytesPerSecond::ZERO);
        Progress {
            machine: self.offer.machine.clone(),
            phase: state.phase(),
            elapsed: at,
            round: self.course.rounds,
            round_left: left.unwrap_or_default().pages(),
            dirty,
            pages_sent: self.course.pages_sent,
            sent: self.course.sent,
            rate,
            round_ends_in: known.map(|left| self.meter.time_for(left, Care::Likely)),
            downtime_now: known.map(|_| self.expected(state.load(self), Care::Likely)),
            ends_in: forecast.map(|forecast| forecast.ends.saturating_sub(at)),
            downtime_predicted: forecast.map(|forecast| forecast.downtime),
            downtime_asked: self.offer.downtime,
            throttled: self.course.slowing.share(),
        }
    }
}
