//! The entries of packed pages, and the numbers in them.

use punctual_units::leb128::{self, Unread};
use punctual_units::{PageIndex, PageRange};
use thiserror::Error;

use super::{CHUNK_PAGES, PAGE};

/// The forms of an entry, as in the table of [`pages`](super).
pub(super) mod form {
    pub(in super::super) const ZERO: u8 = 0;
    pub(in super::super) const COMPRESSED: u8 = 1;
    pub(in super::super) const PLAIN: u8 = 2;
    pub(in super::super) const CHANGES: u8 = 3;
}

/// What is wrong with packed pages.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The payload ends in the middle of an entry.
    #[error("the payload ends inside an entry")]
    Short,
    /// A number has more than 64 bits.
    #[error("a number has more than 64 bits")]
    Number,
    /// There is no such form of entry.
    #[error("no entry has the form {0}")]
    Form(u8),
    /// No page, or more than this form of entry may have.
    #[error("an entry of {0} pages")]
    Count(u64),
    /// Pages that the machine does not have, or that lie in two regions.
    #[error("{count} pages from page {start} on are not in one region of the machine's memory")]
    Outside {
        /// The first.
        start: u64,
        /// How many.
        count: u64,
    },
    /// A piece that is empty or does not fit into its page, or an entry without one.
    #[error("a piece of {length} bytes at {offset} of a page")]
    Piece {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// Compressed pages that do not give the pages announced.
    #[error("compressed pages give no {expected} bytes: {cause}")]
    Compressed {
        /// What was announced.
        expected: usize,
        /// What came instead.
        cause: String,
    },
}

/// Appends entries to a payload.
#[derive(Debug, Default)]
pub(super) struct Writer {
    payload: Vec<u8>,
    /// The page behind the last entry.
    next: u64,
    /// Zero pages that are not written yet, since more of them may follow.
    zeros: Option<PageRange>,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { payload: Vec::with_capacity(bytes), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.payload.len()
    }

    /// The finished payload. The next entry begins a new one.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.write_zeros();
        self.next = 0;
        &self.payload
    }

    pub(super) fn clear(&mut self) {
        self.payload.clear();
        self.zeros = None;
        self.next = 0;
    }

    pub(super) fn zero(&mut self, page: PageIndex) {
        match &mut self.zeros {
            Some(run) if run.end == page => run.end = PageIndex(page.0 + 1),
            _ => {
                self.write_zeros();
                self.zeros = Some(PageRange::new(page.0, page.0 + 1));
            }
        }
    }

    pub(super) fn compressed(&mut self, pages: PageRange, block: &[u8]) {
        self.begin(form::COMPRESSED, pages);
        self.number(pages.len().get());
        self.number(block.len() as u64);
        self.payload.extend_from_slice(block);
    }

    pub(super) fn plain(&mut self, pages: PageRange, content: &[u8]) {
        self.begin(form::PLAIN, pages);
        self.number(pages.len().get());
        self.payload.extend_from_slice(content);
    }

    /// `pieces` are ranges of `content`, rising, not empty.
    pub(super) fn changes(
        &mut self,
        page: PageIndex,
        content: &[u8],
        pieces: impl Iterator<Item = std::ops::Range<usize>> + Clone,
    ) {
        self.begin(form::CHANGES, PageRange::new(page.0, page.0 + 1));
        self.number(pieces.clone().count() as u64);
        let mut end = 0;
        for piece in pieces {
            self.number((piece.start - end) as u64);
            self.number(piece.len() as u64);
            end = piece.end;
            self.payload.extend_from_slice(&content[piece]);
        }
    }

    fn write_zeros(&mut self) {
        if let Some(run) = self.zeros.take() {
            self.begin(form::ZERO, run);
            self.number(run.len().get());
        }
    }

    fn begin(&mut self, form: u8, pages: PageRange) {
        self.write_zeros();
        self.payload.push(form);
        let gap = pages.start.0.wrapping_sub(self.next).cast_signed();
        self.number((gap << 1 ^ gap >> 63).cast_unsigned());
        self.next = pages.end.0;
    }

    fn number(&mut self, number: u64) {
        leb128::write(number, |byte| self.payload.push(byte));
    }
}

/// One entry as it stands in a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Zero,
    Compressed(&'a [u8]),
    Plain(&'a [u8]),
    Changes(Pieces),
}

/// How many pieces of a page follow; each is read by [`Reader::piece`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pieces(pub(super) u64);

/// Reads the entries of a payload.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    next: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, next: 0 }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next entry and its pages. Whether the machine has these is for the caller to check.
    pub(super) fn entry(&mut self) -> Result<(PageRange, Entry<'a>), Fault> {
        let form = self.take(1)?[0];
        let gap = self.number()?;
        let gap = (gap >> 1) ^ (gap & 1).wrapping_neg();
        let start = self.next.wrapping_add(gap);
        let count = match form {
            form::ZERO => self.number()?,
            form::CHANGES => 1,
            form::COMPRESSED | form::PLAIN => self.number()?,
            other => return Err(Fault::Form(other)),
        };
        if count == 0 || (form != form::ZERO && count > CHUNK_PAGES as u64) {
            return Err(Fault::Count(count));
        }
        let end = start.checked_add(count).ok_or(Fault::Outside { start, count })?;
        self.next = end;
        let entry = match form {
            form::ZERO => Entry::Zero,
            form::COMPRESSED => {
                let length = self.number()?;
                Entry::Compressed(self.take(usize::try_from(length).map_err(|_| Fault::Short)?)?)
            }
            form::PLAIN => Entry::Plain(self.take(count as usize * PAGE)?),
            _ => Entry::Changes(Pieces(self.number()?)),
        };
        Ok((PageRange::new(start, end), entry))
    }

    /// The next piece of a page, the piece before having ended at `end`.
    pub(super) fn piece(&mut self, end: usize) -> Result<(usize, &'a [u8]), Fault> {
        let (distance, length) = (self.number()?, self.number()?);
        let offset = distance.saturating_add(end as u64);
        if length == 0 || offset.saturating_add(length) > PAGE as u64 {
            return Err(Fault::Piece { offset, length });
        }
        Ok((offset as usize, self.take(length as usize)?))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Fault> {
        leb128::read(|| self.take(1).map(|byte| byte[0])).map_err(|unread| match unread {
            Unread::Byte(fault) => fault,
            Unread::TooLong => Fault::Number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_is_told_from_one_that_is_cut() {
        assert_eq!(Reader::new(&[0xff; 10]).number(), Err(Fault::Number));
        assert_eq!(Reader::new(&[0x80; 3]).number(), Err(Fault::Short));
    }

    #[test]
    fn pages_may_go_backwards_and_far() {
        let mut writer = Writer::default();
        let far = (1 << 40) - 1;
        writer.zero(PageIndex(far));
        writer.zero(PageIndex(3));
        writer.zero(PageIndex(4));
        let payload = writer.finish().to_vec();
        let mut reader = Reader::new(&payload);
        assert_eq!(reader.entry(), Ok((PageRange::new(far, far + 1), Entry::Zero)));
        assert_eq!(reader.entry(), Ok((PageRange::new(3, 5), Entry::Zero)));
        assert_eq!(reader.left(), 0);
    }
}
