//! A machine's memory: the files that the machine maps and Punctual reads and writes.
//!
//! The machine's process writes the same memory at the same time. So Rust never gets a reference
//! to it: bytes are copied out and in by the kernel (`pread`, `pwrite`, `sendfile`, `splice`). That
//! has three more effects which a mapping of our own would not have: reading a hole does not fill
//! it, a full filesystem is an error and not a signal (SIGBUS), and the machine's memory is not
//! counted as ours.

mod create;
mod digest;
mod error;
mod link;
mod populated;
mod region;
pub(crate) mod space;
#[cfg(test)]
pub(crate) mod tests;
mod transfer;
mod zero;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use punctual_units::{Bytes, MemoryLayout, PAGE_SIZE, PageIndex, PageRange, RegionIndex};

use self::region::RegionFile;

pub use digest::RamDigest;
pub use error::{RamError, RamIoError};
pub use zero::is_zero;

/// The memory of one machine, one open file for each region of its layout.
///
/// All methods take `&self` and may run on several threads at once.
#[derive(Debug)]
pub struct Ram {
    layout: MemoryLayout,
    files: Vec<RegionFile>,
}

impl Ram {
    /// The memory in `files`, open for reading and writing, one for each region of `layout` in
    /// its order. The file of a region begins with the region and may be longer.
    ///
    /// # Errors
    /// The number of files is not that of the regions, or a file is too short.
    pub fn open(layout: MemoryLayout, files: Vec<File>) -> Result<Self, RamError> {
        if files.len() != layout.regions().len() {
            return Err(RamError::FileCount {
                files: files.len(),
                regions: layout.regions().len(),
            });
        }
        let files = files
            .into_iter()
            .zip(layout.regions())
            .map(|(file, region)| RegionFile::new(file, region))
            .collect::<Result<_, _>>()?;
        Ok(Self { layout, files })
    }

    /// How the pages are spread over the regions.
    #[must_use]
    pub fn layout(&self) -> &MemoryLayout {
        &self.layout
    }

    /// The file of one region.
    ///
    /// # Panics
    /// The layout has no such region.
    #[must_use]
    pub fn file(&self, region: RegionIndex) -> BorrowedFd<'_> {
        self.files[region.0].file().as_fd()
    }

    /// The size of the host's pages that hold one region: [`PAGE_SIZE`], or that of the huge pages
    /// on hugetlbfs. Such memory is traced and given back only in whole host pages.
    ///
    /// # Panics
    /// The layout has no such region.
    #[must_use]
    pub fn host_page(&self, region: RegionIndex) -> Bytes {
        self.files[region.0].host_page()
    }

    /// Copies `pages` out, into exactly as many bytes.
    ///
    /// What the machine writes meanwhile may or may not be in the copy; such a page is found by
    /// the next scan of a tracer. Holes read as zero and stay holes.
    ///
    /// # Errors
    /// The kernel cannot read the file.
    ///
    /// # Panics
    /// `into` has another size than the pages, or the machine has no such pages.
    pub fn read(&self, pages: PageRange, into: &mut [u8]) -> Result<(), RamIoError> {
        self.check(pages, into.len());
        let mut rest = into;
        for span in self.layout.spans(pages) {
            let (now, later) = rest.split_at_mut(span.pages.len().bytes().get() as usize);
            self.files[span.region.0]
                .read(span.offset, now)
                .map_err(|cause| self.io_error("read", span.pages.start, cause))?;
            rest = later;
        }
        Ok(())
    }

    /// Copies `bytes`, a whole number of pages, in at page `at`.
    ///
    /// # Errors
    /// The kernel cannot write the file, as when its filesystem is full.
    ///
    /// # Panics
    /// The bytes are not whole pages, or the machine has no such pages.
    pub fn write(&self, at: PageIndex, bytes: &[u8]) -> Result<(), RamIoError> {
        let length = Bytes::new(bytes.len() as u64);
        let pages = PageRange { start: at, end: at.plus(length.pages()) };
        self.check(pages, bytes.len());
        let mut rest = bytes;
        for span in self.layout.spans(pages) {
            let (now, later) = rest.split_at(span.pages.len().bytes().get() as usize);
            self.files[span.region.0]
                .write(span.offset, now)
                .map_err(|cause| self.io_error("write", span.pages.start, cause))?;
            rest = later;
        }
        Ok(())
    }

    /// Copies `bytes` in at byte `offset` of one page.
    ///
    /// # Errors
    /// The kernel cannot write the file, as when its filesystem is full.
    ///
    /// # Panics
    /// The bytes reach behind the end of the page, or the machine has no such page.
    pub fn write_at(&self, page: PageIndex, offset: Bytes, bytes: &[u8]) -> Result<(), RamIoError> {
        let end = offset.get() + bytes.len() as u64;
        assert!(end <= PAGE_SIZE.get(), "a write up to byte {end} of a page");
        let (region, start) = self.layout.locate(page).expect("the machine has this page");
        self.files[region.0]
            .write(start + offset, bytes)
            .map_err(|cause| self.io_error("write", page, cause))
    }

    fn check(&self, pages: PageRange, length: usize) {
        assert_eq!(pages.len().bytes().get(), length as u64, "bytes for {pages:?}");
        assert!(pages.end.0 <= self.layout.pages().get(), "{pages:?} of {}", self.layout.pages());
    }

    fn io_error(&self, action: &'static str, page: PageIndex, cause: std::io::Error) -> RamIoError {
        let region = self
            .layout
            .locate(page)
            .map_or("?", |(region, _)| &self.layout.regions()[region.0].name);
        RamIoError { action, region: region.to_owned(), page, cause }
    }
}
