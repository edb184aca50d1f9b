//! Machines of unmodified QEMU.
pub mod command_line;
pub mod describe;
pub mod qmp;
