//! Demand paging from outside: a process runs while pages of its RAM are still elsewhere.
//!
//! The destination half of post-copy, for any process whose RAM is a shared file: QEMU, unpatched.
//! A [`Pager`] registers the RAM's mappings in the process with `userfaultfd(2)` for missing pages:
//! whoever touches one (a processor of the guest, a thread of QEMU, the kernel on their behalf in
//! `read(2)` or KVM) waits until the page is [filled](Pager::fill).
//!
//! ```text
//!             touched                    next_fault             fill
//!  missing ───────────► missing, waited for ──────► asked for ───────► there
//!     └──────────────────────────── fill (pushed) ─────────────────────►┘
//! ```
//!
//! # What holds
//! 1. **A page is filled at most once.** It is claimed among the missing ones first, and the kernel
//!    puts it in place by `UFFDIO_COPY`, which is atomic and fails where there is a page already. So
//!    a page that comes twice, or late, never overwrites what the guest has written since.
//!    (`a_late_page_does_not_undo_a_write`)
//! 2. **Nobody reads a missing page as zero**, not even when this program is killed. The userfaultfd
//!    stays open in the process itself: faults go on waiting there, and a new [`Pager::take_over`]
//!    answers them, also those that the dead one had read already. Only [`Pager::finish`] ends it,
//!    and only when nothing is missing. (`faults_that_a_killed_pager_had_read_are_raised_again`,
//!    `pagers_killed_in_the_middle_of_anything_lose_and_double_nothing`)
//! 3. **What is missing is a hole in the file.** [`Pager::attach`] makes it so (copies that are out
//!    of date are taken away) and checks it. The file itself then tells what has been filled: there
//!    is no log of it to be lost. (`pages_that_are_out_of_date_are_taken_out_and_fault_again`)
//! 4. **A page that is not missing, and a hole, is zero**: it was so at the source. Its fault is
//!    answered here, nobody is asked. So somebody has to call [`Pager::next_fault`] until the end.
//!
//! # What is needed
//! Linux 6.7 or newer with CONFIG_USERFAULTFD; `UFFD_FEATURE_MISSING_SHMEM` for files on tmpfs and
//! memfd, `UFFD_FEATURE_MISSING_HUGETLBFS` for those on hugetlbfs, `UFFD_FEATURE_THREAD_ID`. The process
//! must be allowed to have faults of the kernel answered (CAP_SYS_PTRACE, or the sysctl
//! `vm.unprivileged_userfaultfd`): under KVM nearly all of them are.
//!
//! # Which way, and what it costs
//! `cargo run --release -p punctual-guest --example fault_cost`, Linux 6.18, two busy processors of a
//! virtual machine, without a network (a page pushed took between half and twice as long from run to
//! run):
//!
//! | way | fault to content, median | p99 | pushed, each of one | each of 256 |
//! | --- | ---: | ---: | ---: | ---: |
//! | `pwrite` into the file, `UFFDIO_WAKE` | 10.4 µs | 15 µs | 4.9 µs | 4.0 µs |
//! | **`UFFDIO_COPY`** | 9.4 µs | 19 µs | 5.3 µs | 4.2 µs |
//! | minor faults: `pwrite`, `UFFDIO_CONTINUE` | 9.7 µs | 17 µs | 5.6 µs | 4.2 µs |
//! | this module, another process | 10.3 µs | 27 µs | 5.2 µs | 5.1 µs |
//!
//! So the choice is one of correctness. `pwrite` overwrites what is there. It is atomic only where
//! pages are small (a fault waits for the lock of the page): on a tmpfs of huge pages a write of 4 KiB
//! makes a page of 2 MiB and fills the rest with zeros. Of 16,384 pages read while they were being
//! written one by one, 7,255 were read as zeros there (`huge=within_size`); none without huge pages.
//! `UFFDIO_COPY` puts in exactly the page asked for, and its memory is charged to the process that it
//! belongs to. Minor faults are `pwrite` with one more fault for each page that was pushed. So nobody
//! may write the file meanwhile, [`Ram::write`] included.
//!
//! Huge pages do not come back by themselves either: the kernel merges no small pages into a huge one
//! over a hole that is watched (`collapse_file` in `mm/khugepaged.c`); afterwards it does.
//!
//! Until the paging has begun the machine stands still, so that counts as well
//! (`--example paging_begins`, 512 MiB, time of the processor): 0.6 ms, and for each run of stale pages
//! that is taken out 2.4 µs, or 4.5 µs from a tmpfs of huge pages, which are split; some 0.5 µs more to
//! see that it is out. Of 20,000 stale pages that are some 50 or 80 ms, and the kernel does no two at a
//! time. So what is known to be stale before the guest is stopped is better taken out then
//! ([`DestinationMachine::forget`](crate::DestinationMachine::forget)): a quarter to a seventh was left.
//! On a busy host it takes longer to have the process make its userfaultfd (a program is started that
//! stops one of its threads): 5 to 18 ms in 20 handovers. That is done then, too: see [`Beforehand`].
//!
//! # Who goes on
//! A [`Record`] in the machine's directory keeps what was missing in the beginning. It is written before
//! anything is taken out, and emptied before the paging ends. With it and the RAM file
//! ([`Paged::take_over`]) the next daemon knows what is missing still, wherever the last one was killed;
//! what was zero and has not been touched is fetched again.
//!
//! # What it does not see
//! Other processes that have mapped the file (a vhost-user back end) are not made to wait: they read
//! zeros. Where one has put a page in by that, [`DemandError::Occupied`] tells. vhost in the kernel is
//! no such process: its workers have QEMU's own memory map (`drivers/vhost/vhost.c`) and wait as it does.

mod attach;
mod available;
mod beforehand;
mod contract;
mod error;
mod filling;
mod kernel;
pub(crate) mod ledger;
mod pager;
mod places;
mod record;
#[cfg(test)]
mod tests;

pub use available::{Unavailable, available};
pub use beforehand::Beforehand;
pub use contract::{Demand, Paged};
pub use error::DemandError;
pub use pager::{Fault, Pager};
pub use record::{Record, RecordError};

#[cfg(doc)]
use crate::Ram;
