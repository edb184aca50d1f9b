//! Who waits for a page, and since when; the thread that asks for those pages.

use std::time::{Duration, Instant};

use punctual_units::{PageRange, PageSet};
use punctual_wire::{DestinationMessage, Faults, PageLine, PageRuns};

use super::shared::Shared;
use crate::post_copy::sketch::Sketch;

/// How long a fault is waited for before it is looked whether that is still to be done.
const LOOK: Duration = Duration::from_millis(100);

/// The faults that have not been answered: at most one for each thread of the machine.
pub(super) struct Waiting {
    list: Vec<(PageRange, Instant)>,
    took: Sketch,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), took: Sketch::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn faults(&self) -> Faults {
        self.took.faults()
    }

    pub(super) fn add(&mut self, pages: PageRange, since: Instant) {
        if !self.list.iter().any(|(known, _)| *known == pages) {
            self.list.push((pages, since));
        }
    }

    /// These pages are there.
    pub(super) fn filled(&mut self, pages: PageRange) {
        if self.list.is_empty() {
            return;
        }
        let (now, took) = (Instant::now(), &mut self.took);
        self.list.retain(|(waited_for, since)| {
            // Of a large page of the host the last part counts, with which it is put in.
            let there = waited_for.start < pages.end && pages.start < waited_for.end;
            if there {
                took.add(now.saturating_duration_since(*since));
            }
            !there
        });
    }

    /// Leaves only who waits for these pages: all others have been answered.
    pub(super) fn keep(&mut self, waited_for: &PageSet) {
        let (now, took) = (Instant::now(), &mut self.took);
        self.list.retain(|(pages, since)| {
            let waits = waited_for.ranges_in(*pages).next().is_some();
            if !waits {
                took.add(now.saturating_duration_since(*since));
            }
            waits
        });
    }

    /// All pages are there.
    pub(super) fn finish(&mut self) {
        for (_, since) in self.list.drain(..) {
            self.took.add(since.elapsed());
        }
    }
}

/// Asks for the pages that somebody waits for, until nothing is missing.
pub(super) fn run(shared: &Shared) {
    while !shared.has_ended() {
        match shared.demand.next_fault(LOOK) {
            Ok(None) => {}
            Ok(Some((pages, since))) => {
                shared.waiting().add(pages, since);
                // Where there is no line it is asked for with all others when there is one.
                shared.say(PageLine::Faults, &DestinationMessage::Want(PageRuns::one(pages)));
            }
            Err(error) => return shared.failed(error),
        }
    }
}
