use std::fmt;

use punctual_units::{PAGE_SIZE, PageIndex, PageRange, PageSet};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Ram, RamIoError, is_zero};

/// A digest of a machine's memory: equal for equal content, whatever is a hole and whatever a page
/// of zeros.
///
/// It is the sum, modulo 2¹²⁸, of XXH3-128 (seeded with the page's number) of every page that is
/// not zero. It shows faults; it does not withstand someone who wants two memories to look alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RamDigest(u128);

impl RamDigest {
    /// The bare number, as it travels.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The digest with the content of one more page, or of several in order, in it.
    #[must_use]
    pub fn with(self, first: PageIndex, content: &[u8]) -> Self {
        let pages = content.chunks(PAGE_SIZE.get() as usize);
        let sum = pages.zip(first.0..).filter(|(page, _)| !is_zero(page));
        Self(
            sum.fold(self.0, |sum, (page, index)| {
                sum.wrapping_add(xxh3_128_with_seed(page, index))
            }),
        )
    }

    fn join(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl fmt::Display for RamDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RamDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RamDigest({self})")
    }
}

impl Ram {
    /// The digest of the whole memory. It is that of one moment only while the machine is stopped.
    ///
    /// Takes some 0.1 s for a GiB of populated pages, on two threads.
    ///
    /// # Errors
    /// The kernel cannot read a file.
    pub fn digest(&self) -> Result<RamDigest, RamIoError> {
        self.digest_without(&PageSet::empty(self.layout.pages()))
    }

    /// The digest of all pages but some.
    ///
    /// # Errors
    /// The kernel cannot read a file.
    pub fn digest_without(&self, except: &PageSet) -> Result<RamDigest, RamIoError> {
        let mut populated = self.populated()?;
        populated.subtract(except);
        let middle = middle(&populated);
        let end = self.layout.pages().get();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| self.digest_of(&populated, PageRange::new(middle, end)));
            let first = self.digest_of(&populated, PageRange::new(0, middle))?;
            Ok(first.join(second.join().expect("the second thread does not panic")?))
        })
    }

    fn digest_of(&self, pages: &PageSet, within: PageRange) -> Result<RamDigest, RamIoError> {
        const AT_ONCE: usize = 64;
        let mut buffer = vec![0; AT_ONCE * PAGE_SIZE.get() as usize];
        let mut digest = RamDigest::default();
        for run in pages.ranges() {
            let end = run.end.0.min(within.end.0);
            let mut at = run.start.0.max(within.start.0);
            while at < end {
                let piece = PageRange::new(at, end.min(at + AT_ONCE as u64));
                let content = &mut buffer[..piece.len().bytes().get() as usize];
                self.read(piece, content)?;
                digest = digest.with(piece.start, content);
                at = piece.end.0;
            }
        }
        Ok(digest)
    }
}

/// A page that has about half of the set before it.
fn middle(pages: &PageSet) -> u64 {
    let mut before = 0;
    for run in pages.ranges() {
        let needed = pages.len().get() / 2 - before;
        if run.len().get() >= needed {
            return run.start.0 + needed;
        }
        before += run.len().get();
    }
    0
}
