//! The move of a machine: what each side does when, and the drivers that carry it out.
//!
//! - [`Report`]: what a move promised and what it took;
//! - [`Progress`], [`Observer`]: what is known while it goes on;
//! - [`Journal`], [`Entry`]: what must survive the end of a daemon.

pub mod journal;
pub mod progress;
pub mod report;

pub use journal::{Entry, Journal, JournalError};
pub use progress::{Observer, Phase, Progress};
pub use report::Report;
