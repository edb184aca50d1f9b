//! Machines of unmodified QEMU.
pub mod qmp;
