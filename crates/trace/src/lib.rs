//! Recorded page writes of a machine: which pages were written when.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
