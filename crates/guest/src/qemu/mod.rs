//! Machines of unmodified QEMU.
pub mod command_line;
pub mod describe;
mod plan;
mod process;
pub mod qmp;
pub mod spec;
mod tap;
pub use plan::{Places, Plan, RamFile};
pub use process::Process;
pub use tap::{Tap, TapError, interfaces};
