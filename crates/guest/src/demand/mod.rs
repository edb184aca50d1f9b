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
//! 2. **Nobody reads a missing page as zero**, not even when this program is killed. The userfaultfd
//!    stays open in the process itself: faults go on waiting there, and a new [`Pager::take_over`]
//!    answers them, also those that the dead one had read already. Only [`Pager::finish`] ends it,
//!    and only when nothing is missing.
//! 3. **What is missing is a hole in the file.** [`Pager::attach`] makes it so (copies that are out
//!    of date are taken away) and checks it. The file itself then tells what has been filled: there
//!    is no log of it to be lost.
//! 4. **A page that is not missing, and a hole, is zero**: it was so at the source. Its fault is
//!    answered here, nobody is asked.
//!
//! # Why not `pwrite(2)` into the file
//! It is faster in bulk, but it overwrites what is there, and on a tmpfs of huge pages a write of
//! 4 KiB makes a page of 2 MiB and fills the rest with zeros: of 16,384 pages that were read while
//! they were being written one by one, 7,255 were read as zeros (Linux 6.18, `huge=within_size`; none
//! without huge pages, where the fault waits for the lock of the page). `UFFDIO_COPY` puts in exactly
//! the page asked for. Its memory is charged to the process that it belongs to, too. The third way,
//! `UFFDIO_REGISTER_MODE_MINOR` and `UFFDIO_CONTINUE`, is `pwrite` with one more fault for each page
//! that was pushed. Nobody else may write the file meanwhile, [`Ram::write`] included.
//!
//! Huge pages do not come back by themselves either: the kernel merges no small pages into a huge one
//! over a hole that is watched (`collapse_file` in `mm/khugepaged.c`).
//!
//! # Figures
//! `cargo run --release -p punctual-guest --example fault_cost` prints them.
//!
//! # What it does not see
//! Other processes that have mapped the file (a vhost-user back end) are not made to wait: they read
//! zeros. Where one has put a page in by that, [`DemandError::Occupied`] tells.

mod attach;
mod error;
mod kernel;
mod ledger;
mod pager;
mod places;
#[cfg(test)]
mod tests;

pub use error::DemandError;
pub use pager::{Fault, Pager};

#[cfg(doc)]
use crate::Ram;
