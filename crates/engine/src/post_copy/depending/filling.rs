//! How pages that have come are put in place.

use std::sync::atomic::Ordering;
use std::time::Duration;

use punctual_guest::MachineError;
use punctual_guest::demand::DemandError;
use punctual_units::{Bytes, PageIndex, PageRange, Pages};
use punctual_wire::PageLine;
use punctual_wire::pages::PageSink;
use thiserror::Error;

use super::parts::{Parts, host_page_of};
use super::shared::{Shared, Verified, lock};

/// Between two attempts to fill a page for which there is no memory.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(200);

/// Why a page that came was not put in place.
#[derive(Debug, Error)]
pub(super) enum NotFilled {
    /// Part of a page: it would be taken for changes to a page that is not here.
    #[error(
        "{length} bytes at {offset} of page {} came, where whole pages are missing: \
         run one version on both hosts",
        page.0
    )]
    Part { page: PageIndex, offset: usize, length: usize },
    /// It is over; the page goes on missing.
    #[error("nothing more is to be filled")]
    Over,
}

/// Puts pages in place that come over a line.
pub(super) struct Filler<'a> {
    shared: &'a Shared,
    line: PageLine,
    /// The size of the host's pages in each region, where it is found to be larger than a page.
    host_pages: Vec<Option<Bytes>>,
    parts: Parts,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Zero,
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    /// That of a part of `pages`, whose content this is.
    fn of(self, part: PageRange, pages: PageRange) -> Self {
        let Self::Bytes(bytes) = self else { return Self::Zero };
        let from = PageRange { start: pages.start, end: part.start }.len().bytes().get() as usize;
        Self::Bytes(&bytes[from..][..part.len().bytes().get() as usize])
    }

    fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

impl PageSink for Filler<'_> {
    type Error = NotFilled;

    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), NotFilled> {
        let length = Bytes::new(bytes.len() as u64);
        if offset != 0 || !length.is_page_aligned() || bytes.is_empty() {
            return Err(NotFilled::Part { page, offset, length: bytes.len() });
        }
        let pages = PageRange { start: page, end: page.plus(length.pages()) };
        self.take(pages, Content::Bytes(bytes))
    }

    fn zero(&mut self, pages: PageRange) -> Result<(), NotFilled> {
        self.take(pages, Content::Zero)
    }
}

impl<'a> Filler<'a> {
    pub(super) fn new(shared: &'a Shared, line: PageLine) -> Self {
        let host_pages = vec![None; shared.layout.regions().len()];
        Self { shared, line, host_pages, parts: Parts::default() }
    }

    /// Takes pages of one region.
    fn take(&mut self, pages: PageRange, content: Content<'_>) -> Result<(), NotFilled> {
        let region = self.shared.layout.locate(pages.start).map_or(0, |(region, _)| region.0);
        if let Some(size) = self.host_pages[region] {
            return self.put_together(pages, content, size);
        }
        match self.fill(pages, content)? {
            None => Ok(()),
            Some(size) => {
                self.host_pages[region] = Some(size);
                self.put_together(pages, content, size)
            }
        }
    }

    /// Fills the host's pages that are complete with these.
    fn put_together(
        &mut self,
        pages: PageRange,
        content: Content<'_>,
        size: Bytes,
    ) -> Result<(), NotFilled> {
        let mut rest = pages;
        while !rest.is_empty() {
            let host_page = host_page_of(&self.shared.layout, rest.start, size);
            let (part, behind) = rest.split_at(Pages::new(host_page.end.0 - rest.start.0));
            rest = behind;
            let of_part = content.of(part, pages);
            if part == host_page {
                self.fill(part, of_part)?;
            } else if let Some(whole) = self.parts.add(host_page, part, of_part.bytes()) {
                self.fill(whole.pages, Content::Bytes(&whole.content))?;
            }
            if let Some(pages) = self.parts.give_up() {
                self.shared.ask_for(pages);
            }
        }
        Ok(())
    }

    /// Fills pages, and waits for memory where there is none: what the machine lacks must not be
    /// given up, and who waits for it waits anyway. The result is the size of the host's pages if
    /// only whole ones can be filled, which these are not.
    fn fill(&self, pages: PageRange, content: Content<'_>) -> Result<Option<Bytes>, NotFilled> {
        let shared = self.shared;
        let mut told = false;
        loop {
            if shared.has_ended() {
                // What is still on its way is not needed.
                return if shared.is_over() { Err(NotFilled::Over) } else { Ok(None) };
            }
            let error = match self.put(pages, content) {
                Ok(filled) => {
                    self.filled(pages, filled);
                    return Ok(None);
                }
                Err(error) => error,
            };
            match cause(&error) {
                Some(DemandError::PartOfHostPage { host_page, .. }) => return Ok(Some(*host_page)),
                Some(DemandError::NoMemory { .. }) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%error, "a machine waits for memory");
                    }
                    // Some of them may have been filled, and nobody knows how many.
                    shared.unsure.store(true, Ordering::SeqCst);
                    if !shared.rest(NO_MEMORY_PAUSE) {
                        return Err(NotFilled::Over);
                    }
                }
                _ => shared.failed(error),
            }
        }
    }

    fn put(&self, pages: PageRange, content: Content<'_>) -> Result<Pages, MachineError> {
        // Under the lock it is known which of two copies of a page is put in.
        let mut verified = self.shared.verified.as_ref().map(lock);
        let filled = match content {
            Content::Zero => self.shared.demand.fill_zero(pages)?,
            Content::Bytes(bytes) => self.shared.demand.fill(pages, bytes)?,
        };
        if let Some(verified) = &mut verified {
            verified.pushed |= self.line == PageLine::Push;
            verified.add(pages, content);
        }
        Ok(filled)
    }

    fn filled(&self, pages: PageRange, filled: Pages) {
        let shared = self.shared;
        shared.waiting().filled(pages);
        let filled = filled.get();
        let fewer = |missing: u64| Some(missing.saturating_sub(filled));
        let before = shared.missing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
        if filled > 0 && before.is_ok_and(|before| before <= filled) {
            shared.try_to_finish();
        }
    }
}

impl Verified {
    /// Counts what came first of each page.
    fn add(&mut self, pages: PageRange, content: Content<'_>) {
        // Pages of zeros add nothing to a digest.
        for run in self.left.ranges_in(pages) {
            if let Content::Bytes(bytes) = content.of(run, pages) {
                self.digest = self.digest.with(run.start, bytes);
            }
        }
        self.left.remove_range(pages);
    }
}

fn cause(error: &MachineError) -> Option<&DemandError> {
    let cause: &(dyn std::error::Error + 'static) = &*error.cause;
    cause.downcast_ref()
}
