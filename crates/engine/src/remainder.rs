//! Which pages the destination lacks, or has in a version that may be old.

use std::borrow::Cow;

use punctual_units::{PageSet, Pages};

/// What is left to be sent.
///
/// With direct I/O the data of a disk request arrive in a page without being traced; only that the
/// page was pinned for it is seen, as a write. So a page reported written may still be changing
/// until every request that was in flight then has ended: it is *unsettled*, and is sent once more
/// after the next settled moment, or at the final copy when the disks are quiet.
///
/// ```text
///   found(W)      dirty ∪= W,  unsettled ∪= W
///   take(L)       dirty −= L   the leg L is sent
///   settled()     dirty ∪= unsettled,  unsettled = ∅
///   take_all()    dirty ∪ unsettled → the final copy
/// ```
///
/// **A page leaves `dirty` only to be read after the scan that last cleared its mark.** `take` comes
/// behind that scan (of all pages, or among those of the leg) and before the read, in one order of
/// effects. So whatever the guest wrote before the read is in what is read, or is marked, and a
/// later scan finds it; the final scans happen when nothing is written any more.
#[derive(Debug, Clone)]
pub(crate) struct Remainder {
    dirty: PageSet,
    /// `None` for a machine without direct I/O.
    unsettled: Option<PageSet>,
}

impl Remainder {
    /// A destination that lacks `populated`.
    pub(crate) fn new(populated: PageSet, direct_io: bool) -> Self {
        let unsettled = direct_io.then(|| PageSet::empty(populated.capacity()));
        Self { dirty: populated, unsettled }
    }

    /// The tracer reports these pages.
    pub(crate) fn found(&mut self, written: &PageSet) {
        self.dirty.union(written);
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.union(written);
        }
    }

    /// These pages are to be read and sent; they are no longer dirty, since what is sent either
    /// arrives or the attempt ends.
    pub(crate) fn take(&mut self, leg: &PageSet) {
        self.dirty.subtract(leg);
    }

    /// Every request that was in flight when the last page was reported has ended.
    pub(crate) fn settled(&mut self) {
        if let Some(unsettled) = &mut self.unsettled {
            self.dirty.union(unsettled);
            unsettled.clear();
        }
    }

    /// All that has to be sent when the guest is stopped and its disks are quiet.
    pub(crate) fn take_all(&mut self) -> PageSet {
        self.settled();
        let empty = PageSet::empty(self.dirty.capacity());
        std::mem::replace(&mut self.dirty, empty)
    }

    /// The pages that are known to be missing or old.
    pub(crate) fn pages(&self) -> &PageSet {
        &self.dirty
    }

    /// Pages that are known to be missing or old.
    pub(crate) fn dirty(&self) -> Pages {
        self.dirty.len()
    }

    /// Pages that a stop at this moment would leave to be sent.
    pub(crate) fn at_a_stop(&self) -> Pages {
        self.pages_at_a_stop().len()
    }

    /// The same, as a set.
    pub(crate) fn pages_at_a_stop(&self) -> Cow<'_, PageSet> {
        match &self.unsettled {
            None => Cow::Borrowed(&self.dirty),
            Some(unsettled) => {
                let mut all = self.dirty.clone();
                all.union(unsettled);
                Cow::Owned(all)
            }
        }
    }

    /// Whether the machine has disks with direct I/O.
    pub(crate) fn direct_io(&self) -> bool {
        self.unsettled.is_some()
    }
}

#[cfg(test)]
mod tests {
    use punctual_units::PageRange;

    use super::*;

    fn pages(start: u64, end: u64) -> PageSet {
        let mut set = PageSet::empty(Pages::new(100));
        set.insert_range(PageRange::new(start, end));
        set
    }

    /// Takes all that is dirty, as a round that goes as a whole does.
    fn take(remainder: &mut Remainder) -> PageSet {
        let dirty = remainder.pages().clone();
        remainder.take(&dirty);
        dirty
    }

    #[test]
    fn without_direct_io_a_page_is_sent_once_for_each_report() {
        let mut remainder = Remainder::new(pages(0, 50), false);
        assert_eq!(take(&mut remainder), pages(0, 50));
        remainder.found(&pages(10, 20));
        assert_eq!(remainder.at_a_stop(), Pages::new(10));
        assert_eq!(take(&mut remainder), pages(10, 20));
        remainder.settled();
        assert_eq!(remainder.take_all(), pages(0, 0));
    }

    #[test]
    fn with_direct_io_a_page_is_sent_again_after_it_has_settled() {
        let mut remainder = Remainder::new(pages(0, 50), true);
        take(&mut remainder);
        remainder.found(&pages(10, 20));
        assert_eq!(take(&mut remainder), pages(10, 20));
        assert_eq!((remainder.dirty(), remainder.at_a_stop()), (Pages::ZERO, Pages::new(10)));
        remainder.found(&pages(30, 31));
        remainder.settled();
        let mut expected = pages(10, 20);
        expected.union(&pages(30, 31));
        assert_eq!(take(&mut remainder), expected);
        remainder.found(&pages(40, 41));
        assert_eq!(remainder.take_all(), pages(40, 41));
        assert_eq!(remainder.at_a_stop(), Pages::ZERO);
    }

    #[test]
    fn a_leg_takes_its_pages_and_leaves_what_was_found_beside_them() {
        for direct_io in [false, true] {
            let mut remainder = Remainder::new(pages(0, 50), direct_io);
            // Before pages 0 to 9 are read, it is looked among them; page 60 is found as well.
            remainder.found(&pages(5, 8));
            remainder.found(&pages(60, 61));
            remainder.take(&pages(0, 10));
            let mut left = pages(10, 50);
            left.union(&pages(60, 61));
            assert_eq!(*remainder.pages(), left);
            // What a disk request may still change is sent again all the same.
            if direct_io {
                left.union(&pages(5, 8));
            }
            assert_eq!(remainder.take_all(), left);
        }
    }
}
