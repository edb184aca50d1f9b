//! The kernel interface: userfaultfd with faults on missing pages
//! (`Documentation/admin-guide/mm/userfaultfd.rst`, `ioctl_userfaultfd(2)`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use linux_raw_sys::general as raw;
use nix::errno::Errno;

mod request {
    use linux_raw_sys::general::{
        uffdio_api, uffdio_copy, uffdio_range, uffdio_register, uffdio_zeropage,
    };

    nix::ioctl_readwrite!(api, 0xAA, 0x3F, uffdio_api);
    nix::ioctl_readwrite!(register, 0xAA, 0x00, uffdio_register);
    nix::ioctl_read!(unregister, 0xAA, 0x01, uffdio_range);
    nix::ioctl_read!(wake, 0xAA, 0x02, uffdio_range);
    nix::ioctl_readwrite!(copy, 0xAA, 0x03, uffdio_copy);
    nix::ioctl_readwrite!(zeropage, 0xAA, 0x04, uffdio_zeropage);
}

/// Faults on missing pages of files in memory.
pub(super) const SMALL_PAGES: u32 = raw::UFFD_FEATURE_MISSING_SHMEM;
/// The same on hugetlbfs.
pub(super) const HUGE_PAGES: u32 = raw::UFFD_FEATURE_MISSING_HUGETLBFS;

/// Agrees with the kernel on what a new userfaultfd does: `features`, and to name the thread that
/// waits. `EINVAL`: it cannot, or the two have agreed before.
pub(super) fn agree(userfaultfd: &OwnedFd, features: u32) -> Result<(), Errno> {
    let features = u64::from(features | raw::UFFD_FEATURE_THREAD_ID);
    let mut api = raw::uffdio_api { api: raw::UFFD_API.into(), features, ioctls: 0 };
    // SAFETY: the struct that the request reads and writes.
    unsafe { request::api(userfaultfd.as_raw_fd(), &raw mut api) }.map(drop)
}

/// From now on faults on missing pages in `start..end`, which are whole mappings, wait. `EBUSY`:
/// another userfaultfd watches there. Where this one does already, nothing changes.
pub(super) fn register(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut register = raw::uffdio_register {
        range: range(start, end),
        mode: raw::UFFDIO_REGISTER_MODE_MISSING.into(),
        ioctls: 0,
    };
    // SAFETY: the struct that the request reads and writes.
    unsafe { request::register(userfaultfd.as_raw_fd(), &raw mut register) }.map(drop)
}

/// The opposite of [`register`]; wakes who waits there.
pub(super) fn unregister(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut range = range(start, end);
    // SAFETY: the struct that the request reads.
    unsafe { request::unregister(userfaultfd.as_raw_fd(), &raw mut range) }.map(drop)
}

/// Lets everybody who waits in `start..end` look again, and wait again if the page is still missing.
pub(super) fn wake(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut range = range(start, end);
    // SAFETY: the struct that the request reads.
    unsafe { request::wake(userfaultfd.as_raw_fd(), &raw mut range) }.map(drop)
}

/// Puts `bytes`, whole host pages, in at an address and wakes who waits there. Each page is there
/// with all of its content or not at all. An error comes with the number of bytes done before it;
/// `EEXIST`: the next one is there already.
pub(super) fn copy(userfaultfd: &OwnedFd, at: u64, bytes: &[u8]) -> Result<(), (u64, Errno)> {
    in_steps(bytes.len() as u64, |done| {
        let mut copy = raw::uffdio_copy {
            dst: at + done,
            src: bytes[done as usize..].as_ptr().expose_provenance() as u64,
            len: bytes.len() as u64 - done,
            mode: 0,
            copy: 0,
        };
        // SAFETY: the struct that the request reads and writes; it reads `len` bytes at `src`,
        // which are inside of `bytes`, and writes memory of the other process alone.
        let outcome = unsafe { request::copy(userfaultfd.as_raw_fd(), &raw mut copy) };
        (outcome.map(drop), copy.copy)
    })
}

/// Asks to put a page in from an address where nothing is. `EFAULT` and `EEXIST`: someone watches
/// there for missing pages, and the page is missing or there; `ENOENT`: nobody watches. Nothing
/// changes.
pub(super) fn probe(userfaultfd: &OwnedFd, at: u64, host_page: u64) -> Result<(), Errno> {
    let mut copy = raw::uffdio_copy { dst: at, src: 0, len: host_page, mode: 0, copy: 0 };
    // SAFETY: the struct that the request reads and writes; nothing is mapped at address 0.
    unsafe { request::copy(userfaultfd.as_raw_fd(), &raw mut copy) }.map(drop)
}

/// Puts zero pages in at `start..end`, otherwise as [`copy`]. Not on hugetlbfs (`EINVAL`).
pub(super) fn zero(userfaultfd: &OwnedFd, start: u64, end: u64) -> Result<(), (u64, Errno)> {
    in_steps(end - start, |done| {
        let mut zero =
            raw::uffdio_zeropage { range: range(start + done, end), mode: 0, zeropage: 0 };
        // SAFETY: the struct that the request reads and writes.
        let outcome = unsafe { request::zeropage(userfaultfd.as_raw_fd(), &raw mut zero) };
        (outcome.map(drop), zero.zeropage)
    })
}

/// Goes on while the kernel does a part (`EAGAIN`).
fn in_steps(
    length: u64,
    mut step: impl FnMut(u64) -> (Result<(), Errno>, i64),
) -> Result<(), (u64, Errno)> {
    let mut done = 0;
    while done < length {
        match step(done) {
            (Ok(()), _) => return Ok(()),
            (Err(Errno::EAGAIN | Errno::EINTR), part) => done += u64::try_from(part).unwrap_or(0),
            (Err(error), _) => return Err((done, error)),
        }
    }
    Ok(())
}

fn range(start: u64, end: u64) -> raw::uffdio_range {
    raw::uffdio_range { start, len: end - start }
}

/// A fault as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) address: u64,
    pub(super) thread: i32,
    pub(super) write: bool,
}

const MESSAGE: usize = size_of::<raw::uffd_msg>();
const MESSAGES_AT_ONCE: usize = 32;

/// Takes the faults that nobody has read yet, at most some; none is not an error.
pub(super) fn faults(userfaultfd: &OwnedFd) -> io::Result<impl Iterator<Item = Message>> {
    let mut bytes = [0; MESSAGE * MESSAGES_AT_ONCE];
    let length = match rustix::io::read(userfaultfd, &mut bytes) {
        Ok(length) => length,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
        Err(error) => return Err(error.into()),
    };
    let messages = length / MESSAGE;
    Ok((0..messages).filter_map(move |index| {
        let at = index * MESSAGE;
        let mut one = [0; MESSAGE];
        one.copy_from_slice(&bytes[at..at + MESSAGE]);
        message(one)
    }))
}

/// `struct uffd_msg`: the event in byte 0; of a fault the flags at 8, the address at 16, the thread
/// at 24.
fn message(bytes: [u8; MESSAGE]) -> Option<Message> {
    let word = |at: usize| {
        let word = bytes[at..].first_chunk().expect("eight bytes of a message");
        u64::from_ne_bytes(*word)
    };
    (u32::from(bytes[0]) == raw::UFFD_EVENT_PAGEFAULT).then(|| Message {
        address: word(16),
        thread: word(24) as u32 as i32,
        write: word(8) & u64::from(raw::UFFD_PAGEFAULT_FLAG_WRITE) != 0,
    })
}

const _: () = {
    assert!(MESSAGE == 32);
    assert!(std::mem::offset_of!(raw::uffd_msg, arg) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_after_a_part_and_ends_at_an_error() {
        let mut answers = vec![
            (Err(Errno::EAGAIN), 4096),
            (Err(Errno::EAGAIN), -i64::from(libc::EAGAIN)),
            (Err(Errno::EEXIST), -i64::from(libc::EEXIST)),
        ]
        .into_iter();
        let mut asked = Vec::new();
        let outcome = in_steps(12288, |done| {
            asked.push(done);
            answers.next().unwrap()
        });
        assert_eq!(outcome, Err((4096, Errno::EEXIST)));
        assert_eq!(asked, [0, 4096, 4096]);
    }

    #[test]
    fn a_message_is_read_as_the_kernel_writes_it() {
        let mut bytes = [0; MESSAGE];
        bytes[0] = raw::UFFD_EVENT_PAGEFAULT as u8;
        bytes[8] = 1;
        bytes[16..24].copy_from_slice(&0x7f00_1234_5000_u64.to_ne_bytes());
        bytes[24..28].copy_from_slice(&77_u32.to_ne_bytes());
        let wanted = Message { address: 0x7f00_1234_5000, thread: 77, write: true };
        assert_eq!(message(bytes), Some(wanted));
        bytes[0] = 0x16; // an event that nobody asked for
        assert_eq!(message(bytes), None);
    }
}
