use crate::{PageIndex, PageRange, Pages};

/// A set of pages of one machine, as a dense bitmap: one bit a page (32 KiB for each GiB of RAM).
///
/// The number of members is kept, so [`PageSet::len`] is free.
#[derive(Clone, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
    /// How many pages the machine has; bits behind are zero.
    capacity: u64,
    len: u64,
}

const WORD: u64 = u64::BITS as u64;

impl PageSet {
    /// No page of a machine of `capacity` pages.
    #[must_use]
    pub fn empty(capacity: Pages) -> Self {
        let words = capacity.get().div_ceil(WORD) as usize;
        Self { words: vec![0; words], capacity: capacity.get(), len: 0 }
    }

    /// Every page of a machine of `capacity` pages.
    #[must_use]
    pub fn full(capacity: Pages) -> Self {
        let mut set = Self::empty(capacity);
        set.insert_range(PageRange::new(0, capacity.get()));
        set
    }

    /// How many pages the machine has.
    #[must_use]
    pub fn capacity(&self) -> Pages {
        Pages::new(self.capacity)
    }

    /// How many pages are in the set.
    #[must_use]
    pub fn len(&self) -> Pages {
        Pages::new(self.len)
    }

    /// Whether no page is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `page` is in the set.
    #[must_use]
    pub fn contains(&self, page: PageIndex) -> bool {
        page.0 < self.capacity && self.words[(page.0 / WORD) as usize] >> (page.0 % WORD) & 1 == 1
    }

    /// Adds one page.
    ///
    /// # Panics
    /// The machine has no such page.
    pub fn insert(&mut self, page: PageIndex) {
        self.insert_range(PageRange::new(page.0, page.0 + 1));
    }

    /// Adds a run of pages.
    ///
    /// # Panics
    /// The run reaches behind the end of the machine.
    pub fn insert_range(&mut self, range: PageRange) {
        self.for_words(range, |word, mask| *word |= mask);
    }

    /// Takes a run of pages out.
    ///
    /// # Panics
    /// The run reaches behind the end of the machine.
    pub fn remove_range(&mut self, range: PageRange) {
        self.for_words(range, |word, mask| *word &= !mask);
    }

    /// Adds every page of `other`, a set of the same machine.
    pub fn union(&mut self, other: &Self) {
        self.combine(other, |a, b| a | b);
    }

    /// Takes every page of `other` out, a set of the same machine.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a & !b);
    }

    /// Leaves only what is in `other` too, a set of the same machine.
    pub fn intersect(&mut self, other: &Self) {
        self.combine(other, |a, b| a & b);
    }

    /// Takes every page out.
    pub fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }

    /// The members as runs, in rising order, each as long as it can be.
    #[must_use]
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges { set: self, at: 0, end: self.capacity }
    }

    /// The members that lie in `range`, as runs, in rising order, each as long as it can be there.
    #[must_use]
    pub fn ranges_in(&self, range: PageRange) -> Ranges<'_> {
        Ranges { set: self, at: range.start.0, end: range.end.0.min(self.capacity) }
    }

    /// The members, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = PageIndex> {
        self.ranges().flat_map(PageRange::iter)
    }

    fn for_words(&mut self, range: PageRange, change: impl Fn(&mut u64, u64)) {
        assert!(
            range.end.0 <= self.capacity,
            "page {} of a machine of {} pages",
            range.end.0,
            self.capacity
        );
        let mut at = range.start.0;
        while at < range.end.0 {
            let end = (at / WORD * WORD + WORD).min(range.end.0);
            let mask = (u64::MAX >> (WORD - (end - at))) << (at % WORD);
            let word = &mut self.words[(at / WORD) as usize];
            let before = u64::from(word.count_ones());
            change(word, mask);
            self.len = self.len + u64::from(word.count_ones()) - before;
            at = end;
        }
    }

    fn combine(&mut self, other: &Self, word: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.capacity, other.capacity, "sets of two different machines");
        let mut len = 0;
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine = word(*mine, *theirs);
            len += u64::from(mine.count_ones());
        }
        self.len = len;
    }

    /// The first page at or behind `from` that is (`member`) or is not in the set.
    fn find(&self, from: u64, member: bool) -> Option<u64> {
        let mut index = (from / WORD) as usize;
        let mut mask = u64::MAX << (from % WORD);
        while index < self.words.len() {
            let word = if member { self.words[index] } else { !self.words[index] } & mask;
            if word != 0 {
                let page = index as u64 * WORD + u64::from(word.trailing_zeros());
                return (page < self.capacity).then_some(page);
            }
            index += 1;
            mask = u64::MAX;
        }
        None
    }
}

impl std::fmt::Debug for PageSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PageSet({} of {} pages)", self.len, self.capacity)
    }
}

/// The runs of a [`PageSet`], see [`PageSet::ranges`].
#[derive(Debug, Clone)]
pub struct Ranges<'a> {
    set: &'a PageSet,
    at: u64,
    /// Where to end.
    end: u64,
}

impl Iterator for Ranges<'_> {
    type Item = PageRange;

    fn next(&mut self) -> Option<PageRange> {
        let start = self.set.find(self.at, true).filter(|start| *start < self.end)?;
        let end = self.set.find(start, false).map_or(self.end, |end| end.min(self.end));
        self.at = end;
        Some(PageRange::new(start, end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const CAPACITY: u64 = 300;

    fn build(runs: &[(u64, u64)]) -> (PageSet, BTreeSet<u64>) {
        let mut set = PageSet::empty(Pages::new(CAPACITY));
        let mut plain = BTreeSet::new();
        for (start, len) in runs {
            let end = (start + len).min(CAPACITY);
            set.insert_range(PageRange::new(*start, end));
            plain.extend(*start..end);
        }
        (set, plain)
    }

    fn members(set: &PageSet) -> BTreeSet<u64> {
        set.iter().map(|page| page.0).collect()
    }

    fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0..CAPACITY, 0..130u64), 0..12)
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(a in runs(), b in runs()) {
            let (left, plain_left) = build(&a);
            let (right, plain_right) = build(&b);
            prop_assert_eq!(left.len().get(), plain_left.len() as u64);
            prop_assert_eq!(&members(&left), &plain_left);
            for page in 0..CAPACITY + 70 {
                prop_assert_eq!(left.contains(PageIndex(page)), plain_left.contains(&page));
            }

            let mut set = left.clone();
            set.union(&right);
            prop_assert_eq!(members(&set), &plain_left | &plain_right);
            prop_assert_eq!(set.len().get(), (&plain_left | &plain_right).len() as u64);
            let mut set = left.clone();
            set.subtract(&right);
            prop_assert_eq!(members(&set), &plain_left - &plain_right);
            let mut set = left.clone();
            set.intersect(&right);
            prop_assert_eq!(members(&set), &plain_left & &plain_right);
        }

        #[test]
        fn runs_are_maximal_and_rising(a in runs()) {
            let (set, _) = build(&a);
            let ranges: Vec<_> = set.ranges().collect();
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].end.0 < pair[1].start.0);
            }
            let total: Pages = ranges.iter().map(|range| range.len()).sum();
            prop_assert_eq!(total, set.len());
        }

        #[test]
        fn runs_in_a_range_are_what_lies_there(
            a in runs(), start in 0..CAPACITY + 9, len in 0..CAPACITY,
        ) {
            let (mut set, _) = build(&a);
            let range = PageRange::new(start, start + len);
            let found: Vec<_> = set.ranges_in(range).collect();
            let mut inside = PageSet::empty(Pages::new(CAPACITY));
            inside.insert_range(PageRange::new(start.min(CAPACITY), (start + len).min(CAPACITY)));
            set.intersect(&inside);
            prop_assert_eq!(found, set.ranges().collect::<Vec<_>>());
        }

        #[test]
        fn what_is_removed_is_gone(a in runs(), start in 0..CAPACITY, len in 0..CAPACITY) {
            let (mut set, mut plain) = build(&a);
            let end = (start + len).min(CAPACITY);
            set.remove_range(PageRange::new(start, end));
            plain.retain(|page| *page < start || *page >= end);
            prop_assert_eq!(members(&set), plain);
        }
    }

    #[test]
    fn full_is_every_page() {
        let set = PageSet::full(Pages::new(129));
        assert_eq!(set.len(), Pages::new(129));
        assert_eq!(set.ranges().collect::<Vec<_>>(), vec![PageRange::new(0, 129)]);
    }

    #[test]
    #[should_panic(expected = "page 301 of a machine of 300 pages")]
    fn a_page_behind_the_end_is_a_mistake_of_the_caller() {
        build(&[]).0.insert(PageIndex(300));
    }
}
