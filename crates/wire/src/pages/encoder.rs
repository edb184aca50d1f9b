use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use punctual_units::{Bytes, MemoryLayout, PageIndex, PageRange, PageSet, Pages};

use super::fingerprints::{BLOCK, Blocks, Fingerprints};
use super::format::Writer;
use super::{CHUNK_PAGES, PAGE, RawPages, RawPagesError};
use crate::frame::Kind;

/// How many bytes the key of an [`Encoder`] has.
pub const FINGERPRINT_KEY_LENGTH: usize = 32;

/// The most that one chunk of pages adds to a payload: the pages, and for each an entry's head and
/// those of its pieces.
const MOST_ADDED: usize = CHUNK_PAGES * (PAGE + 96);

/// Encodes pages for one destination over one connection.
///
/// It knows what the destination has: which pages may be other than zero there, and for pages that
/// were sent more than once the fingerprint of each block, so that of a page written again only the
/// blocks that changed travel. For that to be true
/// - every page that is sent goes through [`Encoder::encode`] or is announced by what
///   [`Encoder::raw`] returns, and what these hand out is sent in that order;
/// - an encoder ends with its connection: a new attempt begins with a new one.
///
/// Fingerprints are keyed BLAKE3 cut to 128 bits, with a key that nobody else knows: a guest can
/// make no two blocks that look the same, and by chance none will in the age of the universe.
///
/// ```
/// # use std::convert::Infallible;
/// # use punctual_units::{Bytes, MemoryLayout, PageRange, Pages, Region};
/// # use punctual_wire::pages::Encoder;
/// let layout = MemoryLayout::new(vec![Region { name: "ram0".into(), size: Bytes::mib(1) }])?;
/// let mut encoder = Encoder::new(layout, [0; 32], Bytes::mib(1)); // a real key is random
/// let mut memory = vec![0; 1 << 20];
/// memory[..4096].fill(7);
///
/// let mut payloads = Vec::new();
/// let encoded = encoder.encode::<Infallible>(
///     [PageRange::new(0, 256)],
///     |pages, copies| {
///         let start = pages.start.0 as usize * 4096;
///         copies.copy_from_slice(&memory[start..start + copies.len()]);
///         Ok(())
///     },
///     |payload| {
///         payloads.push(payload.to_vec());
///         Ok(())
///     },
/// )?;
/// assert_eq!((encoded.whole, encoded.elided), (Pages::new(1), Pages::new(255)));
/// assert!(payloads.concat().len() < 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Encoder {
    layout: MemoryLayout,
    known: Known,
    /// Private copies of the pages at hand: the guest may write the originals meanwhile.
    copies: Vec<u8>,
    batch: Batch,
}

/// What the destination has.
struct Known {
    /// Whether anything is to be known at all.
    remembers: bool,
    /// Pages that may be other than zero there.
    held: PageSet,
    /// Pages whose fingerprints are worth keeping from the first time on.
    expected: PageSet,
    fingerprints: Fingerprints,
}

/// The payload that is being written.
struct Batch {
    writer: Writer,
    table: CompressTable,
    /// Where a chunk is compressed to.
    block: Vec<u8>,
}

/// What [`Encoder::encode`] did with the pages it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Encoded {
    /// Pages that the destination has already: unchanged, or zero from the beginning.
    pub elided: Pages,
    /// Pages that became zero.
    pub zero: Pages,
    /// Pages of which changed blocks were sent.
    pub changed: Pages,
    /// Pages sent whole, compressed or plain.
    pub whole: Pages,
    /// The bytes of all payloads.
    pub payload: Bytes,
}

/// How one page is to be sent.
enum Form {
    Elided,
    Zero,
    Changes(Blocks),
    Whole,
}

impl Encoder {
    /// An encoder for a destination whose memory is all zero.
    ///
    /// `key` is random, new for each attempt and told to nobody. `budget` is the memory that
    /// fingerprints may use, 324 bytes a page; pages for which there is no room go whole.
    #[must_use]
    pub fn new(layout: MemoryLayout, key: [u8; FINGERPRINT_KEY_LENGTH], budget: Bytes) -> Self {
        let known = Known {
            remembers: true,
            held: PageSet::empty(layout.pages()),
            expected: PageSet::empty(layout.pages()),
            fingerprints: Fingerprints::new(key, budget),
        };
        Self::knowing(layout, known)
    }

    /// An encoder for a destination that lacks every page that it is given: each goes whole or is
    /// said to be zero, however often it has been encoded before.
    #[must_use]
    pub fn without_history(layout: MemoryLayout) -> Self {
        let known = Known {
            remembers: false,
            held: PageSet::empty(Pages::ZERO),
            expected: PageSet::empty(Pages::ZERO),
            fingerprints: Fingerprints::new([0; FINGERPRINT_KEY_LENGTH], Bytes::ZERO),
        };
        Self::knowing(layout, known)
    }

    fn knowing(layout: MemoryLayout, known: Known) -> Self {
        let batch = Batch {
            writer: Writer::with_capacity(Kind::PackedPages.limit()),
            table: CompressTable::large(),
            block: vec![0; get_maximum_output_size(CHUNK_PAGES * PAGE)],
        };
        Self { layout, known, copies: vec![0; CHUNK_PAGES * PAGE], batch }
    }

    /// Keeps fingerprints of these pages already when they are encoded for the first time, not only
    /// from the second time on: for pages that are known to be written often.
    pub fn expect_writes(&mut self, pages: &PageSet) {
        if self.known.remembers {
            self.known.expected.union(pages);
        }
    }

    /// Announces pages that will be sent raw, and takes note of it.
    ///
    /// # Errors
    /// None or more than [`RawPages::MOST`], or pages that are not in one region; nothing has been
    /// noted then.
    pub fn raw(&mut self, pages: PageRange) -> Result<RawPages, RawPagesError> {
        let raw = RawPages::new(&self.layout, pages)?;
        if self.known.remembers {
            // The pages are read while they are sent: nobody knows what the destination gets.
            self.known.held.insert_range(pages);
            self.known.fingerprints.remove(pages);
        }
        Ok(raw)
    }

    /// Encodes pages in the order given. Nothing is held back: when this returns, everything has
    /// been delivered.
    ///
    /// `read` copies the content of a run of at most 16 pages, inside one region, into a buffer of
    /// their size. `deliver` sends the payload of one frame of packed pages; it is not called if
    /// nothing has to be sent.
    ///
    /// # Errors
    /// Those of `read` and `deliver`, at once. Some of the pages may have been delivered. The
    /// encoder then assumes nothing of what the destination has.
    ///
    /// # Panics
    /// The machine does not have one of the pages.
    pub fn encode<E>(
        &mut self,
        ranges: impl IntoIterator<Item = PageRange>,
        read: impl FnMut(PageRange, &mut [u8]) -> Result<(), E>,
        deliver: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Encoded, E> {
        let mut encoded = Encoded::default();
        match self.encode_all(ranges, read, deliver, &mut encoded) {
            Ok(()) => Ok(encoded),
            Err(error) => {
                self.batch.writer.clear();
                if self.known.remembers {
                    self.known.fingerprints.clear();
                    self.known.held = PageSet::full(self.layout.pages());
                }
                Err(error)
            }
        }
    }

    /// Whether it is known which blocks of `page` the destination has, so that only changes travel.
    #[must_use]
    pub fn knows(&self, page: PageIndex) -> bool {
        self.known.fingerprints.contains(page)
    }

    /// Whether the destination may have anything but zero in `page`, by what was sent.
    #[must_use]
    pub fn holds(&self, page: PageIndex) -> bool {
        !self.known.remembers || self.known.held.contains(page)
    }

    /// How much memory fingerprints use now.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        self.known.fingerprints.memory()
    }

    fn encode_all<E>(
        &mut self,
        ranges: impl IntoIterator<Item = PageRange>,
        mut read: impl FnMut(PageRange, &mut [u8]) -> Result<(), E>,
        mut deliver: impl FnMut(&[u8]) -> Result<(), E>,
        encoded: &mut Encoded,
    ) -> Result<(), E> {
        for range in ranges {
            assert!(range.end.0 <= self.layout.pages().get(), "{range:?} is not in the machine");
            for span in self.layout.spans(range) {
                let mut rest = span.pages;
                while !rest.is_empty() {
                    let chunk;
                    (chunk, rest) = rest.split_at(Pages::new(CHUNK_PAGES as u64));
                    let copies = &mut self.copies[..chunk.len().get() as usize * PAGE];
                    read(chunk, copies)?;
                    self.batch.encode_chunk(&mut self.known, chunk.start, copies, encoded);
                    if self.batch.writer.len() + MOST_ADDED > Kind::PackedPages.limit() {
                        self.batch.deliver(&mut deliver, encoded)?;
                    }
                }
            }
        }
        self.batch.deliver(&mut deliver, encoded)
    }
}

impl Batch {
    fn encode_chunk(
        &mut self,
        known: &mut Known,
        start: PageIndex,
        copies: &[u8],
        encoded: &mut Encoded,
    ) {
        const ONE: Pages = Pages::new(1);
        let (contents, _) = copies.as_chunks::<PAGE>();
        // The pages before this one that go whole, and can go together.
        let mut whole = start.0..start.0;
        for (page, content) in (start.0..).map(PageIndex).zip(contents) {
            let form = known.form_of(page, content);
            if matches!(form, Form::Whole) {
                whole.end = page.0 + 1;
                encoded.whole += ONE;
                continue;
            }
            self.whole(start, whole, copies);
            whole = page.0 + 1..page.0 + 1;
            match form {
                Form::Elided => encoded.elided += ONE,
                Form::Zero => {
                    self.writer.zero(page);
                    encoded.zero += ONE;
                }
                Form::Changes(blocks) => {
                    self.writer.changes(page, content, pieces(blocks));
                    encoded.changed += ONE;
                }
                Form::Whole => unreachable!("dealt with above"),
            }
        }
        self.whole(start, whole, copies);
    }

    /// Writes neighbouring pages of the chunk that begins at `start`.
    fn whole(&mut self, start: PageIndex, pages: std::ops::Range<u64>, copies: &[u8]) {
        if pages.is_empty() {
            return;
        }
        let offset = |page: u64| (page - start.0) as usize * PAGE;
        let content = &copies[offset(pages.start)..offset(pages.end)];
        let pages = PageRange::new(pages.start, pages.end);
        match compress_into_with_table(content, &mut self.block, &mut self.table) {
            // Less than 1/16 saved is not worth the work of the other side.
            Ok(length) if length <= content.len() / 16 * 15 => {
                self.writer.compressed(pages, &self.block[..length]);
            }
            _ => self.writer.plain(pages, content),
        }
    }

    fn deliver<E>(
        &mut self,
        deliver: &mut impl FnMut(&[u8]) -> Result<(), E>,
        encoded: &mut Encoded,
    ) -> Result<(), E> {
        let payload = self.writer.finish();
        if !payload.is_empty() {
            encoded.payload += Bytes::new(payload.len() as u64);
            deliver(payload)?;
        }
        self.writer.clear();
        Ok(())
    }
}

impl Known {
    /// How to send `page`, and takes note that the destination will have `content`.
    fn form_of(&mut self, page: PageIndex, content: &[u8; PAGE]) -> Form {
        if !self.remembers {
            return if is_zero(content) { Form::Zero } else { Form::Whole };
        }
        let this = PageRange::new(page.0, page.0 + 1);
        let held = self.held.contains(page);
        if is_zero(content) {
            self.held.remove_range(this);
            self.fingerprints.remove(this);
            return if held { Form::Zero } else { Form::Elided };
        }
        self.held.insert(page);
        match self.fingerprints.change(page, content) {
            Some(0) => Form::Elided,
            // With three quarters changed the page goes whole, since then it can be compressed.
            Some(blocks) if blocks.count_ones() < Blocks::BITS * 3 / 4 => Form::Changes(blocks),
            Some(_) => Form::Whole,
            None => {
                if held || self.expected.contains(page) {
                    self.fingerprints.insert(page, content);
                }
                Form::Whole
            }
        }
    }
}

fn is_zero(content: &[u8; PAGE]) -> bool {
    // A whole line at a time, so that the compiler can use wide registers and leave early.
    content.as_chunks::<64>().0.iter().all(|line| line.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The pieces of a page that these blocks are, neighbours joined.
fn pieces(blocks: Blocks) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + blocks.checked_shr(from)?.trailing_zeros();
        let length = blocks.checked_shr(start)?.trailing_ones();
        from = start + length;
        Some(start as usize * BLOCK..from as usize * BLOCK)
    })
}
