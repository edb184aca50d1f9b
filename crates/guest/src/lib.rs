//! What is moved: a machine's RAM, the tracing of its page writes, its pause, its device state.
//!
//! - [`SourceMachine`] and [`DestinationMachine`]: what the engine asks of a machine at either end;
//! - [`Ram`]: the machine's memory as the files that both QEMU and Punctual map;
//! - [`Sharing`]: a machine that changes its process and keeps its RAM files;
//! - [`trace`]: which pages a process writes, seen from outside it;
//! - [`demand`]: a process runs while pages of its RAM are still elsewhere;
//! - [`throttle`]: a machine whose processors are slowed down;
//! - [`process`] and [`fake`]: machines for tests; [`contract`]: what every machine must do;
//! - [`qemu`]: the machines of unmodified QEMU, found, described, started and handed over by QMP.

pub mod contract;
pub mod demand;
pub mod fake;
mod machine;
pub mod process;
pub mod qemu;
mod ram;
mod sharing;
pub mod throttle;
pub mod trace;

pub use machine::{
    DestinationMachine, MachineError, Owner, Settled, SourceMachine, Stopped, Surrendered,
};
pub use ram::{Ram, RamDigest, RamError, RamIoError, is_zero};
pub use sharing::Sharing;
