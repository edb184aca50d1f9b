//! The two kernel interfaces: userfaultfd with write-protect faults that the kernel answers itself
//! (`Documentation/admin-guide/mm/userfaultfd.rst`, "Write Protect Notifications"), and
//! `PAGEMAP_SCAN` (`Documentation/admin-guide/mm/pagemap.rst`).

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use linux_raw_sys::general as raw;
use linux_raw_sys::general::{page_region, pm_scan_arg};
use nix::errno::Errno;

mod request {
    use linux_raw_sys::general::{
        pm_scan_arg, uffdio_api, uffdio_range, uffdio_register, uffdio_writeprotect,
    };

    nix::ioctl_readwrite!(api, 0xAA, 0x3F, uffdio_api);
    nix::ioctl_readwrite!(register, 0xAA, 0x00, uffdio_register);
    nix::ioctl_read!(unregister, 0xAA, 0x01, uffdio_range);
    nix::ioctl_readwrite!(write_protect, 0xAA, 0x06, uffdio_writeprotect);
    nix::ioctl_readwrite!(scan, b'f', 16, pm_scan_arg);
}

/// What a tracer needs of the kernel: faults answered by the kernel alone, on pages that have not
/// been touched yet, in memory of files.
const FEATURES: u32 = raw::UFFD_FEATURE_WP_ASYNC
    | raw::UFFD_FEATURE_WP_UNPOPULATED
    | raw::UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
const WRITE_PROTECT_ON: u64 = 1;

/// Agrees with the kernel on what a new userfaultfd does. `EINVAL`: it cannot.
pub(super) fn agree(userfaultfd: &OwnedFd) -> Result<(), Errno> {
    let mut api =
        raw::uffdio_api { api: raw::UFFD_API.into(), features: FEATURES.into(), ioctls: 0 };
    // SAFETY: the struct that the request reads and writes.
    unsafe { request::api(userfaultfd.as_raw_fd(), &raw mut api) }.map(drop)
}

/// Lets it watch the addresses `start..end`, which are whole mappings. Changes nothing yet.
pub(super) fn register(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut register = raw::uffdio_register {
        range: raw::uffdio_range { start, len: end - start },
        mode: raw::UFFDIO_REGISTER_MODE_WP.into(),
        ioctls: 0,
    };
    // SAFETY: the struct that the request reads and writes.
    unsafe { request::register(userfaultfd.as_raw_fd(), &raw mut register) }.map(drop)
}

/// The opposite of [`register`].
pub(super) fn unregister(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut range = raw::uffdio_range { start, len: end - start };
    // SAFETY: the struct that the request reads.
    unsafe { request::unregister(userfaultfd.as_raw_fd(), &raw mut range) }.map(drop)
}

/// Marks every page in `start..end` as not written, with or without memory behind it.
pub(super) fn protect(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut protect = raw::uffdio_writeprotect {
        range: raw::uffdio_range { start, len: end - start },
        mode: WRITE_PROTECT_ON,
    };
    loop {
        // SAFETY: the struct that the request reads.
        match unsafe { request::write_protect(userfaultfd.as_raw_fd(), &raw mut protect) } {
            Ok(_) => return Ok(()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a scan does with the pages that it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// Nothing.
    Look,
    /// Marks them as not written, in the same moment.
    Take,
}

/// Finds the pages written in `start..end`, and hands their runs of addresses to `found`, rising.
/// On an error it may have marked pages that it has not handed over.
pub(super) fn scan(
    pagemap: &File,
    what: Scan,
    (start, end): (u64, u64),
    space: &mut [page_region],
    mut found: impl FnMut(u64, u64),
) -> Result<(), Errno> {
    let marking = if what == Scan::Take { raw::PM_SCAN_WP_MATCHING } else { 0 };
    let mut at = start;
    while at < end {
        let mut arg = pm_scan_arg {
            size: size_of::<pm_scan_arg>() as u64,
            flags: (marking | raw::PM_SCAN_CHECK_WPASYNC).into(),
            start: at,
            end,
            walk_end: 0,
            vec: space.as_mut_ptr().expose_provenance() as u64,
            vec_len: space.len() as u64,
            max_pages: 0,
            category_inverted: 0,
            // Exactly this mask twice: with any other, some kernels take a page that was written
            // and then dropped from the page table for one that was not written.
            category_mask: raw::PAGE_IS_WRITTEN.into(),
            category_anyof_mask: 0,
            return_mask: raw::PAGE_IS_WRITTEN.into(),
        };
        // SAFETY: the struct that the request reads and writes, with `vec` and `vec_len` of a
        // slice that outlives the call.
        match unsafe { request::scan(pagemap.as_raw_fd(), &raw mut arg) } {
            Ok(count) => {
                let runs = &space[..count as usize];
                runs.iter().for_each(|run| found(run.start, run.end));
                // `walk_end` is too low after more than 512 runs: the kernel gathers so many at a
                // time, and does not correct it after the last of them.
                at = runs.last().map_or(arg.walk_end, |run| run.end.max(arg.walk_end));
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {
                // What was marked before the interruption is not told: take it for written.
                found(at, arg.walk_end.clamp(at, end));
                at = arg.walk_end.clamp(at, end);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
