//! What the test guests and those who watch them say to each other.
//!
//! A test guest (see `guests/README.md`) is told what to do by [`options`] on its kernel command
//! line. While it runs it sends a [`beacon`] a thousand times a second, answers [`control`] lines on
//! a TCP port, and streams [`frame`]s to whoever connects. Its disk and its memory hold a
//! [`pattern`], so that every byte can be checked against what it ought to be.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.

pub mod beacon;
pub mod control;
pub mod frame;
pub mod options;
pub mod pattern;
mod workload;

pub use beacon::Beacon;
pub use options::Options;
pub use pattern::Pattern;
pub use workload::{UnknownWorkload, Workload};

/// TCP port on which a guest streams frames to each client that connects.
pub const STREAM_PORT: u16 = 5004;

/// TCP port on which a guest takes control lines.
pub const CONTROL_PORT: u16 = 5005;
