//! The whole thing, end to end: two hosts and a client on this machine, guests that check
//! themselves, and the command `punctual` as people use it.
//!
//! Each test has a lab of its own, one after the other, since two cores carry one move at a time.
//! After each move or attempt the guest compares every byte of its memory, its TCP connections
//! must have lived on, and its beacon may neither have begun anew nor come twice; at the end
//! nothing may be left on the machine. Tests need root, and what `make setup` provides; where
//! something is missing they say SKIP and why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attach;
mod bare_metal;
mod by_hand;
mod commands;
mod crashes;
mod direct_io;
mod endings;
mod faults;
mod misses;
mod native;
mod planning;
mod post_copy;
mod predictions;
mod recovery;
mod refusals;
mod restart;
mod several;
mod skip;
mod stage;
mod stopped;
mod streaming;
mod suspend;
mod told;
mod tracing;
mod unable;
mod upgrade;
mod watched;
mod workloads;
