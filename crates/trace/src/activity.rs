//! How much was written when, and how often which pages were.

use std::ops::Range;
use std::time::Duration;

use punctual_units::{PageRange, Pages, Probability};
use serde::Serialize;

use crate::{Scan, Trace};

/// What happened between two scans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval<'a> {
    /// The scan before it, or the beginning.
    pub from: Duration,
    /// The scan that ended it.
    pub to: Duration,
    /// The pages written in it, each at least once.
    pub written: &'a [PageRange],
}

impl Interval<'_> {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to - self.from
    }

    /// How many distinct pages were written.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.written.iter().map(|run| run.len()).sum()
    }

    /// Distinct pages written a second: at most the writes a second, since a page written several
    /// times is found once.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.pages().get() as f64 / self.length().as_secs_f64()
    }
}

/// Pages that are about as hot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HeatClass {
    /// They were found written in more than this share of the scans …
    pub above: Probability,
    /// … and in at most this.
    pub to: Probability,
    /// How many pages these are.
    pub pages: Pages,
}

/// The bounds between [`HeatClass`]es.
const CLASSES: [f64; 6] = [0.0, 0.01, 0.1, 0.3, 0.9, 1.0];

impl Trace {
    /// The times between the scans, in order.
    pub fn intervals(&self) -> impl Iterator<Item = Interval<'_>> {
        let before = self.scans().iter().map(|scan| scan.at);
        let before = std::iter::once(Duration::ZERO).chain(before);
        before.zip(self.scans()).map(|(from, Scan { at, written })| Interval {
            from,
            to: *at,
            written,
        })
    }

    /// Distinct pages found written by a scan, for each second of the trace: at most the writes a
    /// second. Zero for an empty trace.
    #[must_use]
    pub fn write_rate(&self) -> f64 {
        let found: Pages = self.scans().iter().map(Scan::pages).sum();
        let seconds = self.duration().as_secs_f64();
        if seconds > 0.0 { found.get() as f64 / seconds } else { 0.0 }
    }

    /// The part of the trace in `time`: the intervals that lie wholly in it, counted from the
    /// beginning of the first of them. It is empty where there are none.
    #[must_use]
    pub fn slice(&self, time: Range<Duration>) -> Self {
        let inside =
            |interval: &Interval<'_>| time.start <= interval.from && interval.to <= time.end;
        let intervals: Vec<_> = self.intervals().filter(inside).collect();
        let begin = intervals.first().map_or(Duration::ZERO, |first| first.from);
        let scans = intervals
            .iter()
            .map(|interval| Scan { at: interval.to - begin, written: interval.written.to_vec() });
        Self::new(self.about().clone(), scans.collect()).expect("a part of a trace is a trace")
    }

    /// How many pages were found written in which share of the scans, the coldest first. Pages that
    /// were never written are in no class.
    ///
    /// Takes time in proportion to the pages found, and 4 bytes for each page of the machine.
    #[must_use]
    pub fn heat_classes(&self) -> Vec<HeatClass> {
        let mut found = vec![0_u32; self.about().layout.pages().get() as usize];
        for run in self.scans().iter().flat_map(|scan| &scan.written) {
            found[run.start.0 as usize..run.end.0 as usize]
                .iter_mut()
                .for_each(|times| *times += 1);
        }
        let mut pages = [0_u64; CLASSES.len() - 1];
        for times in found.into_iter().filter(|times| *times > 0) {
            let share = f64::from(times) / self.scans().len() as f64;
            pages[CLASSES[1..CLASSES.len() - 1].partition_point(|bound| *bound < share)] += 1;
        }
        let bounds = CLASSES.windows(2).zip(pages);
        bounds
            .map(|(bounds, pages)| HeatClass {
                above: Probability::saturating(bounds[0]),
                to: Probability::saturating(bounds[1]),
                pages: Pages::new(pages),
            })
            .collect()
    }
}
