use std::time::Duration;

use punctual_units::leb128::{self, Unread};
use punctual_units::{MemoryLayout, PageRange, PageSet, Pages, Probability, Region};
use thiserror::Error;

use crate::format::{BLOCK, BLOCK_HEAD, BlockHead, DIRECT_IO, HEADER, Header, MAGIC, VERSION};
use crate::{About, Content, Scan, Trace};

/// Why bytes were not taken as a trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceError {
    /// Something else.
    #[error("this is no trace of Punctual: give a file that `punctual trace` has written")]
    NotATrace,
    /// Written by another release, in a form that this one does not know.
    #[error(
        "the trace is of version {found}, and this Punctual reads version {VERSION}: use the \
         release that recorded it, or record it anew"
    )]
    OtherVersion {
        /// The version it states.
        found: u16,
    },
    /// The end is missing.
    #[error(
        "the trace ends after {scans} whole scans, {missing} bytes too early: copy it again, or \
         record it anew"
    )]
    Truncated {
        /// How many scans could be read.
        scans: usize,
        /// How many bytes are missing at least.
        missing: u64,
    },
    /// Bytes changed after it was written, or it was written wrongly.
    #[error("the trace is damaged at byte {at}: {what}; copy it again, or record it anew")]
    Corrupt {
        /// Where in the file: the beginning of the header or of a block.
        at: usize,
        /// What is wrong.
        what: String,
    },
}

impl Trace {
    /// Reads what [`Trace::encode`] wrote.
    ///
    /// Nothing that comes in can make it panic or take memory out of proportion: at most half a
    /// gigabyte for the runs, and a bit for each page of the machine.
    ///
    /// # Errors
    /// It is no trace, or not whole, see [`TraceError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        let header = read_header(bytes)?;
        let mut stream = Stream::new(bytes, header.length);
        read_trace(&mut stream, header.scans as usize).map_err(|fault| match fault {
            Fault::Ended => TraceError::Truncated {
                scans: stream.scans,
                missing: header.length.saturating_sub(bytes.len() as u64),
            },
            Fault::Wrong(what) => TraceError::Corrupt { at: stream.block_at, what },
        })
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, TraceError> {
    if !bytes.starts_with(&MAGIC) {
        return Err(TraceError::NotATrace);
    }
    let missing = |length: usize| TraceError::Truncated {
        scans: 0,
        missing: length.saturating_sub(bytes.len()) as u64,
    };
    let version = bytes.get(8..10).ok_or_else(|| missing(HEADER))?;
    let found = u16::from_le_bytes([version[0], version[1]]);
    if found != VERSION {
        return Err(TraceError::OtherVersion { found });
    }
    let wrong = |what: &str| TraceError::Corrupt { at: 0, what: what.to_owned() };
    let header = bytes.first_chunk().ok_or_else(|| missing(HEADER))?;
    let header = Header::read(header).ok_or_else(|| wrong("the checksum of the header"))?;
    if header.scans as usize > Trace::MOST_SCANS {
        return Err(wrong("more scans than a trace holds"));
    }
    if bytes.len() as u64 > header.length {
        return Err(wrong("more bytes than its header states"));
    }
    Ok(header)
}

/// Why reading did not go on.
enum Fault {
    /// The bytes ended.
    Ended,
    /// They are not what a trace has.
    Wrong(String),
}

impl Fault {
    fn wrong(what: impl ToString) -> Self {
        Self::Wrong(what.to_string())
    }
}

fn read_trace(stream: &mut Stream<'_>, scans: usize) -> Result<Trace, Fault> {
    let about = stream.about()?;
    let machine = about.layout.pages();
    let mut found = Vec::new();
    let (mut at, mut left) = (Duration::ZERO, Trace::MOST_RUNS);
    for _ in 0..scans {
        at = at.saturating_add(Duration::from_nanos(stream.varint()?));
        let mut written = Vec::new();
        stream.runs(machine, left, |run| written.push(run))?;
        left -= written.len();
        found.push(Scan { at, written });
        stream.scans += 1;
    }
    stream.end()?;
    Trace::new(about, found).map_err(Fault::wrong)
}

/// The unpacked blocks, one after the other; one of them is in memory.
struct Stream<'a> {
    bytes: &'a [u8],
    /// What the file should have.
    length: u64,
    /// The block at hand, and where in it.
    block: Vec<u8>,
    at: usize,
    /// Where the block begins in the file, where the next one does, and the next one's number.
    block_at: usize,
    next: usize,
    number: u64,
    /// How many scans have been read.
    scans: usize,
}

impl<'a> Stream<'a> {
    fn new(bytes: &'a [u8], length: u64) -> Self {
        let block = Vec::with_capacity(BLOCK);
        Self { bytes, length, block, at: 0, block_at: 0, next: HEADER, number: 0, scans: 0 }
    }

    fn about(&mut self) -> Result<About, Fault> {
        let machine = self.text()?;
        let regions = self.limited(MemoryLayout::MOST_REGIONS as u64, "regions")?;
        let mut all = Vec::new();
        for _ in 0..regions {
            let name = self.text()?;
            let pages = self.limited(Trace::MOST_PAGES.get(), "pages in a region")?;
            all.push(Region { name, size: Pages::new(pages).bytes() });
        }
        let layout = MemoryLayout::new(all).map_err(Fault::wrong)?;
        if layout.pages() > Trace::MOST_PAGES {
            return Err(Fault::wrong("more pages than a trace is made for"));
        }
        let flags = self.byte()?;
        if flags & !DIRECT_IO != 0 {
            return Err(Fault::wrong("flags that this version does not have"));
        }
        let recorded_at = self.varint()?;
        let guest_cost = self.probability()?;
        let content =
            Content { zero: self.probability()?, first: self.number()?, again: self.number()? };
        let mut populated = PageSet::empty(layout.pages());
        self.runs(layout.pages(), Trace::MOST_RUNS, |run| populated.insert_range(run))?;
        let direct_io = flags & DIRECT_IO != 0;
        Ok(About { machine, layout, populated, direct_io, content, recorded_at, guest_cost })
    }

    /// Reads runs of a machine of so many pages, at most `most` of them.
    fn runs(
        &mut self,
        machine: Pages,
        most: usize,
        mut take: impl FnMut(PageRange),
    ) -> Result<(), Fault> {
        let runs = self.limited(most as u64, "runs of pages")?;
        let mut free = 0_u64;
        for _ in 0..runs {
            let head = self.varint()?;
            let start = free.saturating_add(head >> 1);
            let pages = if head & 1 == 0 { 1 } else { self.varint()?.saturating_add(2) };
            let end = start.saturating_add(pages);
            if end > machine.get() {
                return Err(Fault::Wrong(format!("page {end} of a machine of {machine}")));
            }
            take(PageRange::new(start, end));
            free = end;
        }
        Ok(())
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = self.limited(Trace::LONGEST_NAME as u64, "bytes in a name")?;
        let bytes = (0..length).map(|_| self.byte()).collect::<Result<Vec<u8>, Fault>>()?;
        String::from_utf8(bytes).map_err(|_| Fault::wrong("a name that is no text"))
    }

    fn probability(&mut self) -> Result<Probability, Fault> {
        Probability::try_from(self.number()?).map_err(Fault::Wrong)
    }

    fn number(&mut self) -> Result<f64, Fault> {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(f64::from_le_bytes(bytes))
    }

    fn limited(&mut self, most: u64, what: &str) -> Result<u64, Fault> {
        let number = self.varint()?;
        if number > most {
            return Err(Fault::Wrong(format!("{number} {what}, of at most {most}")));
        }
        Ok(number)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        leb128::read(|| self.byte()).map_err(|unread| match unread {
            Unread::Byte(fault) => fault,
            Unread::TooLong => Fault::wrong("a number that does not end"),
        })
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        if self.at == self.block.len() {
            self.unpack_next()?;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }

    /// Checks that nothing follows.
    fn end(&self) -> Result<(), Fault> {
        if self.at < self.block.len() || (self.next as u64) < self.length {
            return Err(Fault::wrong("more behind the last scan"));
        }
        Ok(())
    }

    /// Unpacks the next block, which has at least one byte.
    fn unpack_next(&mut self) -> Result<(), Fault> {
        self.block_at = self.next;
        if self.next as u64 == self.length {
            return Err(Fault::wrong("no more blocks, though scans are missing"));
        }
        let rest = &self.bytes[self.next..];
        let (head, rest) = rest.split_first_chunk::<BLOCK_HEAD>().ok_or(Fault::Ended)?;
        let head = BlockHead::read(head);
        let (unpacked, packed) = (head.unpacked as usize, head.packed as usize);
        if unpacked == 0 || unpacked > BLOCK || packed > unpacked {
            return Err(Fault::wrong("a block of impossible length"));
        }
        let payload = rest.get(..packed).ok_or(Fault::Ended)?;
        if head.checksum != head.checksum_of(self.number, payload) {
            return Err(Fault::wrong("the checksum of a block"));
        }
        self.block.resize(unpacked, 0);
        if packed == unpacked {
            self.block.copy_from_slice(payload);
        } else {
            let written = lz4_flex::block::decompress_into(payload, &mut self.block);
            if written.ok() != Some(unpacked) {
                return Err(Fault::wrong("a block that cannot be unpacked"));
            }
        }
        self.at = 0;
        self.next += BLOCK_HEAD + packed;
        self.number += 1;
        Ok(())
    }
}
