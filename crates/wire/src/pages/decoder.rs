use lz4_flex::block::decompress_into;
use punctual_units::{MemoryLayout, PageIndex, PageRange};
use thiserror::Error;

use super::format::{Entry, Fault, Reader};
use super::{CHUNK_PAGES, PAGE};

/// Where decoded pages go.
pub trait PageSink {
    /// What can go wrong there.
    type Error;

    /// Puts `bytes` in place, from `offset` of `page` on. They are part of one page, or several
    /// whole ones (`offset` is 0 then), all inside one region.
    ///
    /// # Errors
    /// They could not be put in place.
    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Makes pages zero, all inside one region. The run may be as long as the region.
    ///
    /// # Errors
    /// They could not be made so.
    fn zero(&mut self, pages: PageRange) -> Result<(), Self::Error>;
}

/// Packed pages that no encoder wrote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("packed pages are malformed in byte {at} of {length}: {fault}")]
pub struct Malformed {
    /// Where the entry begins.
    pub at: usize,
    /// How long the payload is.
    pub length: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// Why packed pages were not put in place; some of them may have been.
#[derive(Debug, Error)]
pub enum DecodeError<E> {
    /// They are malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The sink did not take them.
    #[error("{0}")]
    Sink(E),
}

/// Reads packed pages. It keeps 64 KiB and allocates nothing else.
pub struct Decoder {
    layout: MemoryLayout,
    /// Where a chunk is decompressed to.
    chunk: Vec<u8>,
}

/// Either part of [`DecodeError`], before it is known where the entry began.
enum Stop<E> {
    Fault(Fault),
    Sink(E),
}

impl<E> From<Fault> for Stop<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Decoder {
    /// A decoder for a machine with this memory.
    #[must_use]
    pub fn new(layout: MemoryLayout) -> Self {
        Self { layout, chunk: vec![0; CHUNK_PAGES * PAGE] }
    }

    /// Puts the pages of one payload in place, entry by entry.
    ///
    /// # Errors
    /// An entry is malformed or was not taken; those before it have been put in place.
    pub fn decode<S: PageSink>(
        &mut self,
        payload: &[u8],
        sink: &mut S,
    ) -> Result<(), DecodeError<S::Error>> {
        let mut reader = Reader::new(payload);
        while reader.left() > 0 {
            let at = payload.len() - reader.left();
            self.entry(&mut reader, sink).map_err(|stop| match stop {
                Stop::Fault(fault) => Malformed { at, length: payload.len(), fault }.into(),
                Stop::Sink(error) => DecodeError::Sink(error),
            })?;
        }
        Ok(())
    }

    fn entry<S: PageSink>(
        &mut self,
        reader: &mut Reader<'_>,
        sink: &mut S,
    ) -> Result<(), Stop<S::Error>> {
        let (pages, entry) = reader.entry()?;
        self.check(pages, matches!(entry, Entry::Zero))?;
        match entry {
            Entry::Zero => {
                for span in self.layout.spans(pages) {
                    sink.zero(span.pages).map_err(Stop::Sink)?;
                }
                Ok(())
            }
            Entry::Plain(content) => sink.write(pages.start, 0, content).map_err(Stop::Sink),
            Entry::Compressed(block) => {
                let content = &mut self.chunk[..pages.len().get() as usize * PAGE];
                decompress(block, content)?;
                sink.write(pages.start, 0, content).map_err(Stop::Sink)
            }
            Entry::Changes(pieces) => {
                if pieces.0 == 0 {
                    return Err(Fault::Piece { offset: 0, length: 0 }.into());
                }
                let mut end = 0;
                for _ in 0..pieces.0 {
                    let (offset, bytes) = reader.piece(end)?;
                    end = offset + bytes.len();
                    sink.write(pages.start, offset, bytes).map_err(Stop::Sink)?;
                }
                Ok(())
            }
        }
    }

    /// Checks that the machine has these pages, in one region unless `any_regions`.
    fn check(&self, pages: PageRange, any_regions: bool) -> Result<(), Fault> {
        let inside = if any_regions {
            pages.end.0 <= self.layout.pages().get()
        } else {
            self.layout.spans(pages).next().is_some_and(|span| span.pages == pages)
        };
        let outside = Fault::Outside { start: pages.start.0, count: pages.len().get() };
        if inside { Ok(()) } else { Err(outside) }
    }
}

/// Decompresses `block`, which must fill `content`.
fn decompress(block: &[u8], content: &mut [u8]) -> Result<(), Fault> {
    let expected = content.len();
    match decompress_into(block, content) {
        Ok(length) if length == expected => Ok(()),
        Ok(length) => Err(Fault::Compressed { expected, cause: format!("they give {length}") }),
        Err(cause) => Err(Fault::Compressed { expected, cause: cause.to_string() }),
    }
}
