use serde::{Deserialize, Serialize};

use crate::{Bytes, Pages};

/// The size of a page, the unit in which memory is traced and moved. Larger host pages (THP,
/// hugetlbfs) count as several.
pub const PAGE_SIZE: Bytes = Bytes::new(4096);

/// The number of a page of a machine, counted from 0 through all its regions in layout order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PageIndex(pub u64);

impl PageIndex {
    /// The page that lies `pages` further on.
    #[must_use]
    pub const fn plus(self, pages: Pages) -> Self {
        Self(self.0 + pages.get())
    }
}

/// A half-open run of pages, `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PageRange {
    /// The first page of the run.
    pub start: PageIndex,
    /// The page behind its last.
    pub end: PageIndex,
}

impl PageRange {
    /// The run `start..end`; an `end` before `start` makes an empty run.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start: PageIndex(start), end: PageIndex(if end < start { start } else { end }) }
    }

    /// How many pages the run has.
    #[must_use]
    pub const fn len(self) -> Pages {
        Pages::new(self.end.0 - self.start.0)
    }

    /// Whether the run has no page.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start.0 == self.end.0
    }

    /// The pages of the run, in order.
    pub fn iter(self) -> impl Iterator<Item = PageIndex> {
        (self.start.0..self.end.0).map(PageIndex)
    }

    /// The first `pages` of the run (or all of it), and the rest.
    #[must_use]
    pub fn split_at(self, pages: Pages) -> (Self, Self) {
        let middle = self.start.0.saturating_add(pages.get()).min(self.end.0);
        (Self::new(self.start.0, middle), Self::new(middle, self.end.0))
    }
}
