//! What the scans tell of the guest.

use std::collections::VecDeque;
use std::time::Duration;

use punctual_model::Heat;
use punctual_units::{PageSet, Pages};

use crate::meter::Care;

/// While a round is being sent, all pages are scanned at least this far apart ...
const SCAN_EVERY: Duration = Duration::from_millis(200);
/// ... and so that scans take at most this share of the time.
const SCAN_SHARE: u32 = 50;

/// So many scans of all pages tell what one takes.
const SCANS: usize = 5;

/// The heat of the pages, kept up to date from the scans of a move.
///
/// A scan among some pages tells nothing of the others, so what it finds is kept until all pages
/// have been scanned: then it is known of each whether it was written since they last were.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    heat: Heat,
    /// How long the machine had been watched when tracing began for this move, at `began`.
    before: Duration,
    began: Duration,
    /// Pages found since all were scanned.
    found: PageSet,
    last_scan: Duration,
    /// What the last scans of all pages took, newest last.
    scans: VecDeque<Duration>,
}

impl Watch {
    /// What is known of a machine of so many pages from `history`; one of another machine is none.
    pub(super) fn new(pages: Pages, history: Option<Heat>) -> Self {
        let history = history.filter(|heat| heat.pages() == pages);
        let heat = history.unwrap_or_else(|| Heat::new(pages));
        Self {
            before: heat.observed(),
            heat,
            began: Duration::ZERO,
            found: PageSet::empty(pages),
            last_scan: Duration::ZERO,
            scans: VecDeque::with_capacity(SCANS),
        }
    }

    /// Tracing begins: what was written before does not count.
    pub(super) fn begin(&mut self, at: Duration) {
        (self.began, self.last_scan) = (at, at);
    }

    pub(super) fn heat(&self) -> &Heat {
        &self.heat
    }

    /// Whether it is time to scan all pages although a round is under way.
    pub(super) fn is_due(&self, at: Duration) -> bool {
        let took = self.scans.back().copied().unwrap_or_default();
        at.saturating_sub(self.last_scan) >= SCAN_EVERY.max(took * SCAN_SHARE)
    }

    /// What a scan of all pages takes, by the last ones: their median, or the longest.
    pub(super) fn scan(&self, care: Care) -> Duration {
        let mut took: Vec<_> = self.scans.iter().copied().collect();
        took.sort_unstable();
        let nth = match care {
            Care::Likely => took.len() / 2,
            Care::Surely => took.len().saturating_sub(1),
        };
        took.get(nth).copied().unwrap_or_default()
    }

    /// Some pages were scanned.
    pub(super) fn some(&mut self, written: &PageSet) {
        self.found.union(written);
    }

    /// All pages were scanned, which had been asked for at `asked`. How many were found since they
    /// last were.
    pub(super) fn all(&mut self, asked: Duration, at: Duration, written: &PageSet) -> Pages {
        self.found.union(written);
        let watched = self.before + asked.saturating_sub(self.began);
        self.heat.record(watched, self.found.ranges());
        let found = self.found.len();
        self.found.clear();
        if self.scans.len() == SCANS {
            self.scans.pop_front();
        }
        self.scans.push_back(at.saturating_sub(asked));
        self.last_scan = asked;
        found
    }
}

#[cfg(test)]
mod tests {
    use punctual_units::{PageIndex, PageRange};

    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn pages(start: u64, end: u64) -> PageSet {
        let mut set = PageSet::empty(Pages::new(100));
        set.insert_range(PageRange::new(start, end));
        set
    }

    #[test]
    fn what_was_found_among_some_pages_counts_once_for_the_whole_interval() {
        let mut watch = Watch::new(Pages::new(100), None);
        watch.begin(ms(1000));
        watch.some(&pages(0, 3));
        watch.some(&pages(2, 5));
        assert_eq!(watch.all(ms(1200), ms(1203), &pages(4, 8)), Pages::new(8));
        let sample = *watch.heat().activity().iter().next_back().unwrap();
        assert_eq!((sample.interval, sample.written), (ms(200), Pages::new(8)));
        assert_eq!(watch.all(ms(1300), ms(1303), &pages(0, 1)), Pages::new(1));
        assert!(watch.heat().rate(PageIndex(0)) > watch.heat().rate(PageIndex(7)));
    }

    #[test]
    fn history_goes_on_where_it_ended_and_that_of_another_machine_is_none() {
        let mut history = Heat::new(Pages::new(100));
        history.record(ms(500), [PageRange::new(0, 9)]);
        let mut watch = Watch::new(Pages::new(100), Some(history.clone()));
        watch.begin(ms(3000));
        watch.all(ms(3100), ms(3101), &pages(0, 1));
        assert_eq!(watch.heat().observed(), ms(600));
        assert_eq!(Watch::new(Pages::new(99), Some(history)).heat().observed(), ms(0));
    }

    #[test]
    fn what_a_scan_takes_is_the_median_of_the_last_and_surely_the_longest() {
        let mut watch = Watch::new(Pages::new(100), None);
        assert_eq!(watch.scan(Care::Surely), ms(0));
        for took in [90, 1, 2, 9, 3, 4] {
            watch.all(ms(0), ms(took), &pages(0, 0));
        }
        assert_eq!((watch.scan(Care::Likely), watch.scan(Care::Surely)), (ms(3), ms(9)));
    }

    #[test]
    fn scans_take_a_small_share_of_the_time() {
        let mut watch = Watch::new(Pages::new(100), None);
        watch.begin(ms(0));
        assert!(!watch.is_due(ms(199)) && watch.is_due(ms(200)));
        watch.all(ms(200), ms(220), &pages(0, 0));
        assert!(!watch.is_due(ms(1199)) && watch.is_due(ms(1200)));
    }
}
