//! What is to be expected of the guest and of the link, and what to send next because of it.

use std::cell::OnceCell;
use std::time::Duration;

use punctual_model::lull::{self, Lull};
use punctual_model::{HoldBack, Mode, Order, Rounds, Spread, hold_back, order};
use punctual_units::{Bytes, PageSet, Pages, Probability};

use super::context::Context;
use crate::FixedCost;
use crate::meter::{Care, Load};
use crate::remainder::Remainder;
use crate::rule::{Decision, Expected, Outcome, Outlook};

/// How much is read behind one scan: so much time of the link, ...
const LEG: Duration = Duration::from_millis(20);
/// ... and at least so many pages, since each scan costs something, ...
const SHORTEST_LEG: Pages = Pages::new(64);
/// ... and no more than these, however little the link takes for them: they have to be read.
const LONGEST_LEG: Pages = Pages::new(16 * 1024);
/// Without rounds, so much is sent before it is chosen anew.
const CHOICE: Duration = Duration::from_millis(100);
/// How likely a lull must be for it to be waited for.
const LIKELY: f64 = 0.5;
/// A forecast of the whole move is made no more often than this: it looks at every page.
const FORECAST_EVERY: Duration = Duration::from_millis(500);
/// From the decision to stop until the machine has heard of it.
const ORDERING: Duration = Duration::from_millis(1);
/// All pages are scanned so often while the guest is stopped: before and behind its device state.
const SCANS_WHILE_STOPPED: u32 = 2;
/// What a run of pages takes in a list of pages, at most, in bytes.
const RUN: u64 = 8;
/// Rounds that a forecast looks ahead.
const FORESEEABLE: u32 = 8;

/// Where a move stood when it was last looked ahead, and what it is likely to come to.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    at: Duration,
    dirty: Load,
    sending: Load,
    /// Made when somebody asks.
    forecast: OnceCell<Forecast>,
}

/// What a move that goes on is likely to come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    /// When the machine will run at the destination, since the beginning.
    pub(super) ends: Duration,
    pub(super) downtime: Duration,
}

impl Context {
    /// Whether rounds go in legs, each scanned before it is read. In the order of addresses the
    /// scan behind the round tells as much.
    pub(super) fn in_legs(&self) -> bool {
        self.request.strategy.order != Order::Address
    }

    /// How many pages of such a mix a leg has.
    fn leg(&self, mix: Load) -> Pages {
        self.meter.pages_in(LEG, mix).clamp(SHORTEST_LEG, LONGEST_LEG)
    }

    /// Cuts pages into the legs in which they are to be sent.
    pub(super) fn legs(&self, pages: &PageSet) -> order::Legs {
        let (order, mix) = (self.request.strategy.order, self.load(pages));
        order::legs(pages, self.watch.heat(), order, self.meter.slot(mix), self.leg(mix))
    }

    /// Those of `dirty` that the next round sends.
    pub(super) fn selection(&self, dirty: &PageSet) -> PageSet {
        let strategy = self.request.strategy;
        if self.is_rehearsed(dirty) {
            return dirty.clone();
        }
        let mut pages = dirty.clone();
        pages.subtract(&self.held_back(dirty));
        // To send nothing leads nowhere, unless the rounds are counted.
        if pages.is_empty() && !matches!(strategy.rounds, Rounds::Exactly(_)) {
            pages = dirty.clone();
        }
        match strategy.rounds {
            // What a portion leaves is not what a switch would leave.
            Rounds::None if self.request.mode != Mode::Hybrid => self.portion(&pages),
            _ => pages,
        }
    }

    /// The coldest pages, so many as are sent before it is chosen anew.
    fn portion(&self, pages: &PageSet) -> PageSet {
        let coldest =
            |most: Pages| order::coldest(pages, self.watch.heat(), most.max(SHORTEST_LEG));
        let portion = coldest(self.meter.pages_in(CHOICE, self.load(pages)));
        // What is cold may be of another mix than the rest.
        let fits = self.meter.pages_in(CHOICE, self.load(&portion));
        if fits < portion.len() { coldest(fits) } else { portion }
    }

    /// Whether all that is dirty is sent, so as to see what just these pages cost: what others did
    /// tells nothing of those that were left out because they are hot. It takes no longer than the
    /// interruption may, if they cost as much as others do.
    fn is_rehearsed(&self, dirty: &PageSet) -> bool {
        let strategy = self.request.strategy;
        let leaves_out = match strategy.rounds {
            Rounds::None => true,
            Rounds::UntilPromise => strategy.hold_back == HoldBack::Chosen,
            Rounds::Exactly(_) | Rounds::AsXen | Rounds::AsQemu => false,
        };
        let copy = || self.meter.time_for(self.load(dirty), Care::Likely);
        let known = self.meter.bandwidth().is_some();
        leaves_out && known && copy() <= self.rule.allowed(self.surely_fixed())
    }

    /// Those that stay for the final copy.
    pub(super) fn held_back(&self, dirty: &PageSet) -> PageSet {
        let strategy = self.request.strategy.hold_back;
        let copy = self.rule.allowed(self.surely_fixed());
        let allowed = self.meter.surely_again_in(copy);
        let load = self.load(dirty);
        let (slot, round) = (self.meter.slot(load), self.meter.time_alone(load));
        let heat = self.watch.heat();
        hold_back::choose(dirty, heat, strategy, slot, allowed, round, self.cheap())
    }

    fn likely_fixed(&self) -> Duration {
        self.fixed(Care::Likely)
    }

    fn surely_fixed(&self) -> Duration {
        self.fixed(Care::Surely) + self.request.fixed_spread
    }

    /// What has to be done beside the copy, with the device state's way over this link.
    fn fixed(&self, care: Care) -> Duration {
        let known = self.request.fixed;
        let on_the_link = match known.device_state {
            Duration::ZERO => Duration::ZERO,
            _ => {
                let rate = self.meter.rate(care);
                rate.map_or(Duration::ZERO, |rate| rate.time_for(FixedCost::STATE))
            }
        };
        let scans = self.watch.scan(care) * SCANS_WHILE_STOPPED;
        known.sum() + self.request.round_trip + scans + on_the_link
    }

    /// From the scan behind which it is decided until the processors stand. A guest that was slowed
    /// down is slow until then.
    fn until_stopped(&self) -> Duration {
        self.request.fixed.stop + self.watch.scan(Care::Surely) + ORDERING
    }

    /// The interruption that a stop now would make, with these pages to be sent: they, and what
    /// the guest writes until it stands.
    fn outcome(&self, pages: &PageSet) -> Outcome {
        let written = self.watch.heat().expect_written_except(pages, self.until_stopped());
        let left = Spread::exactly(pages.len().get() as f64).plus(written);
        // What will be written is taken for such as what has been.
        let load = self.load(pages);
        let copy = |pages: f64, care| self.meter.time_for(load.as_many(pages), care);
        let most = left.quantile(self.request.confidence).max(left.mean);
        Outcome {
            likely: Expected { fixed: self.likely_fixed(), copy: copy(left.mean, Care::Likely) },
            surely: Expected { fixed: self.surely_fixed(), copy: copy(most, Care::Surely) },
        }
    }

    /// The interruption that a stop now would surely not exceed if these pages follow: the list of
    /// them takes the place of the copy.
    fn outcome_of_following(&self, pages: &PageSet) -> Expected {
        let list = Bytes::new(RUN * pages.ranges().count() as u64);
        let rate = self.meter.rate(Care::Surely);
        let copy = rate.map_or(Duration::ZERO, |rate| rate.time_for(list));
        Expected { fixed: self.surely_fixed() + self.request.following, copy }
    }

    /// The interruption that is to be expected if the guest is stopped with this to be sent.
    pub(super) fn expected(&self, load: Load, care: Care) -> Duration {
        let fixed = match care {
            Care::Likely => self.likely_fixed(),
            Care::Surely => self.surely_fixed(),
        };
        fixed + self.meter.time_for(load, care)
    }

    /// Whether a machine that is moved in any case has to be stopped now.
    pub(super) fn must_stop(&self, at: Duration, dirty: &PageSet) -> bool {
        if self.rule.may_follow() {
            return self.rule.must_stop(at, self.surely_fixed());
        }
        // Where the coldest pages go first, what they cost tells nothing of those that are left.
        let coldest_first = self.request.strategy.rounds == Rounds::None;
        let care = if coldest_first { Care::Surely } else { Care::Likely };
        self.request.force && self.rule.must_stop(at, self.expected(self.load(dirty), care))
    }

    /// Decides what follows a round, behind the scan of all pages.
    pub(super) fn decide(&mut self, at: Duration, remainder: &Remainder) -> Decision {
        let dirty = remainder.pages();
        let settled = self.outcome(dirty);
        let at_a_stop = remainder.pages_at_a_stop();
        let now = if at_a_stop.len() == dirty.len() { settled } else { self.outcome(&at_a_stop) };
        let sends = self.selection(dirty);
        let next_round = self.round(&sends);
        let outlook = Outlook {
            at,
            round: self.course.rounds,
            left: at_a_stop.len(),
            left_takes: self.round(&at_a_stop),
            sent: self.course.pages_sent,
            memory: self.offer.layout.pages(),
            now,
            settled,
            next_round,
            copy_after: &|| self.copy_after(dirty, &sends, next_round),
            lull: &|left| self.lull(self.load(dirty), left),
            follow: &|| self.outcome_of_following(&at_a_stop),
            copy_slowed: &|share| self.copy_slowed(next_round, share),
            link_known: self.meter.bandwidth().is_some(),
        };
        let mut rule = self.rule.clone();
        let decision = rule.decide(&outlook);
        self.course.missed = rule.missed().cloned();
        self.rule = rule;
        decision
    }

    /// What a round takes that sends these pages.
    fn round(&self, sends: &PageSet) -> Duration {
        self.meter.time_alone(self.load(sends))
    }

    /// What the round takes that would come next.
    pub(super) fn next_round(&self, remainder: &Remainder) -> Duration {
        self.round(&self.selection(remainder.pages()))
    }

    /// What the copy is likely to take behind a round that `sends` some of the dirty pages: the
    /// others, and what is written meanwhile.
    fn copy_after(&self, dirty: &PageSet, sends: &PageSet, round: Duration) -> Duration {
        let mut others = dirty.clone();
        others.subtract(sends);
        let time = round + self.until_stopped();
        let written = self.watch.heat().expect_written_except(&others, time).mean;
        let load = self.load(&others).plus(Load::again(written));
        self.meter.time_for(load, Care::Likely)
    }

    /// What the copy will surely not exceed when rounds have settled with the guest at this share of
    /// its speed: each round then sends what was written during the one before.
    fn copy_slowed(&self, round: Duration, share: f64) -> Duration {
        let written = self.written_within(round);
        let mut round = round;
        for _ in 0..FORESEEABLE {
            let next = self.meter.time_alone(Load::again(written(round.mul_f64(share))));
            if next >= round {
                break;
            }
            round = next;
        }
        let pages = written((round + self.until_stopped()).mul_f64(share));
        self.meter.time_for(Load::again(pages), Care::Surely)
    }

    /// How many pages the guest is likely to write within a time: taken from the heat at two points
    /// up to `longest`, it follows a power of the time between them.
    fn written_within(&self, longest: Duration) -> impl Fn(Duration) -> f64 + use<> {
        const APART: f64 = 8.0;
        let written_in = |time: Duration| self.watch.heat().expect_written_all(time).mean.max(1e-9);
        let (long, short) = (written_in(longest), written_in(longest.div_f64(APART)));
        let power = ((long / short).ln() / APART.ln()).clamp(0.0, 1.0);
        let longest = longest.as_secs_f64().max(1e-9);
        move |time| long * (time.as_secs_f64() / longest).powf(power)
    }

    /// When the guest will have written so little for so long that the promise can be kept, if
    /// that is likely within the time that is `left`.
    fn lull(&self, dirty: Load, left: Duration) -> Option<Duration> {
        let again = Load::again(1.0);
        let copy = self.meter.pages_in(self.rule.allowed(self.surely_fixed()), again);
        let slot = self.meter.slot(again).as_secs_f64();
        let until_stopped = (self.until_stopped() + LEG).as_secs_f64();
        let below = (copy.get() as f64 / until_stopped).min(0.5 / slot);
        // At half the rate of the link, rounds become half as long each time.
        let lasting = self.meter.time_alone(dirty).saturating_mul(2) + self.offer.downtime;
        let horizon = left.checked_sub(lasting)?;
        let wait = lull::foresee(self.watch.heat().activity(), Lull { below, lasting }, horizon)?;
        wait.quantile(Probability::saturating(LIKELY))
    }

    /// Notes where the move stands, now and then: `sending` of the dirty pages are being sent.
    pub(super) fn note_standing(&mut self, at: Duration, remainder: &Remainder, sending: Load) {
        let fresh = |standing: &Standing| at < standing.at + FORECAST_EVERY;
        if self.meter.bandwidth().is_some() && !self.standing.as_ref().is_some_and(fresh) {
            let dirty = self.load(&remainder.pages_at_a_stop());
            self.standing = Some(Standing { at, dirty, sending, forecast: OnceCell::new() });
        }
    }

    /// What the move is likely to come to, as was foreseen when its standing was noted.
    pub(super) fn forecast(&self) -> Option<Forecast> {
        let standing = self.standing.as_ref()?;
        Some(*standing.forecast.get_or_init(|| self.look_ahead(standing)))
    }

    /// Goes through the rounds that are likely to come.
    fn look_ahead(&self, standing: &Standing) -> Forecast {
        let &Standing { at, dirty, sending, .. } = standing;
        let strategy = self.request.strategy;
        // Without rounds there is one that sends all.
        let all = strategy.rounds == Rounds::None && dirty.count() > sending.count();
        let sending = if all { dirty } else { sending };
        let first = self.meter.time_for(sending, Care::Likely);
        let written = self.written_within(first);
        let time = |pages: f64| self.meter.time_alone(Load::again(pages));
        let allowed = self.rule.allowed(self.likely_fixed());
        let beside = (dirty.count() - sending.count()).max(0.0);
        let held = if strategy.hold_back == HoldBack::Nothing { 0.0 } else { beside };
        let (mut ends, mut left) = (at + first, beside + written(first));
        for _ in 0..FORESEEABLE {
            let round = time((left - held).max(0.0));
            let next = held + written(round);
            if next > left * 0.8 || (time(left) <= allowed && time(left - next) < LEG / 20) {
                break;
            }
            (ends, left) = (ends + round, next);
        }
        left += written(self.until_stopped());
        if self.request.mode.may_depend() && time(left) > allowed {
            // It follows.
            left = 0.0;
        }
        let downtime = self.likely_fixed() + time(left);
        Forecast { ends: ends + downtime, downtime }
    }
}
