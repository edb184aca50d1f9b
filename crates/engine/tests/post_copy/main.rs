//! Pages follow a machine: both ends over real sockets, a machine in memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cuts;
mod destination;
mod machine;
mod noise;
mod road;
mod source;
mod whole;
