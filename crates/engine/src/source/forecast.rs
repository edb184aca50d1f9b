//! What is to be expected of the guest and of the link, and what to send next because of it.

use std::cell::OnceCell;
use std::time::Duration;

use punctual_model::lull::{self, Lull};
use punctual_model::{HoldBack, Order, Rounds, Spread, hold_back, order};
use punctual_units::{PageSet, Pages, Probability};

use super::context::Context;
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
/// Rounds that a forecast looks ahead.
const FORESEEABLE: u32 = 8;

/// Where a move stood when it was last looked ahead, and what it is likely to come to.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    at: Duration,
    dirty: Pages,
    sending: Pages,
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

    /// How many pages a leg has.
    pub(super) fn leg(&self) -> Pages {
        self.meter.pages_in(LEG).clamp(SHORTEST_LEG, LONGEST_LEG)
    }

    /// Cuts pages into the legs in which they are to be sent.
    pub(super) fn legs(&self, pages: &PageSet) -> order::Legs {
        let order = self.request.strategy.order;
        order::legs(pages, self.watch.heat(), order, self.meter.slot(), self.leg())
    }

    /// Those of `dirty` that the next round sends.
    pub(super) fn selection(&self, dirty: &PageSet) -> PageSet {
        let strategy = self.request.strategy;
        let mut pages = dirty.clone();
        pages.subtract(&self.held_back(dirty));
        // To send nothing leads nowhere, unless the rounds are counted.
        if pages.is_empty() && !matches!(strategy.rounds, Rounds::Exactly(_)) {
            pages = dirty.clone();
        }
        match strategy.rounds {
            Rounds::None => {
                let most = self.meter.pages_in(CHOICE).max(SHORTEST_LEG);
                order::coldest(&pages, self.watch.heat(), most)
            }
            Rounds::UntilPromise | Rounds::Exactly(_) => pages,
        }
    }

    /// Those that stay for the final copy.
    pub(super) fn held_back(&self, dirty: &PageSet) -> PageSet {
        let copy = self.rule.allowed(self.surely_fixed());
        let allowed = self.meter.pages_in(copy);
        let round = self.meter.time_alone(dirty.len());
        let strategy = self.request.strategy.hold_back;
        hold_back::choose(dirty, self.watch.heat(), strategy, self.meter.slot(), allowed, round)
    }

    fn likely_fixed(&self) -> Duration {
        self.request.fixed.sum() + self.request.round_trip
    }

    pub(super) fn surely_fixed(&self) -> Duration {
        self.likely_fixed() + self.request.fixed_spread
    }

    /// The interruption that a stop now would make, with these pages to be sent: they, and what
    /// the guest writes until it stands.
    fn outcome(&self, pages: &PageSet) -> Outcome {
        let until_stopped = self.request.fixed.stop;
        let written = self.watch.heat().expect_written_except(pages, until_stopped);
        let left = Spread::exactly(pages.len().get() as f64).plus(written);
        let copy = |pages: f64| self.meter.time_for(Pages::new(pages.ceil() as u64));
        let surely = copy(left.quantile(self.request.confidence).max(left.mean));
        Outcome {
            likely: Expected { fixed: self.likely_fixed(), copy: copy(left.mean) },
            surely: Expected { fixed: self.surely_fixed(), copy: surely },
        }
    }

    /// The interruption that is likely if the guest is stopped with so many pages to be sent.
    pub(super) fn expected(&self, pages: Pages) -> Duration {
        self.likely_fixed() + self.meter.time_for(pages)
    }

    /// Whether a machine that is moved in any case has to be stopped now.
    pub(super) fn must_stop(&self, at: Duration, dirty: &PageSet) -> bool {
        self.rule.must_stop(at, self.expected(dirty.len()))
    }

    /// Decides what follows a round, behind the scan of all pages.
    pub(super) fn decide(&mut self, at: Duration, remainder: &Remainder) -> Decision {
        let dirty = remainder.pages();
        let settled = self.outcome(dirty);
        let at_a_stop = remainder.pages_at_a_stop();
        let now = if at_a_stop.len() == dirty.len() { settled } else { self.outcome(&at_a_stop) };
        let sends = self.selection(dirty);
        let next_round = self.meter.time_alone(sends.len());
        let outlook = Outlook {
            at,
            round: self.course.rounds,
            now,
            settled,
            next_round,
            copy_after: &|| self.copy_after(dirty, &sends, next_round),
            lull: &|left| self.lull(dirty.len(), left),
        };
        let mut rule = self.rule.clone();
        let decision = rule.decide(&outlook);
        self.rule = rule;
        decision
    }

    /// What the copy is likely to take behind a round that `sends` some of the dirty pages: the
    /// others, and what is written meanwhile.
    fn copy_after(&self, dirty: &PageSet, sends: &PageSet, round: Duration) -> Duration {
        let mut others = dirty.clone();
        others.subtract(sends);
        let time = round + self.request.fixed.stop;
        let written = self.watch.heat().expect_written_except(&others, time).mean;
        self.meter.time_for(others.len() + Pages::new(written.ceil() as u64))
    }

    /// When the guest will have written so little for so long that the promise can be kept, if
    /// that is likely within the time that is `left`.
    fn lull(&self, dirty: Pages, left: Duration) -> Option<Duration> {
        let copy = self.meter.pages_in(self.rule.allowed(self.surely_fixed()));
        let slot = self.meter.slot().as_secs_f64();
        let until_stopped = self.request.fixed.stop.as_secs_f64() + LEG.as_secs_f64();
        let below = (copy.get() as f64 / until_stopped).min(0.5 / slot);
        // At half the rate of the link, rounds become half as long each time.
        let lasting = self.meter.time_alone(dirty).saturating_mul(2) + self.offer.downtime;
        let horizon = left.checked_sub(lasting)?;
        let wait = lull::foresee(self.watch.heat().activity(), Lull { below, lasting }, horizon)?;
        wait.quantile(Probability::saturating(LIKELY))
    }

    /// Notes where the move stands, now and then: `sending` of the dirty pages are being sent.
    pub(super) fn note_standing(&mut self, at: Duration, remainder: &Remainder, sending: Pages) {
        let fresh = |standing: &Standing| at < standing.at + FORECAST_EVERY;
        if self.meter.bandwidth().is_some() && !self.standing.as_ref().is_some_and(fresh) {
            let dirty = remainder.at_a_stop();
            self.standing = Some(Standing { at, dirty, sending, forecast: OnceCell::new() });
        }
    }

    /// What the move is likely to come to, as was foreseen when its standing was noted.
    pub(super) fn forecast(&self) -> Option<Forecast> {
        let standing = self.standing.as_ref()?;
        Some(*standing.forecast.get_or_init(|| self.look_ahead(standing)))
    }

    /// Goes through the rounds that are likely to come. How many pages are written in a time is
    /// taken from the heat at two points, and follows a power of the time between them.
    fn look_ahead(&self, standing: &Standing) -> Forecast {
        let &Standing { at, dirty, sending, .. } = standing;
        const APART: f64 = 8.0;
        let (heat, strategy) = (self.watch.heat(), self.request.strategy);
        // Without rounds there is one that sends all.
        let sending = if strategy.rounds == Rounds::None { dirty.max(sending) } else { sending };
        let written_in = |time: Duration| heat.expect_written_all(time).mean.max(1e-9);
        let first = self.meter.time_for(sending);
        let (long, short) = (written_in(first), written_in(first.div_f64(APART)));
        let power = ((long / short).ln() / APART.ln()).clamp(0.0, 1.0);
        let written = |time: Duration| {
            long * (time.as_secs_f64() / first.as_secs_f64().max(1e-9)).powf(power)
        };
        let time = |pages: f64| self.meter.time_alone(Pages::new(pages.ceil() as u64));
        let allowed = self.rule.allowed(self.likely_fixed());
        let beside = dirty.saturating_sub(sending).get() as f64;
        let held = if strategy.hold_back == HoldBack::Nothing { 0.0 } else { beside };
        let (mut ends, mut left) = (at + first, beside + long);
        for _ in 0..FORESEEABLE {
            let round = time((left - held).max(0.0));
            let next = held + written(round);
            if next > left * 0.8 || (time(left) <= allowed && time(left - next) < LEG / 20) {
                break;
            }
            (ends, left) = (ends + round, next);
        }
        left += written(self.request.fixed.stop);
        let downtime = self.likely_fixed() + time(left);
        Forecast { ends: ends + downtime, downtime }
    }
}
