//! Which pages the destination lacks, or has in a version that may be old.

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
///   take()        dirty → the round to be sent
///   settled()     dirty ∪= unsettled,  unsettled = ∅
///   take_all()    dirty ∪ unsettled → the final copy
/// ```
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

    /// The pages of the next round; they are no longer dirty, since the round either arrives whole
    /// or the attempt ends.
    pub(crate) fn take(&mut self) -> PageSet {
        let empty = PageSet::empty(self.dirty.capacity());
        std::mem::replace(&mut self.dirty, empty)
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
        self.take()
    }

    /// Pages that are known to be missing or old.
    pub(crate) fn dirty(&self) -> Pages {
        self.dirty.len()
    }

    /// Pages that a stop at this moment would leave to be sent.
    pub(crate) fn at_a_stop(&self) -> Pages {
        match &self.unsettled {
            None => self.dirty.len(),
            Some(unsettled) => {
                let mut all = self.dirty.clone();
                all.union(unsettled);
                all.len()
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

    #[test]
    fn without_direct_io_a_page_is_sent_once_for_each_report() {
        let mut remainder = Remainder::new(pages(0, 50), false);
        assert_eq!(remainder.take(), pages(0, 50));
        remainder.found(&pages(10, 20));
        assert_eq!(remainder.at_a_stop(), Pages::new(10));
        assert_eq!(remainder.take(), pages(10, 20));
        remainder.settled();
        assert_eq!(remainder.take_all(), pages(0, 0));
    }

    #[test]
    fn with_direct_io_a_page_is_sent_again_after_it_has_settled() {
        let mut remainder = Remainder::new(pages(0, 50), true);
        remainder.take();
        remainder.found(&pages(10, 20));
        assert_eq!(remainder.take(), pages(10, 20));
        assert_eq!((remainder.dirty(), remainder.at_a_stop()), (Pages::ZERO, Pages::new(10)));
        remainder.found(&pages(30, 31));
        remainder.settled();
        let mut expected = pages(10, 20);
        expected.union(&pages(30, 31));
        assert_eq!(remainder.take(), expected);
        remainder.found(&pages(40, 41));
        assert_eq!(remainder.take_all(), pages(40, 41));
        assert_eq!(remainder.at_a_stop(), Pages::ZERO);
    }
}
