//! What is known of a machine's page writes, and what follows from it for a move.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
//!
//! - [`Strategy`], [`Policy`]: how memory is moved: in which order, what is held back, how often.

mod strategy;

pub use strategy::{HoldBack, Order, Policy, Rounds, Strategy};
