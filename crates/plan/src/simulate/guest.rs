use std::time::Duration;

use punctual_units::{PageSet, Pages};

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
    stopped: Option<Duration>,
}

impl<'a> Guest<'a> {
    pub(super) fn new(writes: &'a mut dyn Writes, pages: Pages) -> Self {
        Self { writes, pending: PageSet::empty(pages), known: Duration::ZERO, stopped: None }
    }

    fn advance(&mut self, to: Duration) {
        let to = self.stopped.map_or(to, |stopped| to.min(stopped));
        if to > self.known {
            self.writes.between(self.known, to, &mut self.pending);
            self.known = to;
        }
    }

    pub(super) fn start_tracing(&mut self, at: Duration) {
        self.advance(at);
        self.pending.clear();
    }

    pub(super) fn stop(&mut self, at: Duration) {
        self.advance(at);
        self.stopped = Some(at);
    }

    pub(super) fn resume(&mut self, at: Duration) {
        self.stopped = None;
        self.known = at;
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
