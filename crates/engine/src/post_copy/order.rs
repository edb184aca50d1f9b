//! In which order pages that are missing are pushed.

use std::collections::VecDeque;

use punctual_units::{PageRange, PageSet, Pages};

/// What lies around a fault is likely used next: first the aligned block of this size (64 KiB) ...
const BLOCK: Pages = Pages::new(16);
/// ... and twice as much each time the next fault comes behind it, up to 2 MiB.
const LONGEST: Pages = Pages::new(512);
/// So many neighbourhoods wait at most: what is older is pushed with the rest.
const NEIGHBOURHOODS: usize = 64;
/// So many threads that go through memory in order are told apart.
const STREAMS: usize = 16;

/// Pages that are missing elsewhere, and which of them to push next:
///
/// 1. the neighbourhoods of faults, the latest first;
/// 2. pages that are likely used, by classes, the hottest first;
/// 3. the rest, by address.
///
/// Each page is given out once, unless it is said to be lacking again.
#[derive(Debug)]
pub(super) struct Order {
    lacking: PageSet,
    near: VecDeque<PageRange>,
    streams: VecDeque<Stream>,
    /// Classes of pages, the hottest first.
    classes: Vec<PageSet>,
    /// Where pages are taken from: the class (behind the last one: the rest) and the page.
    at: (usize, u64),
}

/// Faults that follow each other in memory.
#[derive(Debug, Clone, Copy)]
struct Stream {
    /// What was pushed ahead of the last one, with the fault itself.
    seen: PageRange,
    /// How much that was.
    length: Pages,
}

impl Order {
    /// Nothing is missing of a machine of so many pages.
    pub(super) fn new(pages: Pages) -> Self {
        Self {
            lacking: PageSet::empty(pages),
            near: VecDeque::new(),
            streams: VecDeque::new(),
            classes: Vec::new(),
            at: (0, 0),
        }
    }

    /// Begins anew: exactly these pages are missing. What is known of their use stays.
    pub(super) fn begin(&mut self, lacking: PageSet) {
        self.lacking = lacking;
        self.near.clear();
        self.at = (0, 0);
    }

    /// Says which pages are likely used: sets of the machine's pages, the hottest first.
    pub(super) fn expect(&mut self, classes: Vec<PageSet>) {
        self.classes = classes;
        self.at = (0, 0);
    }

    /// The pages that are missing and have not been given out.
    pub(super) fn lacking(&self) -> &PageSet {
        &self.lacking
    }

    /// Somebody waits for these pages, which are sent by another way: they are not given out, but
    /// what lies around them is, next.
    pub(super) fn fault(&mut self, pages: PageRange) {
        self.lacking.remove_range(pages);
        let known = self.near.iter().position(|near| contains(*near, pages));
        if let Some(known) = known {
            // It was wanted before its turn came.
            let near = self.near.remove(known).expect("a place that was just found");
            self.near.push_front(PageRange { start: near.start, end: pages.start });
            self.near.push_front(PageRange { start: pages.end, end: near.end });
            return;
        }
        let around = self.neighbourhood(pages);
        self.near.push_front(PageRange { start: around.start, end: pages.start });
        self.near.push_front(PageRange { start: pages.end, end: around.end });
        self.near.truncate(NEIGHBOURHOODS);
    }

    /// These pages are missing (again).
    pub(super) fn lacks(&mut self, pages: &PageSet) {
        self.lacking.union(pages);
    }

    /// The next run of at most `most` pages; `None`: no page is missing that has not been given out.
    pub(super) fn next(&mut self, most: Pages) -> Option<PageRange> {
        let run = self.next_near().or_else(|| self.next_expected()).or_else(|| self.next_of_rest());
        let (run, _) = run?.split_at(most);
        self.lacking.remove_range(run);
        Some(run)
    }

    fn next_near(&mut self) -> Option<PageRange> {
        while let Some(near) = self.near.front() {
            if let Some(run) = self.lacking.ranges_in(*near).next() {
                return Some(run);
            }
            self.near.pop_front();
        }
        None
    }

    fn next_expected(&mut self) -> Option<PageRange> {
        let (mut class, mut from) = self.at;
        while let Some(pages) = self.classes.get(class) {
            for run in pages.ranges_in(PageRange::new(from, pages.capacity().get())) {
                self.at = (class, run.start.0);
                if let Some(run) = self.lacking.ranges_in(run).next() {
                    return Some(run);
                }
            }
            (class, from) = (class + 1, 0);
            self.at = (class, from);
        }
        None
    }

    fn next_of_rest(&mut self) -> Option<PageRange> {
        let (class, from) = self.at;
        let end = self.lacking.capacity().get();
        // Pages that are missing again may lie before the place.
        let run = (self.lacking.ranges_in(PageRange::new(from, end)).next())
            .or_else(|| self.lacking.ranges().next())?;
        self.at = (class, run.start.0);
        Some(run)
    }

    /// What to push around a fault.
    fn neighbourhood(&mut self, pages: PageRange) -> PageRange {
        let end = self.lacking.capacity().get();
        let (start, behind) = (pages.start.0, pages.end.0);
        let follows = self.streams.iter().position(|stream| stream.is_followed_by(pages));
        let stream = match follows.and_then(|at| self.streams.remove(at)) {
            Some(Stream { seen, length }) => {
                let length = Pages::new((length.get() * 2).min(LONGEST.get())).max(pages.len());
                let seen = if start >= seen.end.0 {
                    PageRange::new(start, behind.saturating_add(length.get()).min(end))
                } else {
                    PageRange::new(start.saturating_sub(length.get()), behind)
                };
                Stream { seen, length }
            }
            None => {
                let block = BLOCK.get();
                let whole = start / block * block..behind.next_multiple_of(block).min(end);
                Stream { seen: PageRange::new(whole.start, whole.end), length: BLOCK }
            }
        };
        self.streams.push_front(stream);
        self.streams.truncate(STREAMS);
        stream.seen
    }
}

impl Stream {
    /// Whether a fault comes right before or behind what was pushed for the last one.
    fn is_followed_by(&self, pages: PageRange) -> bool {
        let near = self.length.get();
        let behind = self.seen.end.0..self.seen.end.0 + near;
        let before = self.seen.start.0.saturating_sub(near)..self.seen.start.0;
        behind.contains(&pages.start.0) || before.contains(&pages.start.0)
    }
}

fn contains(outer: PageRange, inner: PageRange) -> bool {
    outer.start.0 <= inner.start.0 && inner.end.0 <= outer.end.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: u64 = 2000;

    fn run(start: u64, end: u64) -> PageRange {
        PageRange::new(start, end)
    }

    fn set(runs: &[(u64, u64)]) -> PageSet {
        let mut set = PageSet::empty(Pages::new(PAGES));
        runs.iter().for_each(|(start, end)| set.insert_range(run(*start, *end)));
        set
    }

    fn all_missing() -> Order {
        let mut order = Order::new(Pages::new(PAGES));
        order.begin(PageSet::full(Pages::new(PAGES)));
        order
    }

    fn take(order: &mut Order, times: usize, most: u64) -> Vec<(u64, u64)> {
        (0..times)
            .map_while(|_| order.next(Pages::new(most)))
            .map(|run| (run.start.0, run.end.0))
            .collect()
    }

    #[test]
    fn the_block_of_a_fault_goes_before_everything_else() {
        let mut order = all_missing();
        order.expect(vec![set(&[(1000, 1100)])]);
        assert_eq!(take(&mut order, 1, 8), [(1000, 1008)]);
        order.fault(run(35, 36));
        assert_eq!(take(&mut order, 3, 32), [(36, 48), (32, 35), (1008, 1040)]);
    }

    #[test]
    fn hot_pages_go_first_and_then_the_rest_by_address() {
        let mut order = all_missing();
        order.expect(vec![set(&[(700, 701), (900, 902)]), set(&[(5, 6)])]);
        let begin = [(700, 701), (900, 902), (5, 6), (0, 5), (6, 700), (701, 900), (902, PAGES)];
        assert_eq!(take(&mut order, 99, PAGES), begin);
        assert!(order.lacking().is_empty());
    }

    #[test]
    fn faults_in_sequence_are_met_with_twice_as_much_each_time() {
        let mut order = all_missing();
        order.fault(run(160, 161));
        assert_eq!(take(&mut order, 1, PAGES), [(161, 176)]);
        order.fault(run(176, 177));
        assert_eq!(take(&mut order, 1, PAGES), [(177, 209)]);
        order.fault(run(209, 210));
        assert_eq!(take(&mut order, 1, PAGES), [(210, 274)]);
    }

    #[test]
    fn faults_downwards_are_followed_too() {
        let mut order = all_missing();
        order.fault(run(175, 176));
        assert_eq!(take(&mut order, 1, PAGES), [(160, 175)]);
        order.fault(run(159, 160));
        assert_eq!(take(&mut order, 1, PAGES), [(127, 159)]);
    }

    #[test]
    fn the_latest_fault_comes_first_and_one_inside_brings_its_neighbours_forward() {
        let mut order = all_missing();
        order.fault(run(160, 161));
        order.fault(run(500, 501));
        order.fault(run(170, 171));
        assert_eq!(take(&mut order, 4, PAGES), [(171, 176), (161, 170), (501, 512), (496, 500)],);
    }

    #[test]
    fn at_the_ends_of_memory_there_are_fewer_neighbours() {
        let mut order = all_missing();
        order.fault(run(0, 1));
        order.fault(run(PAGES - 1, PAGES));
        assert_eq!(take(&mut order, 2, PAGES), [(1984, 1999), (1, 16)]);
    }

    #[test]
    fn pages_that_were_lost_on_their_way_are_given_out_again() {
        let mut order = all_missing();
        while order.next(Pages::new(100)).is_some() {}
        order.lacks(&set(&[(3, 4), (90, 95)]));
        assert_eq!(take(&mut order, 9, 3), [(3, 4), (90, 93), (93, 95)]);
    }

    proptest! {
        /// Whatever faults come in between, and whatever is hot: every page that is missing is
        /// either answered as a fault or given out, each exactly once.
        #[test]
        fn every_page_is_given_out_once(
            missing in proptest::collection::vec((0..PAGES, 1..200_u64), 0..12),
            hot in proptest::collection::vec((0..PAGES, 1..60_u64), 0..12),
            faults in proptest::collection::vec((0..PAGES, 0..5_usize), 0..60),
            most in 1..300_u64,
        ) {
            let clip = |runs: &[(u64, u64)]| {
                let runs: Vec<_> = runs.iter().map(|(s, n)| (*s, (s + n).min(PAGES))).collect();
                set(&runs)
            };
            let missing = clip(&missing);
            let mut order = Order::new(Pages::new(PAGES));
            order.begin(missing.clone());
            order.expect(vec![clip(&hot), clip(&[])]);
            let mut out = PageSet::empty(Pages::new(PAGES));
            let mut answered = PageSet::empty(Pages::new(PAGES));
            let give = |order: &mut Order, out: &mut PageSet, answered: &PageSet| {
                let Some(run) = order.next(Pages::new(most)) else { return Ok(false) };
                prop_assert!(!run.is_empty() && run.len().get() <= most);
                prop_assert!(out.ranges_in(run).next().is_none(), "given out twice");
                prop_assert!(answered.ranges_in(run).next().is_none(), "answered already");
                prop_assert_eq!(missing.ranges_in(run).collect::<Vec<_>>(), vec![run]);
                out.insert_range(run);
                Ok(true)
            };
            for (page, between) in faults {
                order.fault(run(page, page + 1));
                answered.insert_range(run(page, page + 1));
                for _ in 0..between {
                    give(&mut order, &mut out, &answered)?;
                }
            }
            while give(&mut order, &mut out, &answered)? {}
            out.union(&answered);
            let mut left = missing;
            left.subtract(&out);
            prop_assert!(left.is_empty() && order.lacking().is_empty());
        }
    }
}
