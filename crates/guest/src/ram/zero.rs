use punctual_units::{Bytes, PAGE_SIZE, PageIndex, PageRange};
use rustix::fs::{FallocateFlags, fallocate};

use super::{Ram, RamIoError};

/// Whether all bytes are zero: some 30 GB/s, and it ends early where they are not.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // One block is what the compiler turns into a few vector instructions without a branch.
    const BLOCK: usize = 128;
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    blocks.iter().all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

impl Ram {
    /// Whether one page is all zero. Most pages that are not show it in their first bytes, and only
    /// those are read then.
    ///
    /// # Errors
    /// The kernel cannot read the file.
    ///
    /// # Panics
    /// The machine has no such page.
    pub fn is_zero(&self, page: PageIndex) -> Result<bool, RamIoError> {
        const FIRST: usize = 64;
        let mut content = [0; PAGE_SIZE.get() as usize];
        let (region, offset) = self.layout.locate(page).expect("the machine has this page");
        let read = |into: &mut [u8]| {
            let read = self.files[region.0].read(offset, into);
            read.map(|()| is_zero(into)).map_err(|cause| self.io_error("read", page, cause))
        };
        Ok(read(&mut content[..FIRST])? && read(&mut content)?)
    }

    /// Makes `pages` zero, and gives their memory back where they are whole pages of the file.
    ///
    /// # Errors
    /// The kernel cannot change the file.
    ///
    /// # Panics
    /// The machine has no such pages.
    pub fn punch(&self, pages: PageRange) -> Result<(), RamIoError> {
        self.check(pages, pages.len().bytes().get() as usize);
        for span in self.layout.spans(pages) {
            let length = span.pages.len().bytes();
            fallocate(
                self.file(span.region),
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                span.offset.get(),
                length.get(),
            )
            .map_err(|error| self.io_error("zero", span.pages.start, error.into()))?;
        }
        Ok(())
    }

    /// The size of all regions together.
    #[must_use]
    pub fn size(&self) -> Bytes {
        self.layout.pages().bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::is_zero;

    #[test]
    fn one_bit_anywhere_is_seen() {
        let mut page = [0_u8; 4096];
        assert!(is_zero(&page));
        for at in 0..page.len() {
            page[at] = 0x10;
            assert!(!is_zero(&page), "byte {at}");
            page[at] = 0;
        }
        assert!(is_zero(&[]));
        assert!(!is_zero(&[0, 0, 1]));
    }
}
