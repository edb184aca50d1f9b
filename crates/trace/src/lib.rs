//! Recorded page writes of a machine: which pages were written when.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
//!
//! - [`Trace`]: what a recording found, with [`About`] (the machine) and [`Scan`]s (the writes);
//! - [`Trace::encode`], [`Trace::decode`]: the file, see `docs/trace-format.md`.

mod about;
mod decode;
mod encode;
mod format;
mod trace;

pub use about::{About, Content};
pub use decode::TraceError;
pub use trace::{Flaw, Scan, Trace};
