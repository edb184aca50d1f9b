use punctual_units::{MemoryLayout, PageIndex, PageRange, Pages};
use thiserror::Error;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Which pages follow as they are, behind the frame. Not empty, and inside one region of memory.
///
/// To send some, ask [`Encoder::raw`](super::Encoder::raw), which has to know of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPages {
    pages: PageRange,
}

/// Why a frame of raw pages was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RawPagesError {
    /// The payload has another length.
    #[error("a RawPages frame has {} bytes, this one {length}", RawPages::LENGTH)]
    Length {
        /// Its length.
        length: usize,
    },
    /// No page, or too many.
    #[error("a RawPages frame announces 1 to {} pages, this one {count}", RawPages::MOST.get())]
    Count {
        /// How many it announces.
        count: u64,
    },
    /// The pages are not in one region of the machine's memory.
    #[error(
        "a RawPages frame announces {count} pages from page {start} on, which are not in one region of the machine's memory"
    )]
    Outside {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
    },
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    start: U64,
    count: U32,
}

impl RawPages {
    /// How many bytes the payload has.
    pub const LENGTH: usize = size_of::<Layout>();

    /// How many pages one frame may announce (256 MiB).
    pub const MOST: Pages = Pages::new(65_536);

    pub(super) fn new(layout: &MemoryLayout, pages: PageRange) -> Result<Self, RawPagesError> {
        let (start, count) = (pages.start.0, pages.len().get());
        if count == 0 || count > Self::MOST.get() {
            return Err(RawPagesError::Count { count });
        }
        let inside = layout.spans(pages).next().is_some_and(|span| span.pages == pages);
        if inside { Ok(Self { pages }) } else { Err(RawPagesError::Outside { start, count }) }
    }

    /// The pages.
    #[must_use]
    pub fn pages(self) -> PageRange {
        self.pages
    }

    /// The payload of the frame.
    #[must_use]
    pub fn to_payload(self) -> [u8; Self::LENGTH] {
        let count = self.pages.len().get();
        zerocopy::transmute!(Layout {
            start: U64::new(self.pages.start.0),
            count: U32::new(u32::try_from(count).expect("at most MOST")),
        })
    }

    /// Reads the payload of a frame that announces pages of a machine with this memory.
    ///
    /// # Errors
    /// Wrong length, no or too many pages, or pages that are not in one region.
    pub fn from_payload(payload: &[u8], layout: &MemoryLayout) -> Result<Self, RawPagesError> {
        let wire = Layout::ref_from_bytes(payload)
            .map_err(|_| RawPagesError::Length { length: payload.len() })?;
        let (start, count) = (wire.start.get(), u64::from(wire.count.get()));
        let end = PageIndex(start).0.checked_add(count);
        let end = end.ok_or(RawPagesError::Outside { start, count })?;
        Self::new(layout, PageRange::new(start, end))
    }
}
