//! What a move would do, before it begins: simulated by the engine itself, predicted, planned.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
