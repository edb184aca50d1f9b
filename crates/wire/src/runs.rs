//! Sets of pages, as they travel.

use punctual_units::{PageRange, PageSet, Pages};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most bytes that one piece of a set has.
const MOST: usize = 60 << 10;

/// A part of a set of pages: for each run how many pages lie between it and the one before, and
/// how many it has, both as LEB128. A page that lies alone takes two to four bytes.
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
        let (mut piece, mut behind) = (Vec::new(), 0);
        for run in pages.ranges() {
            if piece.len() >= MOST {
                pieces.push(Self(std::mem::take(&mut piece)));
                behind = 0;
            }
            push(&mut piece, run.start.0 - behind);
            push(&mut piece, run.len().get());
            behind = run.end.0;
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
            push(&mut piece, pages.start.0);
            push(&mut piece, pages.len().get());
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
        let (mut rest, mut behind) = (self.0.as_slice(), 0_u64);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let run = pull_run(&mut rest, behind).filter(|run| run.end.0 <= capacity.get());
            match run {
                Some(run) => behind = run.end.0,
                None => rest = &[],
            }
            Some(run.ok_or(RunsError { capacity }))
        })
    }
}

/// The next run, which is not empty, the one before having ended at `behind`.
fn pull_run(rest: &mut &[u8], behind: u64) -> Option<PageRange> {
    let (gap, length) = (pull(rest)?, pull(rest)?);
    let start = behind.checked_add(gap)?;
    let end = start.checked_add(length)?;
    (length > 0).then_some(PageRange::new(start, end))
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn pull(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
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
        for hostile in [&[0x80_u8][..], &[1], &[1, 0], &[0xff; 12], &[0, 1, 0xff, 0xff]] {
            assert!(PageRuns(hostile.to_vec()).add_to(&mut pages).is_err(), "{hostile:?}");
            let ranges = PageRuns(hostile.to_vec());
            assert!(ranges.ranges(pages.capacity()).last().unwrap().is_err(), "{hostile:?}");
        }
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

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = PageRuns(bytes).add_to(&mut PageSet::empty(Pages::new(1000)));
        }
    }
}
