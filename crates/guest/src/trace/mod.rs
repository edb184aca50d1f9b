//! Which pages a process writes, seen from outside it.
//!
//! The kernel marks, page by page, what has been written since it was last asked: a write to a
//! page with `userfaultfd(2)` write protection costs the writer one short fault, which the kernel
//! answers by itself (`UFFD_FEATURE_WP_ASYNC`), and `PAGEMAP_SCAN` reads the marks and sets the
//! protection again. The process takes no part in it and nothing of it stays when the tracer ends:
//! all is tied to one descriptor.
//!
//! What a tracer does not see:
//! - writes through the mappings of *other* processes (a vhost-user back end) and through the file;
//! - data that a disk with direct I/O delivers after the page was pinned by an earlier write (see
//!   [`Settled`](crate::Settled));
//! - pages whose memory is given back (`FALLOC_FL_PUNCH_HOLE`, as a balloon does): they become
//!   zero without having been written. [`Ram::populated`] tells which have become holes.

mod clusters;
mod error;
pub(crate) mod inject;
pub(crate) mod maps;
pub(crate) mod place;
mod surgeon;
pub(crate) mod target;
#[cfg(test)]
pub(crate) mod tests;
mod tracer;
mod watch;

pub use error::TraceError;
pub use rustix::process::Pid;
pub use tracer::Tracer;

#[cfg(doc)]
use crate::Ram;
