//! A round on its way.
//!
//! In the order of addresses a round is one batch, and the pages written meanwhile are looked for
//! behind it. In any other order it goes in *legs* of some 20 ms of link time. Two are kept in
//! flight, so that the link never waits; before the next one is read, its pages are looked for:
//!
//! ```text
//!   scan among leg 3 ─► found: dirty, leg 3: not dirty ─► leg 3 is sent ─► scan among leg 4 ─► ...
//!   ════ leg 1 on the link ═══════════ leg 2 ════════════════ leg 3 ══
//! ```
//!
//! So a page written while it waited for its turn does not count as written behind it: what counts
//! is the time from its own leg to the end of the round, and that is what the order is made for.
//! That no page is lost thereby is argued at [`Remainder`].

use std::collections::VecDeque;
use std::time::Duration;

use punctual_model::order::Legs;
use punctual_units::{Bytes, PageSet, Pages};
use punctual_wire::{DestinationMessage, SourceMessage};

use super::context::Context;
use super::copying::{Readying, Scanning};
use super::event::{Batch, BatchKind, Effect, Event};
use super::phases::{State, Transition};
use crate::meter::Load;
use crate::remainder::Remainder;

/// Legs that are being sent or wait for it.
const IN_FLIGHT: usize = 2;
/// The pages that a round still has to send are put in order anew no more often than this, ...
const PUT_IN_ORDER_EVERY: Duration = Duration::from_secs(1);
/// ... and than this time for each of them: some fifty times what that takes.
const FOR_EACH_PAGE: Duration = Duration::from_micros(5);

/// A round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) number: u32,
    /// How many pages it sends ...
    pub(super) pages: Pages,
    /// ... and what they were when it began.
    mix: Load,
    /// How many were missing or old when it began.
    of: Pages,
}

/// The pages of a round are being sent, or the last of them are on their way.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) remainder: Remainder,
    round: Round,
    stop_prepared: bool,
    /// What waits for its leg; nothing, of a round that goes as a whole.
    waiting: Option<Waiting>,
    /// The leg whose pages are being looked for.
    looking: Option<Looking>,
    /// Batches that are being sent or wait for it, oldest first.
    in_flight: VecDeque<Load>,
    /// Pages of the round that have been sent: of earlier batches, and of the present one.
    sent: Pages,
    sent_of_batch: Pages,
    all_sent: bool,
}

/// Pages of a round that wait for their leg.
#[derive(Debug, Clone)]
struct Waiting {
    pages: PageSet,
    legs: Legs,
    in_order_since: Duration,
}

#[derive(Debug, Clone)]
struct Looking {
    leg: PageSet,
    since: Duration,
    /// Whether all pages are scanned, not only those of the leg.
    all: bool,
}

impl Sending {
    pub(super) fn begin(
        context: &mut Context,
        at: Duration,
        mut remainder: Remainder,
        stop_prepared: bool,
    ) -> Transition {
        if !stop_prepared && context.rule.is_last(context.course.rounds + 1) {
            return Readying::begin(remainder, false);
        }
        context.course.rounds += 1;
        context.course.sample(at, Pages::ZERO, remainder.at_a_stop());
        context.meter.begin_round(at);
        let pages = context.selection(remainder.pages());
        let (of, mix) = (remainder.dirty(), context.load(&pages));
        let round = Round { number: context.course.rounds, pages: pages.len(), mix, of };
        context.note_standing(at, &remainder, mix);
        // The scan that lies behind us was of all pages, so the first leg needs none of its own.
        let (first, waiting) = if context.in_legs() {
            let mut legs = context.legs(&pages);
            let first = legs.next().unwrap_or_else(|| PageSet::empty(pages.capacity()));
            let mut pages = pages;
            pages.subtract(&first);
            (first, Some(Waiting { pages, legs, in_order_since: at }))
        } else {
            (pages, None)
        };
        let load = context.take(&mut remainder, &first);
        let mut state = Self {
            remainder,
            round,
            stop_prepared,
            waiting,
            looking: None,
            in_flight: VecDeque::from([load]),
            sent: Pages::ZERO,
            sent_of_batch: Pages::ZERO,
            all_sent: false,
        };
        let mut effects = vec![state.batch(first)];
        effects.extend(state.look_for_next(context, at));
        Transition::To(State::Sending(Box::new(state)), effects)
    }

    fn batch(&self, pages: PageSet) -> Effect {
        Effect::Send(Batch { pages, kind: BatchKind::Round(self.round.number), of: self.round.of })
    }

    /// Pages of the round that are still to be sent.
    pub(super) fn left(&self) -> Load {
        let left = self.round.pages.saturating_sub(self.sent + self.sent_of_batch);
        self.round.mix.as_many(left.get() as f64)
    }

    /// Pages that the destination lacks or has in an old version, those on their way included.
    pub(super) fn dirty(&self) -> Pages {
        self.remainder.at_a_stop() + self.in_flight().pages()
    }

    /// The same, by what it costs.
    pub(super) fn load(&self, context: &Context) -> Load {
        context.load(&self.remainder.pages_at_a_stop()).plus(self.in_flight())
    }

    fn in_flight(&self) -> Load {
        let given = self.in_flight.iter().fold(Load::default(), |sum, batch| sum.plus(*batch));
        given.as_many((given.count() - self.sent_of_batch.get() as f64).max(0.0))
    }

    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let effects = match (event, self.looking.take()) {
            (Event::Scanned { written }, Some(looking)) => {
                self.found(context, at, &written, looking)
            }
            (Event::PagesSent { sent }, looking) if !self.in_flight.is_empty() => {
                self.looking = looking;
                self.batch_sent(context, at, sent)
            }
            (Event::Sending { pages, .. }, looking) => {
                context.course.pages_sent += pages.saturating_sub(self.sent_of_batch);
                (self.looking, self.sent_of_batch) = (looking, pages);
                context.course.sample(at, Pages::ZERO, self.dirty());
                context.note_standing(at, &self.remainder, self.left());
                vec![]
            }
            (Event::TimePassed | Event::Heard(DestinationMessage::Received { .. }), looking) => {
                self.looking = looking;
                vec![]
            }
            (other, looking) => {
                self.looking = looking;
                return State::Sending(Box::new(self)).unexpected(&other);
            }
        };
        if self.all_sent && context.arrived() {
            return Scanning::begin(at, self.remainder, self.stop_prepared, effects);
        }
        Transition::To(State::Sending(Box::new(self)), effects)
    }

    /// The pages of a leg have been looked for: it is sent.
    fn found(
        &mut self,
        context: &mut Context,
        at: Duration,
        written: &PageSet,
        looking: Looking,
    ) -> Vec<Effect> {
        let Looking { leg, since, all } = looking;
        self.remainder.found(written);
        // Only now: what was found of the leg itself is in what is read from here on.
        let load = context.take(&mut self.remainder, &leg);
        if self.in_flight.is_empty() {
            context.meter.resume_round(at);
        }
        self.in_flight.push_back(load);
        let effect = self.batch(leg);
        if all {
            context.scanned(since, at, written, self.remainder.at_a_stop());
            self.put_in_order(context, at);
        } else {
            context.watch.some(written);
        }
        let mut effects = vec![effect];
        effects.extend(self.look_for_next(context, at));
        effects
    }

    fn batch_sent(&mut self, context: &mut Context, at: Duration, sent: Bytes) -> Vec<Effect> {
        let batch = self.in_flight.pop_front().unwrap_or_default();
        let pages = batch.pages();
        self.sent += pages;
        context.course.pages_sent += pages.saturating_sub(self.sent_of_batch);
        self.sent_of_batch = Pages::ZERO;
        context.meter.batch_sent(at, sent, batch);
        let next = self.look_for_next(context, at);
        if next.is_some() || self.looking.is_some() || !self.in_flight.is_empty() {
            return next.into_iter().collect();
        }
        self.all_sent = true;
        context.meter.end_round(self.round.pages == self.round.of);
        vec![Effect::Say(SourceMessage::RoundEnd { round: self.round.number })]
    }

    /// Begins to look for the pages of the next leg, if there is one and it is time.
    fn look_for_next(&mut self, context: &Context, at: Duration) -> Option<Effect> {
        if self.looking.is_some() || self.in_flight.len() >= IN_FLIGHT {
            return None;
        }
        if context.must_stop(at, self.remainder.pages()) {
            self.end_early();
        }
        let waiting = self.waiting.as_mut()?;
        let leg = waiting.legs.next()?;
        waiting.pages.subtract(&leg);
        let all = context.watch.is_due(at);
        let effect = if all { Effect::Scan } else { Effect::ScanAmong(leg.clone()) };
        self.looking = Some(Looking { leg, since: at, all });
        Some(effect)
    }

    /// What waits stays dirty: the time is over in which a machine is to be there in any case.
    fn end_early(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.round.pages = self.round.pages.saturating_sub(waiting.pages.len());
        }
    }

    /// The heat is better known than it was at the beginning of the round.
    fn put_in_order(&mut self, context: &Context, at: Duration) {
        let Some(waiting) = &mut self.waiting else { return };
        let pages = u32::try_from(waiting.pages.len().get()).unwrap_or(u32::MAX);
        let due = waiting.in_order_since + PUT_IN_ORDER_EVERY.max(FOR_EACH_PAGE * pages);
        if at < due {
            return;
        }
        let before = waiting.pages.len();
        waiting.pages.subtract(&context.held_back(&waiting.pages));
        self.round.pages = self.round.pages.saturating_sub(before - waiting.pages.len());
        waiting.legs = context.legs(&waiting.pages);
        waiting.in_order_since = at;
    }
}
