//! How claimed pages are put in place, and who waits for them is woken.

use nix::errno::Errno;
use punctual_units::{PAGE_SIZE, PageIndex, PageRange, Pages};

use super::{DemandError, Pager, kernel};
use crate::trace::place::Place;

/// Pages at an address, claimed to be put in there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) pages: PageRange,
}

/// What is put in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    Zero,
    /// The bytes, and the page that they begin with.
    Bytes(&'a [u8], PageIndex),
}

impl Pager {
    /// Puts claimed pages in place. What cannot be is given back.
    pub(super) fn put_in(
        &self,
        claimed: &[PageRange],
        content: Content<'_>,
    ) -> Result<(), DemandError> {
        let pieces = claimed.iter().flat_map(|run| self.places.to_fill(*run));
        let mut pieces = pieces.map(|(place, pages)| Piece { place: *place, pages });
        while let Some(piece) = pieces.next() {
            if let Err((rest, error)) = self.put_in_piece(piece, content) {
                let mut ledger = self.ledger();
                ledger.give_back(rest);
                pieces.for_each(|piece| ledger.give_back(piece.pages));
                return Err(error);
            }
        }
        Ok(())
    }

    /// The same for one piece; an error comes with what is not in place.
    fn put_in_piece(
        &self,
        piece: Piece,
        content: Content<'_>,
    ) -> Result<(), (PageRange, DemandError)> {
        let Piece { place, pages: mut rest } = piece;
        while !rest.is_empty() {
            let outcome = self.put(Piece { place, pages: rest }, content);
            let done = outcome
                .map_or_else(|(bytes, _)| Pages::new(bytes / PAGE_SIZE.get()), |()| rest.len());
            let (filled, left) = rest.split_at(done);
            self.filled(filled).map_err(|error| (left, error))?;
            rest = match outcome {
                Ok(()) => left,
                Err((_, Errno::EEXIST)) if self.inherited => {
                    // The former pager has filled it, and may have died before it woke anybody.
                    let (there, left) = left.split_at(place.host_page.pages());
                    self.wake(&place, there).map_err(|error| (left, error))?;
                    self.filled(there).map_err(|error| (left, error))?;
                    left
                }
                Err((_, Errno::EEXIST)) => {
                    let pid = self.target.pid();
                    return Err((left, DemandError::Occupied { pid, page: left.start }));
                }
                Err((_, error)) => return Err((left, self.error("fill a page", error))),
            };
        }
        Ok(())
    }

    pub(super) fn put(&self, piece: Piece, content: Content<'_>) -> Result<(), (u64, Errno)> {
        let Piece { place, pages } = piece;
        let start = place.address(pages.start.0);
        let length = pages.len().bytes().get();
        match content {
            Content::Bytes(bytes, first) => {
                let from = PageRange { start: first, end: pages.start }.len().bytes().get();
                let bytes = &bytes[from as usize..][..length as usize];
                kernel::copy(&self.userfaultfd, start, bytes)
            }
            Content::Zero if place.host_page == PAGE_SIZE => {
                kernel::zero(&self.userfaultfd, start, start + length)
            }
            Content::Zero => kernel::copy(&self.userfaultfd, start, &vec![0; length as usize]),
        }
    }

    /// Notes pages as filled, and wakes who waits for them elsewhere than where they were put in.
    ///
    /// In this order: a fault elsewhere that was raised before the wake is woken by it; one whose
    /// message is read after the note is answered by [`Self::let_go_on`].
    fn filled(&self, pages: PageRange) -> Result<(), DemandError> {
        self.ledger().filled(pages);
        self.places.to_wake(pages).try_for_each(|(place, part)| self.wake(place, part))
    }

    pub(super) fn wake(&self, place: &Place, pages: PageRange) -> Result<(), DemandError> {
        if pages.is_empty() {
            return Ok(());
        }
        let (start, length) = (place.address(pages.start.0), pages.len().bytes().get());
        kernel::wake(&self.userfaultfd, start, start + length)
            .map_err(|error| self.error("wake who waits for a page", error))
    }

    pub(super) fn check_whole(&self, pages: PageRange) -> Result<(), DemandError> {
        for (place, part) in self.places.to_fill(pages) {
            let whole = place.host_page.pages().get();
            let cut = |page: PageIndex| !(page.0 - place.pages.start.0).is_multiple_of(whole);
            if cut(part.start) || cut(part.end) {
                return Err(DemandError::PartOfHostPage { pages, host_page: place.host_page });
            }
        }
        Ok(())
    }
}
