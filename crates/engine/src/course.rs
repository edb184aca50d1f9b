//! What a move took so far, from which its report is made.

use std::time::Duration;

use punctual_units::{Bytes, Pages, Probability};
use punctual_wire::Offer;

use crate::Request;
use crate::report::{
    Ending, Engine, Holder, Measured, Missed, Phases, Promise, Promised, Report, Sample,
};
use crate::slowing::Slowing;

/// Samples are at least so far apart, changes of round aside.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// Samples are thinned out above this number: a move of ten minutes makes 12,000.
const MOST_SAMPLES: usize = 4096;

/// The course of a move.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    pub(crate) rounds: u32,
    pub(crate) pages_sent: Pages,
    pub(crate) sent: Bytes,
    pub(crate) digest_equal: Option<bool>,
    /// The promise turned out to be unreachable, and the move went on.
    pub(crate) missed: Option<Missed>,
    pub(crate) slowing: Slowing,
    samples: Vec<Sample>,
    marks: Marks,
}

/// The moments that parts of a move are counted from, in their order.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    first_page: Option<Duration>,
    stopped: Option<Duration>,
    quiet: Option<Duration>,
    copied: Option<Duration>,
    loaded: Option<(Duration, Duration)>,
    committed: Option<Duration>,
    running: Option<Duration>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Ending,
    pub(crate) owner: Holder,
    /// What became of the promise, where that does not follow from what was measured.
    pub(crate) promise: Option<Promise>,
    pub(crate) reason: String,
    /// Stable words for it.
    pub(crate) codes: Vec<String>,
}

impl Course {
    /// The guest's processors stopped at `since`; it is known to be quiet now.
    pub(crate) fn stopped(&mut self, at: Duration, since: Duration) {
        self.marks.stopped = Some(since.min(at));
        self.marks.quiet = Some(at);
        self.slowing.set(since.min(at), Probability::ONE);
    }

    /// The last page has been sent.
    pub(crate) fn copied(&mut self, at: Duration) {
        self.marks.copied = Some(at);
    }

    /// The destination is ready; computing digests took `verifying` of the time.
    pub(crate) fn loaded(&mut self, at: Duration, verifying: Duration) {
        self.marks.loaded = Some((at, verifying));
    }

    pub(crate) fn committed(&mut self, at: Duration) {
        self.marks.committed = Some(at);
    }

    /// The guest is known to run again, here or there.
    pub(crate) fn running(&mut self, at: Duration) {
        self.slowing.set(at, Probability::ONE);
        self.marks.running = Some(at);
    }

    /// When the guest stopped.
    pub(crate) fn stopped_at(&self) -> Option<Duration> {
        self.marks.stopped
    }

    pub(crate) fn sample(&mut self, at: Duration, written: Pages, dirty: Pages) {
        if self.rounds > 0 {
            self.marks.first_page.get_or_insert(at);
        }
        let due = self.samples.last().is_none_or(|last| at >= last.at + SAMPLE_EVERY);
        if !due && written == Pages::ZERO {
            return;
        }
        if self.samples.len() == MOST_SAMPLES {
            self.thin_out();
        }
        self.samples.push(Sample { at, round: self.rounds, written, dirty, sent: self.sent });
    }

    /// Merges each two samples, so that no page written is lost from the sum.
    fn thin_out(&mut self) {
        self.samples = self
            .samples
            .chunks(2)
            .map(|pair| Sample {
                written: pair.iter().map(|sample| sample.written).sum(),
                ..pair[pair.len() - 1]
            })
            .collect();
    }

    /// The report of an attempt that ended `at` this time since the offer.
    pub(crate) fn report(
        self,
        at: Duration,
        offer: &Offer,
        request: &Request,
        ended: Ended,
    ) -> Report {
        let Ended { outcome, owner, promise, mut reason, codes } = ended;
        if let Some(missed) = self.missed.as_ref().filter(|_| reason.is_empty()) {
            reason = missed.to_string();
        }
        let promised = Promised { downtime: offer.downtime, total: request.within };
        let measured = Measured {
            downtime: self.marks.downtime(),
            client_gap: None,
            total: at,
            preparing: self.marks.first_page,
            planned: None,
            wire_bytes: self.sent,
            pages_sent: self.pages_sent,
            rounds: self.rounds,
            phases: self.marks.phases(),
            post_copy: None,
            missed: self.missed,
            throttled: self.slowing.until(at),
        };
        let promise = match promise {
            Some(promise) => Some(promise),
            None if owner == Holder::Destination && outcome == Ending::Completed => {
                Some(Promise::completed(&promised, &measured))
            }
            None => (self.marks.stopped.is_some() && outcome == Ending::Failed)
                .then_some(Promise::Broken),
        };
        Report {
            machine: offer.machine.clone(),
            from: offer.source.clone(),
            to: request.to.clone(),
            engine: Engine::External,
            mode: request.mode,
            policy: request.policy,
            promised,
            predicted: request.predicted,
            measured,
            ram_digest_equal: self.digest_equal,
            outcome,
            promise,
            owner,
            reason,
            codes,
            samples: self.samples,
        }
    }
}

impl Marks {
    fn downtime(&self) -> Option<Duration> {
        Some(self.running?.saturating_sub(self.stopped?))
    }

    /// The parts add up to the downtime wherever the attempt ended: a part that was not reached is
    /// zero, and the way back of a failed attempt counts as resuming.
    fn phases(&self) -> Phases {
        let Some(mut from) = self.stopped else { return Phases::default() };
        let mut until = |mark: Option<Duration>| {
            let Some(mark) = mark else { return Duration::ZERO };
            let part = mark.saturating_sub(from);
            from = from.max(mark);
            part
        };
        let stop = until(self.quiet);
        let final_copy = until(self.copied);
        let loading = until(self.loaded.map(|(at, _)| at));
        let verify = self.loaded.map_or(Duration::ZERO, |(_, verifying)| verifying.min(loading));
        let commit = until(self.committed);
        let resume = until(self.running);
        Phases { stop, final_copy, device_state: loading - verify, verify, commit, resume }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_parts_add_up_to_the_downtime() {
        let mut course = Course::default();
        course.stopped(ms(105), ms(100));
        course.copied(ms(110));
        course.loaded(ms(130), ms(8));
        course.committed(ms(132));
        course.running(ms(140));
        let phases = course.marks.phases();
        assert_eq!(phases.device_state, ms(12));
        assert_eq!(phases.resume, ms(8));
        assert_eq!(course.marks.downtime(), Some(phases.sum()));
    }

    #[test]
    fn so_do_those_of_an_attempt_that_came_to_nothing() {
        let mut course = Course::default();
        course.stopped(ms(105), ms(100));
        course.running(ms(140));
        let phases = course.marks.phases();
        assert_eq!((phases.final_copy, phases.resume), (ms(0), ms(35)));
        assert_eq!(course.marks.downtime(), Some(phases.sum()));
    }

    #[test]
    fn a_long_move_keeps_a_bounded_number_of_samples_and_every_page_written() {
        let mut course = Course::default();
        for step in 0..10_000 {
            course.sample(ms(50 * step), Pages::new(1), Pages::ZERO);
        }
        assert!(course.samples.len() <= MOST_SAMPLES);
        let written: Pages = course.samples.iter().map(|sample| sample.written).sum();
        assert_eq!(written, Pages::new(10_000));
    }
}
