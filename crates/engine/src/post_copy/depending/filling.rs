//! How pages that have come are put in place.

use std::sync::atomic::Ordering;
use std::time::Duration;

use punctual_guest::MachineError;
use punctual_guest::demand::DemandError;
use punctual_units::{Bytes, PageIndex, PageRange, Pages};
use punctual_wire::PageLine;
use punctual_wire::pages::PageSink;
use thiserror::Error;

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
    pub(super) shared: &'a Shared,
    pub(super) line: PageLine,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Zero,
    Bytes(&'a [u8]),
}

impl PageSink for Filler<'_> {
    type Error = NotFilled;

    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), NotFilled> {
        let length = Bytes::new(bytes.len() as u64);
        if offset != 0 || !length.is_page_aligned() || bytes.is_empty() {
            return Err(NotFilled::Part { page, offset, length: bytes.len() });
        }
        let pages = PageRange { start: page, end: page.plus(length.pages()) };
        self.fill(pages, Content::Bytes(bytes))
    }

    fn zero(&mut self, pages: PageRange) -> Result<(), NotFilled> {
        self.fill(pages, Content::Zero)
    }
}

impl Filler<'_> {
    /// Fills pages, and waits for memory where there is none: what the machine lacks must not be
    /// given up, and who waits for it waits anyway.
    fn fill(&self, pages: PageRange, content: Content<'_>) -> Result<(), NotFilled> {
        let shared = self.shared;
        let mut told = false;
        loop {
            if shared.has_ended() {
                // What is still on its way is not needed.
                return if shared.is_over() { Err(NotFilled::Over) } else { Ok(()) };
            }
            match self.put(pages, content) {
                Ok(filled) => {
                    self.filled(pages, filled);
                    return Ok(());
                }
                Err(error) if is_no_memory(&error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(%error, "a machine waits for memory");
                    }
                    // Some of them may have been filled, and nobody knows how many.
                    shared.unsure.store(true, Ordering::SeqCst);
                    if !shared.rest(NO_MEMORY_PAUSE) {
                        return Err(NotFilled::Over);
                    }
                }
                Err(error) => shared.failed(error),
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
        let Content::Bytes(bytes) = content else {
            // Pages of zeros add nothing to a digest.
            return self.left.remove_range(pages);
        };
        for run in self.left.ranges_in(pages) {
            let from =
                PageRange { start: pages.start, end: run.start }.len().bytes().get() as usize;
            let length = run.len().bytes().get() as usize;
            self.digest = self.digest.with(run.start, &bytes[from..from + length]);
        }
        self.left.remove_range(pages);
    }
}

fn is_no_memory(error: &MachineError) -> bool {
    let cause: &(dyn std::error::Error + 'static) = &*error.cause;
    matches!(cause.downcast_ref(), Some(DemandError::NoMemory { .. }))
}
