//! Recorded page writes of a machine: which pages were written when.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
//!
//! - [`Trace`]: what a recording found, with [`About`] (the machine) and [`Scan`]s (the writes);
//! - [`Trace::encode`], [`Trace::decode`]: the file, see `docs/trace-format.md`;
//! - [`Trace::intervals`], [`Trace::write_rate`], [`Trace::heat_classes`], [`Trace::slice`]: how much
//!   was written when, and how often which pages were;
//! - [`Trace::working_set`], [`Trace::working_set_curve`]: how many pages are written within a while;
//! - [`schedule`]: when to scan, so that it costs the guest no more than it may.

mod about;
mod activity;
mod decode;
mod encode;
mod format;
pub mod schedule;
mod trace;
mod working_set;

pub use about::{About, Content};
pub use activity::{HeatClass, Interval};
pub use decode::TraceError;
pub use trace::{Flaw, Scan, Trace};
pub use working_set::WorkingSet;
