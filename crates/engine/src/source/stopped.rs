//! The guest is stopped: the final copy, the device state, the commit.

use std::time::Duration;

use punctual_units::{Bytes, PageSet, Pages};
use punctual_wire::{DestinationMessage, PageRuns, SourceMessage};

use super::context::Context;
use super::enforcement::Copied;
use super::event::{Batch, BatchKind, Effect, Event, Why};
use super::phases::{State, Transition};
use crate::remainder::Remainder;
use crate::rule::Stop;

/// The connections are being opened over which pages follow the machine, and the destination is told
/// which are going to be missing: to take away what it has of them takes time. The machine runs
/// meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) since: Duration,
    pub(super) remainder: Remainder,
    /// What was said to be missing, once it was.
    told: Option<PageSet>,
}

/// The guest is being stopped.
#[derive(Debug, Clone)]
pub(super) struct Stopping {
    pub(super) since: Duration,
    pub(super) remainder: Remainder,
    rest: Rest,
}

/// What becomes of the pages that the destination lacks when the guest is stopped.
#[derive(Debug, Clone)]
enum Rest {
    /// They are sent before the handover.
    Goes,
    /// They follow the machine; of these the destination knows already.
    Follows(PageSet),
}

/// The last pages and the device state are being sent.
///
/// ```text
///   Scan ──► Copy ──(pages and device state sent)──► ScanAgain ──► CopyAgain ──► HandingOver
/// ```
/// Where pages follow the machine, only which they are is said in place of each copy.
/// Saving the device state may write to the memory, so it is scanned once more behind its end.
#[derive(Debug, Clone)]
pub(super) struct Final {
    remainder: Remainder,
    step: Step,
    /// Pages of this step that have been sent.
    sent: Pages,
    /// The pages that follow the machine, where they do.
    left: Option<PageSet>,
    /// How much device state there was, once all of it has been sent.
    device_state: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Scan,
    Copy(Pages),
    Copied,
    ScanAgain,
    CopyAgain(Pages),
}

/// Everything has been sent; the destination loads it.
#[derive(Debug, Clone)]
pub(super) struct HandingOver {
    /// How many pages follow the machine.
    left: Pages,
    /// The digest of the memory here, once it is known.
    ours: Option<u128>,
    /// The destination is ready, and this is its digest.
    ready: Option<Option<u128>>,
}

/// The commit is being recorded. Neither a wish nor a lost link matters until that is known.
#[derive(Debug, Clone)]
pub(super) struct Committing {
    link_lost: Option<String>,
}

impl Stopping {
    pub(super) fn begin(
        context: &mut Context,
        at: Duration,
        remainder: Remainder,
        stop: Stop,
    ) -> Transition {
        context.stopping_for = stop.expected().total();
        if stop.leaves_pages() {
            let state = Opening { since: at, remainder, told: None };
            return Transition::To(State::Opening(state), vec![Effect::OpenPageLines]);
        }
        let state = Self { since: at, remainder, rest: Rest::Goes };
        Transition::To(State::Stopping(state), vec![Effect::Stop])
    }

    pub(super) fn step(self, context: &mut Context, at: Duration, event: Event) -> Transition {
        let Event::Stopped { since } = event else {
            return State::Stopping(self).unexpected(&event);
        };
        context.stopped(at, since);
        let mut effects = vec![Effect::SaveDeviceState, Effect::Scan];
        let left = match self.rest {
            Rest::Goes => None,
            Rest::Follows(told) => {
                effects.push(Effect::ServePages { heat: Box::new(context.watch.heat().clone()) });
                Some(told)
            }
        };
        let (remainder, step, sent) = (self.remainder, Step::Scan, Pages::ZERO);
        let state = Final { remainder, step, sent, left, device_state: None };
        Transition::To(State::Final(state), effects)
    }
}

impl Opening {
    pub(super) fn step(mut self, at: Duration, event: Event) -> Transition {
        match event {
            Event::PageLinesOpen if self.told.is_none() => {
                let pages = self.remainder.pages_at_a_stop().into_owned();
                let effects = say_missing(&pages);
                if pages.is_empty() {
                    return self.stop(at, pages);
                }
                self.told = Some(pages);
                Transition::To(State::Opening(self), effects)
            }
            Event::Heard(DestinationMessage::Forgotten { pages }) => match self.told.take() {
                Some(told) if told.len() == pages => self.stop(at, told),
                told => Transition::To(State::Opening(Self { told, ..self }), vec![]),
            },
            Event::PageLinesNotOpen(reason) => State::Opening(self).abort(Why::NoPageLines(reason)),
            other => State::Opening(self).unexpected(&other),
        }
    }

    fn stop(self, at: Duration, told: PageSet) -> Transition {
        let (remainder, rest) = (self.remainder, Rest::Follows(told));
        Transition::To(State::Stopping(Stopping { since: at, remainder, rest }), vec![Effect::Stop])
    }
}

/// Has the destination know that these pages are missing.
fn say_missing(pages: &PageSet) -> Vec<Effect> {
    let pieces = PageRuns::pieces(pages).into_iter();
    pieces.map(|piece| Effect::Say(SourceMessage::Missing(piece))).collect()
}

impl Final {
    pub(super) fn sending(&self) -> Pages {
        match self.step {
            Step::Copy(pages) | Step::CopyAgain(pages) => pages,
            Step::Scan | Step::Copied | Step::ScanAgain => self.remainder.at_a_stop(),
        }
    }

    /// How far the copy has come, from when it is known what there is to copy.
    pub(super) fn copied(&self) -> Option<Copied> {
        match self.step {
            Step::Copy(pages) | Step::CopyAgain(pages) => {
                Some(Copied { sent: self.sent, left: pages.saturating_sub(self.sent) })
            }
            Step::Copied | Step::ScanAgain => Some(Copied { sent: self.sent, left: Pages::ZERO }),
            Step::Scan => None,
        }
    }

    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        match (event, self.step) {
            (Event::Sending { pages, .. }, Step::Copy(_) | Step::CopyAgain(_)) => {
                self.sent = pages;
                return Transition::To(State::Final(self), vec![]);
            }
            (Event::StateSent { bytes, .. }, Step::Scan | Step::Copy(_) | Step::Copied)
                if self.device_state.is_none() =>
            {
                self.device_state = Some(bytes);
            }
            (Event::Scanned { written }, Step::Scan) => {
                let pages = self.found(context, at, &written);
                if self.left.is_some() {
                    self.step = Step::Copied;
                    let effects = self.leave(pages);
                    return self.look_again(effects);
                }
                self.step = Step::Copy(pages.len());
                return self.send(context, at, pages);
            }
            (Event::Scanned { written }, Step::ScanAgain) => {
                let pages = self.found(context, at, &written);
                if self.left.is_some() {
                    let effects = self.leave(pages);
                    return self.hand_over(context, at, effects);
                }
                if !pages.is_empty() {
                    (self.step, self.sent) = (Step::CopyAgain(pages.len()), Pages::ZERO);
                    return self.send(context, at, pages);
                }
                return self.hand_over(context, at, vec![]);
            }
            (Event::PagesSent { sent }, Step::Copy(pages)) => {
                sent_all(context, sent, pages);
                self.step = Step::Copied;
            }
            (Event::PagesSent { sent }, Step::CopyAgain(pages)) => {
                sent_all(context, sent, pages);
                return self.hand_over(context, at, vec![]);
            }
            (other, _) => return State::Final(self).unexpected(&other),
        }
        self.look_again(vec![])
    }

    /// Looks for what saving the device state wrote, once that is over.
    fn look_again(mut self, mut effects: Vec<Effect>) -> Transition {
        if self.step == Step::Copied && self.device_state.is_some() {
            self.step = Step::ScanAgain;
            effects.push(Effect::Scan);
        }
        Transition::To(State::Final(self), effects)
    }

    /// These pages follow the machine: the destination is told so, where it does not know yet.
    fn leave(&mut self, mut pages: PageSet) -> Vec<Effect> {
        let Some(left) = &mut self.left else { return vec![] };
        pages.subtract(left);
        left.union(&pages);
        say_missing(&pages)
    }

    fn found(&mut self, context: &mut Context, at: Duration, written: &PageSet) -> PageSet {
        self.remainder.found(written);
        context.course.sample(at, written.len(), self.remainder.at_a_stop());
        self.remainder.take_all()
    }

    fn send(self, context: &mut Context, at: Duration, pages: PageSet) -> Transition {
        context.meter.begin_round(at);
        let of = pages.len();
        let batch = Batch { pages, kind: BatchKind::Final, of };
        Transition::To(State::Final(self), vec![Effect::Send(batch)])
    }

    fn hand_over(
        self,
        context: &mut Context,
        at: Duration,
        mut effects: Vec<Effect>,
    ) -> Transition {
        context.course.copied(at);
        let device_state = self.device_state.unwrap_or_default();
        let left = self.left.unwrap_or_else(|| PageSet::empty(context.offer.layout.pages()));
        let missing = left.len();
        effects.push(Effect::Say(SourceMessage::HandOver { device_state, missing }));
        if context.offer.verify {
            effects.push(Effect::Digest { except: left });
        }
        let state = HandingOver { left: missing, ours: None, ready: None };
        Transition::To(State::HandingOver(state), effects)
    }
}

fn sent_all(context: &mut Context, sent: Bytes, pages: Pages) {
    context.course.pages_sent += pages;
    context.meter.sent(sent);
    context.meter.end_round(false);
}

impl HandingOver {
    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        match event {
            Event::Digested(digest) => self.ours = Some(digest),
            Event::Heard(DestinationMessage::Ready { digest, verifying, .. })
                if self.ready.is_none() =>
            {
                self.ready = Some(digest);
                context.course.loaded(at, verifying);
            }
            other => return State::HandingOver(self).unexpected(&other),
        }
        let Some(ready) = self.ready else {
            return Transition::To(State::HandingOver(self), vec![]);
        };
        if context.offer.verify {
            let (Some(ours), Some(theirs)) = (self.ours, ready) else {
                return self.without_digest(ready);
            };
            context.course.digest_equal = Some(ours == theirs);
            if ours != theirs {
                return State::HandingOver(self).abort(Why::DigestDiffers { ours, theirs });
            }
        }
        context.left = self.left;
        let committing = Committing { link_lost: None };
        Transition::To(State::Committing(committing), vec![Effect::RecordCommit])
    }

    /// The source's digest is still to come, or the destination forgot its own.
    fn without_digest(self, ready: Option<u128>) -> Transition {
        let state = State::HandingOver(self);
        if ready.is_some() {
            return Transition::To(state, vec![]);
        }
        let why = Why::Protocol { phase: state.phase(), said: "ready without a digest" };
        state.abort(why)
    }
}

impl Committing {
    pub(super) fn step(mut self, context: &mut Context, at: Duration, event: Event) -> Transition {
        match event {
            Event::Recorded => {
                context.course.committed(at);
                Transition::Commit { link_lost: self.link_lost }
            }
            Event::NotRecorded(reason) => State::Committing(self).abort(Why::NotRecorded(reason)),
            Event::RecordUnknown(reason) => Transition::Unknown(reason),
            Event::LinkLost(reason) => {
                self.link_lost = Some(reason);
                Transition::To(State::Committing(self), vec![])
            }
            _ => Transition::To(State::Committing(self), vec![]),
        }
    }
}
