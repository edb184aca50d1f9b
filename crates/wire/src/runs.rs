//! Sets of pages, as they travel.

use punctual_units::{PageRange, PageSet, Pages, RunReader, RunWriter};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most bytes that one piece of a set has.
const MOST: usize = 60 << 10;

/// A part of a set of pages, in the bytes of a [`RunWriter`]. A page that lies alone takes two to
/// four of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRuns(#[serde(with = "serde_bytes")] Vec<u8>);

/// Bytes that are no pages of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a list of pages is malformed or names a page beyond the {} of the machine", .capacity.get())]
pub struct RunsError {
    capacity: Pages,
}

impl PageRuns {
    /// The pieces of a set, in order; none of an empty one.
    #[must_use]
    pub fn pieces(pages: &PageSet) -> Vec<Self> {
        let mut pieces = Vec::new();
        let (mut piece, mut writer) = (Vec::new(), RunWriter::default());
        for run in pages.ranges() {
            if piece.len() >= MOST {
                pieces.push(Self(std::mem::take(&mut piece)));
                writer = RunWriter::default();
            }
            writer.write(run, &mut piece);
        }
        if !piece.is_empty() {
            pieces.push(Self(piece));
        }
        pieces
    }

    /// One run.
    #[must_use]
    pub fn one(pages: PageRange) -> Self {
        let mut piece = Vec::new();
        if !pages.is_empty() {
            RunWriter::default().write(pages, &mut piece);
        }
        Self(piece)
    }

    /// Adds the pages to a set of the machine's.
    ///
    /// # Errors
    /// They are none of this machine; `pages` has those before the wrong one.
    pub fn add_to(&self, pages: &mut PageSet) -> Result<(), RunsError> {
        for run in self.ranges(pages.capacity()) {
            pages.insert_range(run?);
        }
        Ok(())
    }

    /// The runs, in rising order, of a machine of `capacity` pages. Behind an error there is nothing.
    pub fn ranges(&self, capacity: Pages) -> impl Iterator<Item = Result<PageRange, RunsError>> {
        RunReader::new(&self.0, capacity).map(move |run| run.map_err(|_| RunsError { capacity }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use punctual_units::PageIndex;

    use super::*;

    #[test]
    fn a_page_beyond_the_machine_is_refused() {
        let mut pages = PageSet::empty(Pages::new(100));
        assert!(PageRuns::one(PageRange::new(90, 100)).add_to(&mut pages).is_ok());
        let error = PageRuns::one(PageRange::new(90, 101)).add_to(&mut pages).unwrap_err();
        assert!(error.to_string().contains("100"), "{error}");
    }

    #[test]
    fn a_large_set_goes_in_pieces_that_fit_a_message() {
        let mut pages = PageSet::empty(Pages::new(1 << 18));
        (0..1 << 17).for_each(|page| pages.insert(PageIndex(page * 2)));
        let pieces = PageRuns::pieces(&pages);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.0.len() < MOST + 20));
        let mut back = PageSet::empty(pages.capacity());
        pieces.iter().for_each(|piece| piece.add_to(&mut back).unwrap());
        assert_eq!(back, pages);
    }

    proptest! {
        #[test]
        fn a_set_comes_back(pages in proptest::collection::vec(0..5_000_u64, 0..300)) {
            let mut set = PageSet::empty(Pages::new(5_000));
            pages.into_iter().for_each(|page| set.insert(PageIndex(page)));
            let mut back = PageSet::empty(set.capacity());
            for piece in PageRuns::pieces(&set) {
                piece.add_to(&mut back).unwrap();
            }
            prop_assert_eq!(back, set);
        }
    }
}
