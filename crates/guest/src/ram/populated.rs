use std::io;
use std::os::fd::BorrowedFd;

use punctual_units::{Bytes, PAGE_SIZE, PageRange, PageSet, RegionIndex};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::{Ram, RamIoError};

impl Ram {
    /// The pages that have memory or are swapped out, as `SEEK_DATA` and `SEEK_HOLE` tell; every
    /// other page is a hole and reads as zero. A page in the set may be zero too.
    ///
    /// A filesystem that knows no holes (hugetlbfs) makes every page of its regions count.
    ///
    /// The machine may fill a hole at any time: begin to trace first, ask this afterwards, and a
    /// page that was missed here has been traced.
    ///
    /// # Errors
    /// The kernel cannot search the file.
    pub fn populated(&self) -> Result<PageSet, RamIoError> {
        let mut found = PageSet::empty(self.layout.pages());
        for region in (0..self.layout.regions().len()).map(RegionIndex) {
            let pages = self.layout.range_of(region);
            let size = pages.len().bytes();
            let mut at = Bytes::ZERO;
            while at < size {
                let run = next_run(self.file(region), at, size)
                    .map_err(|cause| self.io_error("find", pages.start, cause))?;
                let Some((start, end)) = run else { break };
                found.insert_range(PageRange::new(
                    pages.start.0 + start.get() / PAGE_SIZE.get(),
                    pages.start.0 + end.pages().get(),
                ));
                at = end;
            }
        }
        Ok(found)
    }
}

/// The next run of data at or behind `from`, cut at `limit`.
///
/// The files' positions serve nothing else, so that two threads that search the same file at once
/// would at worst disturb nobody: each search names its own start.
fn next_run(file: BorrowedFd<'_>, from: Bytes, limit: Bytes) -> io::Result<Option<(Bytes, Bytes)>> {
    let start = match seek(file, SeekFrom::Data(from.get())) {
        Ok(start) if start < limit.get() => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?.min(limit.get());
    Ok(Some((Bytes::new(start), Bytes::new(end))))
}
