//! QEMU's own migration of all that a machine has, for one whose memory cannot be traced.
//!
//! ```text
//!  source                                                    destination
//!  begin ─► setup ─► active ──STOP──► pre-switchover         start: -incoming, -S
//!                      ▲ look            │ hand_over            │
//!                      │                 ▼                      ▼
//!                      │               device ═══ stream ═══► active ─► completed: loaded, paused
//!                      │                 ▼                                  │ resume, after the commit
//!   resume ◄───────────┴──────────── completed: saved, paused               ▼
//!                                                                        running
//! ```
//!
//! Neither side runs by itself once the guest has been stopped, but for one case: where QEMU at the
//! source cannot save, it lets the guest run on there. That is before `completed`, so before
//! anything could have been committed.

mod destination;
mod look;
mod memory;
mod source;

pub use destination::Destination;
pub use look::Look;
pub use source::{Limits, Milestone, Remains, Source, Watch};

/// The capabilities that a migration may have switched on at the source, for a daemon that finds
/// one that was broken off.
pub(super) const CAPABILITIES: &[&str] = &["pause-before-switchover", "events", "auto-converge"];
