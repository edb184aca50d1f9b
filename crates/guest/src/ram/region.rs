use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use punctual_units::{Bytes, PAGE_SIZE, Region};
use rustix::fs::fstatfs;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::RamError;

/// `f_type` of hugetlbfs in `statfs(2)` (`HUGETLBFS_MAGIC` in `linux/magic.h`).
pub(super) const HUGETLBFS: i64 = 0x958458f6;

/// The file of one region.
#[derive(Debug)]
pub(super) struct RegionFile {
    file: File,
    /// hugetlbfs has no `write(2)`: there, and only there, the file is mapped.
    mapping: Option<Mapping>,
    /// The size of the host's pages in it.
    host_page: Bytes,
}

impl RegionFile {
    pub(super) fn new(file: File, region: &Region) -> Result<Self, RamError> {
        let failed =
            |action, cause| RamError::Region { region: region.name.clone(), action, cause };
        let actual = file.metadata().map_err(|cause| failed("get its size", cause))?.len();
        let expected = region.size.get();
        if actual < expected {
            return Err(RamError::TooShort { region: region.name.clone(), actual, expected });
        }
        let kind = fstatfs(&file).map_err(|error| failed("get its filesystem", error.into()))?;
        let huge = kind.f_type == HUGETLBFS;
        let host_page = if huge { Bytes::new(kind.f_bsize as u64) } else { PAGE_SIZE };
        let mapping = if huge {
            Some(
                Mapping::new(&file, region.size)
                    .map_err(|cause| failed("map huge pages", cause))?,
            )
        } else {
            None
        };
        Ok(Self { file, mapping, host_page })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn host_page(&self) -> Bytes {
        self.host_page
    }

    pub(super) fn read(&self, offset: Bytes, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset.get())
    }

    pub(super) fn write(&self, offset: Bytes, bytes: &[u8]) -> io::Result<()> {
        match &self.mapping {
            None => self.file.write_all_at(bytes, offset.get()),
            Some(mapping) => {
                mapping.write(offset, bytes);
                Ok(())
            }
        }
    }
}

/// A file of huge pages, mapped shared.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory that belongs to no thread; nothing but copies by raw
// pointer is ever made from it.
unsafe impl Send for Mapping {}
// SAFETY: as above; several threads may copy at once, as the machine itself does.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, size: Bytes) -> io::Result<Self> {
        let length = size.get() as usize;
        // SAFETY: a new mapping at a place that the kernel chooses; it replaces none. The kernel
        // reserves its huge pages now, so a later write finds them.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file.as_fd(),
                0,
            )?
        };
        let start = NonNull::new(start.cast()).expect("the kernel maps nothing at address 0");
        Ok(Self { start, length })
    }

    fn write(&self, offset: Bytes, bytes: &[u8]) {
        let offset = offset.get() as usize;
        assert!(offset + bytes.len() <= self.length, "bytes inside the region");
        // SAFETY: checked to lie inside the mapping; no reference to it exists in this process,
        // and what another process writes there at the same time is bytes all the same.
        unsafe {
            let to = self.start.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nobody has its address any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
