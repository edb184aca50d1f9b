//! A stopped machine as a file: what it is, its pages, the state of its devices, and what its disks
//! were like.
//!
//! This room knows bytes, not files: it writes to and reads from whatever the caller has, a section
//! at a time, and keeps no more than one section in memory. `docs/snapshot-format.md` is its layout.
//!
//! - [`Writer`]: writes a snapshot; it is one only once [`Writer::finish`] has returned;
//! - [`Reader`]: checks a snapshot, tells what is in it, and hands out its pages and device state;
//! - [`About`], [`Ending`], [`DiskState`]: what is said beside them.
//!
//! Pages are the payloads of [`punctual_wire::pages`]: what goes to another host and what goes to a
//! file is packed by the same encoder and put in place by the same decoder.

mod about;
mod error;
mod format;
mod reader;
mod writer;

pub use about::{About, DiskState, Ending, Purpose, SnapshotId, Touched};
pub use error::SnapshotError;
pub use format::{LONGEST_PIECE, VERSION};
pub use reader::{Content, Reader, identify};
pub use writer::Writer;
