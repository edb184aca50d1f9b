use std::time::Duration;

use punctual_units::{PageSet, Pages, Probability};

/// The page writes of a guest.
pub trait Writes {
    /// Adds the pages that the guest writes between two times since the beginning of the move.
    /// Each call goes on where the one before ended; a stopped guest is not asked.
    fn between(&mut self, from: Duration, until: Duration, written: &mut PageSet);
}

/// A guest that writes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Untouched;

impl Writes for Untouched {
    fn between(&mut self, _: Duration, _: Duration, _: &mut PageSet) {}
}

/// The guest, and what a tracer knows of it.
pub(super) struct Guest<'a> {
    writes: &'a mut dyn Writes,
    /// Pages written and not yet reported.
    pending: PageSet,
    /// Up to where `pending` is known.
    known: Duration,
    /// The share of its time that it is left with, and how far it is behind for it.
    share: f64,
    behind: Duration,
    stopped: Option<Duration>,
}

impl<'a> Guest<'a> {
    pub(super) fn new(writes: &'a mut dyn Writes, pages: Pages) -> Self {
        let (pending, known) = (PageSet::empty(pages), Duration::ZERO);
        Self { writes, pending, known, share: 1.0, behind: Duration::ZERO, stopped: None }
    }

    fn advance(&mut self, to: Duration) {
        let to = self.stopped.map_or(to, |stopped| to.min(stopped));
        if to > self.known {
            let from = self.known.saturating_sub(self.behind);
            self.behind += (to - self.known).mul_f64(1.0 - self.share);
            let until = to.saturating_sub(self.behind);
            self.writes.between(from, until, &mut self.pending);
            self.known = to;
        }
    }

    /// From `at` on it gets on with its work at this share of its speed.
    pub(super) fn throttle(&mut self, at: Duration, share: Probability) {
        self.advance(at);
        self.share = share.get();
    }

    pub(super) fn start_tracing(&mut self, at: Duration) {
        self.advance(at);
        self.pending.clear();
    }

    pub(super) fn stop(&mut self, at: Duration) {
        self.advance(at);
        (self.stopped, self.share) = (Some(at), 1.0);
    }

    pub(super) fn resume(&mut self, at: Duration) {
        if self.stopped.take().is_some() {
            self.known = at;
        }
        self.throttle(at, Probability::ONE);
    }

    /// What was written of these pages and not yet reported.
    pub(super) fn scan_among(&mut self, at: Duration, pages: &PageSet) -> PageSet {
        self.advance(at);
        let mut found = self.pending.clone();
        found.intersect(pages);
        self.pending.subtract(&found);
        found
    }

    /// What was written and not yet reported.
    pub(super) fn scan(&mut self, at: Duration) -> PageSet {
        self.advance(at);
        let none = PageSet::empty(self.pending.capacity());
        std::mem::replace(&mut self.pending, none)
    }
}
