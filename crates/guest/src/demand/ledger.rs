//! Which page is where: the bookkeeping that lets a page be filled only once.

use punctual_units::{PageRange, PageSet, Pages};

/// ```text
///  missing ──claim──► being filled ──filled──► there
///     ▲                    │
///     └─────give back──────┘
/// ```
#[derive(Debug)]
pub(crate) struct Ledger {
    missing: PageSet,
    filling: PageSet,
    /// Of both: those that somebody waits for and that have been told.
    asked: PageSet,
}

/// What a fault on some pages (one host page) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// They have to be asked for, and nobody has yet.
    Ask,
    /// They have been asked for, or are just being put in place: whoever waits will be woken.
    OnTheirWay,
    /// They are there, or zero.
    There,
}

impl Ledger {
    pub(crate) fn new(missing: PageSet) -> Self {
        let nothing = PageSet::empty(missing.capacity());
        Self { missing, filling: nothing.clone(), asked: nothing }
    }

    pub(crate) fn missing(&self) -> &PageSet {
        &self.missing
    }

    /// The pages that somebody waits for.
    pub(crate) fn asked(&self) -> &PageSet {
        &self.asked
    }

    /// How many pages are not in place yet.
    pub(crate) fn outstanding(&self) -> Pages {
        self.missing.len() + self.filling.len()
    }

    /// Somebody waits for these pages.
    pub(crate) fn fault(&mut self, pages: PageRange) -> Meaning {
        if has_any(&self.filling, pages) {
            return Meaning::OnTheirWay;
        }
        if !has_any(&self.missing, pages) {
            return Meaning::There;
        }
        if has_any(&self.asked, pages) {
            return Meaning::OnTheirWay;
        }
        self.asked.insert_range(pages);
        Meaning::Ask
    }

    /// Those of `pages` that are missing: from now on only the caller fills them.
    pub(crate) fn claim(&mut self, pages: PageRange) -> Vec<PageRange> {
        let runs: Vec<_> = self.missing.ranges_in(pages).collect();
        for run in &runs {
            self.missing.remove_range(*run);
            self.filling.insert_range(*run);
        }
        runs
    }

    /// Those of `pages` that are missing are zero, which a hole is anyway. The first number is how
    /// many these are; the runs are those of them that somebody waits for: only the caller fills them.
    pub(crate) fn claim_zero(&mut self, pages: PageRange) -> (Pages, Vec<PageRange>) {
        let mut claimed = PageSet::empty(self.missing.capacity());
        self.missing.ranges_in(pages).for_each(|run| claimed.insert_range(run));
        self.missing.remove_range(pages);
        let zero = claimed.len();
        claimed.intersect(&self.asked);
        self.filling.union(&claimed);
        (zero, claimed.ranges().collect())
    }

    /// Claimed pages are in place.
    pub(crate) fn filled(&mut self, pages: PageRange) {
        self.filling.remove_range(pages);
        self.asked.remove_range(pages);
    }

    /// Claimed pages could not be filled. Who asked for them still waits.
    pub(crate) fn give_back(&mut self, pages: PageRange) {
        self.filling.remove_range(pages);
        self.missing.insert_range(pages);
    }
}

fn has_any(set: &PageSet, pages: PageRange) -> bool {
    set.ranges_in(pages).next().is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: u64 = 300;

    fn run(start: u64, end: u64) -> PageRange {
        PageRange::new(start, end)
    }

    #[test]
    fn a_page_is_asked_for_once_and_there_when_filled() {
        let mut ledger = Ledger::new(PageSet::full(Pages::new(PAGES)));
        assert_eq!(ledger.fault(run(7, 8)), Meaning::Ask);
        assert_eq!(ledger.fault(run(7, 8)), Meaning::OnTheirWay);
        assert_eq!(ledger.claim(run(5, 10)), [run(5, 10)]);
        assert_eq!(ledger.fault(run(6, 7)), Meaning::OnTheirWay, "whoever fills it wakes");
        ledger.filled(run(5, 8));
        ledger.give_back(run(8, 10));
        assert_eq!(ledger.fault(run(7, 8)), Meaning::There);
        assert_eq!(ledger.fault(run(8, 9)), Meaning::Ask);
    }

    #[test]
    fn zero_pages_that_nobody_waits_for_are_done_at_once() {
        let mut ledger = Ledger::new(PageSet::full(Pages::new(PAGES)));
        assert_eq!(ledger.fault(run(7, 8)), Meaning::Ask);
        assert_eq!(ledger.claim_zero(run(0, 100)), (Pages::new(100), vec![run(7, 8)]));
        assert_eq!(ledger.fault(run(6, 7)), Meaning::There);
        assert_eq!(ledger.fault(run(7, 8)), Meaning::OnTheirWay);
        assert_eq!(ledger.outstanding(), Pages::new(PAGES - 99));
    }

    proptest! {
        /// Whatever is claimed, filled and given back in whatever order: no page is claimed twice
        /// unless it was given back, and all are there in the end.
        #[test]
        fn a_page_belongs_to_one_who_fills_it(
            steps in proptest::collection::vec((0..PAGES, 1..40_u64, 0..4_u8), 0..200),
        ) {
            let mut ledger = Ledger::new(PageSet::full(Pages::new(PAGES)));
            let mut filled = PageSet::empty(Pages::new(PAGES));
            let mut held: Vec<PageRange> = Vec::new();
            for (start, length, what) in steps {
                let pages = run(start, (start + length).min(PAGES));
                match what {
                    0 => held.extend(ledger.claim(pages)),
                    1 => {
                        let (_, asked) = ledger.claim_zero(pages);
                        held.extend(asked);
                    }
                    2 => if let Some(pages) = held.pop() {
                        prop_assert!(!has_any(&filled, pages), "filled twice");
                        filled.insert_range(pages);
                        ledger.filled(pages);
                    },
                    _ => if let Some(pages) = held.pop() { ledger.give_back(pages) },
                }
                let mut sum = PageSet::empty(Pages::new(PAGES));
                for pages in &held {
                    prop_assert!(!has_any(&sum, *pages) && !has_any(ledger.missing(), *pages));
                    sum.insert_range(*pages);
                }
                prop_assert_eq!(ledger.outstanding(), ledger.missing().len() + sum.len());
            }
            held.into_iter().for_each(|pages| ledger.filled(pages));
            for pages in ledger.claim(run(0, PAGES)) {
                ledger.filled(pages);
            }
            prop_assert_eq!(ledger.outstanding(), Pages::ZERO);
        }
    }
}
