//! Whether this host can page a machine on demand: asked before one is on its way.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::mm::{UserfaultfdFlags, userfaultfd};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, geteuid, getpid, pidfd_getfd, pidfd_open};
use thiserror::Error;

use super::kernel;
use crate::ram::space;

/// Why this host cannot page a machine on demand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// The RAM would lie on a disk.
    #[error("{} is on no tmpfs or hugetlbfs, and the kernel lets nobody wait for pages elsewhere", .0.display())]
    FileSystem(PathBuf),
    /// The kernel lacks what is needed.
    #[error("the kernel lacks what it takes ({0})")]
    Kernel(&'static str),
    /// Faults of the kernel may not be answered.
    #[error("this process may not have pages of other processes waited for inside of the kernel")]
    UserFaultsOnly,
    /// Other processes may not be traced.
    #[error("this process may not make a userfaultfd in another one (ptrace)")]
    MayNotTrace,
}

impl Unavailable {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::FileSystem(_) => "give the daemon a RAM directory on a tmpfs (ram_dir)",
            Self::Kernel(_) => {
                "start Linux 6.7 or newer with CONFIG_USERFAULTFD, CONFIG_SHMEM and without a \
                 filter for system calls"
            }
            Self::UserFaultsOnly => {
                "allow it: run the daemon as root, or set the sysctl vm.unprivileged_userfaultfd=1"
            }
            Self::MayNotTrace => {
                "allow it: run the daemon as root, and set the sysctl kernel.yama.ptrace_scope \
                 to less than 3"
            }
        }
    }
}

/// Finds out whether a process that this one starts, with its RAM in the directory `ram`, could be
/// [paged](super::Pager) on demand. Takes some 0.1 ms and starts nothing.
///
/// # Errors
/// What is in the way.
pub fn available(ram: &Path) -> Result<(), Unavailable> {
    if !space::is_memory(ram) {
        return Err(Unavailable::FileSystem(ram.to_owned()));
    }
    if !may_trace() {
        return Err(Unavailable::MayNotTrace);
    }
    let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
    // SAFETY: it watches nothing, and is closed below.
    let made = unsafe { userfaultfd(flags) }.map_err(|error| match error {
        rustix::io::Errno::PERM | rustix::io::Errno::ACCESS => Unavailable::UserFaultsOnly,
        _ => Unavailable::Kernel("no userfaultfd"),
    })?;
    // Where there is a hugetlbfs, the kernel that has the one feature has the other, too.
    kernel::agree(&made, kernel::SMALL_PAGES)
        .map_err(|_| Unavailable::Kernel("no UFFD_FEATURE_MISSING_SHMEM"))?;
    let taken = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|this| pidfd_getfd(this, made.as_raw_fd(), PidfdGetfdFlags::empty()));
    taken.map(drop).map_err(|_| Unavailable::Kernel("no pidfd_getfd"))
}

/// Whether a process of the same user may be traced by one that is not its parent
/// (`Documentation/admin-guide/LSM/Yama.rst`).
fn may_trace() -> bool {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "" | "0" => true,
        "1" | "2" => geteuid().is_root(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_available_and_a_disk_is_not_enough() {
        if !geteuid().is_root() {
            return println!("SKIP: only root may page other processes everywhere");
        }
        assert_eq!(available(Path::new("/dev/shm")), Ok(()));
        let place = Path::new("/proc");
        assert_eq!(available(place), Err(Unavailable::FileSystem(place.to_owned())));
    }
}
