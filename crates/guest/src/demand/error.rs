use std::io;

use punctual_units::{Bytes, PageIndex, PageRange, Pages};
use thiserror::Error;

use super::RecordError;
use crate::RamIoError;
use crate::trace::TraceError;

/// Why a process cannot be, or can no longer be, paged on demand.
///
/// Of an error of [`Pager::attach`](super::Pager::attach) nothing stays in the process, but pages
/// that were missing may have been taken out of its RAM: discard it. After any other error all that
/// is missing goes on waiting.
#[derive(Debug, Error)]
pub enum DemandError {
    /// The process cannot be reached, or has ended.
    #[error(transparent)]
    Process(#[from] TraceError),
    /// The process may not have faults of the kernel answered, and those of KVM are.
    #[error(
        "process {pid} may not wait for pages inside of the kernel, as under KVM it must: \
         start it with CAP_SYS_PTRACE (as root), or set the sysctl vm.unprivileged_userfaultfd=1"
    )]
    UserFaultsOnly {
        /// The process.
        pid: i32,
    },
    /// The kernel lacks what is needed.
    #[error(
        "the kernel cannot page on demand ({missing}): Linux 6.7 or newer with \
         CONFIG_USERFAULTFD and CONFIG_SHMEM is needed; without it, move the machine by pre-copy"
    )]
    Kernel {
        /// What it lacks.
        missing: &'static str,
    },
    /// There is nothing to take over.
    #[error(
        "process {pid} has no userfaultfd that watches its RAM: it was never paged on demand, or \
         that has ended; attach to it instead if it has never run"
    )]
    NothingLeft {
        /// The process.
        pid: i32,
    },
    /// A page that is to be missing could not be taken out of the file.
    #[error(
        "page {} of process {pid} could not be taken out of its RAM file (somebody holds it, by \
         direct I/O or as a huge page): start the machine's process anew and try again",
        page.0
    )]
    StillThere {
        /// The process.
        pid: i32,
        /// The first such page.
        page: PageIndex,
    },
    /// A page was taken away and is not among the missing ones.
    #[error(
        "page {} of process {pid} was taken away and is not among those that are to come: its \
         content is lost here, move the machine anew",
        page.0
    )]
    Lost {
        /// The process.
        pid: i32,
        /// The first such page.
        page: PageIndex,
    },
    /// A missing page was there before it was filled.
    #[error(
        "page {} of process {pid} was filled by somebody else while it was missing (another \
         process that has mapped the RAM file, such as a vhost-user back end, or a write to the file): \
         its content is unknown, stop the machine",
        page.0
    )]
    Occupied {
        /// The process.
        pid: i32,
        /// The page.
        page: PageIndex,
    },
    /// There is no memory for a page.
    #[error(
        "no memory for a page of process {pid}: make room on the filesystem of its RAM or in its \
         control group, and fill the page again; who needs it waits"
    )]
    NoMemory {
        /// The process.
        pid: i32,
    },
    /// Part of a huge page of hugetlbfs cannot be filled.
    #[error(
        "pages {}..{} are not whole host pages of {host_page}: fill them together",
        pages.start.0,
        pages.end.0
    )]
    PartOfHostPage {
        /// What was to be filled.
        pages: PageRange,
        /// The size of the host's pages there.
        host_page: Bytes,
    },
    /// It was to be finished too early.
    #[error("{missing} of process {pid} are still missing: fill them before finishing")]
    StillMissing {
        /// The process.
        pid: i32,
        /// How many.
        missing: Pages,
    },
    /// What is missing could not be written down or read again.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The RAM file did not do what was asked.
    #[error(transparent)]
    Ram(#[from] RamIoError),
    /// Something the kernel is not known to answer.
    #[error("paging process {pid} on demand: {action}: {cause}")]
    System {
        /// The process.
        pid: i32,
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}
